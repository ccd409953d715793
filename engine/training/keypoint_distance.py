"""Keeps learned keypoints apart."""

from __future__ import annotations

import torch
from torch import Tensor


def crowding(keypoints: Tensor, distance: float = 0.2) -> Tensor:
    """Mean over pairs of how much nearer than `distance` two of the (B, K, 2) keypoints are; 0 where none are.

    DaGAN (2022) counts such pairs by a sign, whose gradient is zero everywhere: it trains nothing. This hinge departs
    from it, and pushes them apart. Raises ValueError for fewer than two keypoints.
    """
    count = keypoints.shape[1]
    if count < 2:
        raise ValueError(f"expected at least 2 keypoints, got {count}")
    first, second = torch.triu_indices(count, count, offset=1, device=keypoints.device)
    # The root has no slope at 0: two keypoints in one place could not leave it.
    apart = ((keypoints[:, first] - keypoints[:, second]) ** 2).sum(-1).add(1e-8).sqrt()
    return torch.relu(distance - apart).mean()
