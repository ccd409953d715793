"""Pictures at the edge of a network: 8-bit rows of pixels outside, float planes inside."""

from __future__ import annotations

import torch
from torch import Tensor


def planes(picture: Tensor) -> Tensor:
    """(B, H, W, C) uint8 to (B, C, H, W) float32 from 0 to 1."""
    return picture.permute(0, 3, 1, 2).to(torch.float32) * (1.0 / 255.0)


def pixels(image: Tensor) -> Tensor:
    """(B, C, H, W) from 0 to 1 to (B, H, W, C) uint8, rounded; what is outside is clipped."""
    return (image * 255.0).round().clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
