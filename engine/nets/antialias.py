"""Pictures made smaller without the aliasing that dropped pixels would leave, as the warping generators do it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def gaussian_taps(factor: int, like: Tensor) -> Tensor:
    """(2 R + 1,) taps that add up to 1 for a reduction by `factor`: sigma (factor - 1) / 2, cut off at 4 sigma.

    5 taps for 2, 13 for 4, 29 for 8; in the dtype and on the device of `like`. First Order Motion Model's code.
    """
    sigma = (factor - 1) / 2
    reach = round(4 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    return taps / taps.sum()


class AntialiasedDownscale(nn.Module):
    """(B, C, H, W) to (B, C, ceil(H / factor), ceil(W / factor)): a Gaussian, of which only what stays is computed.

    Zeros outside, the first pixel kept. Its kernel is part of the published weights, so it is a buffer here.
    """

    weight: Tensor

    def __init__(self, channels: int, factor: int) -> None:
        """factor: at least 2."""
        super().__init__()
        self.factor = factor
        taps = gaussian_taps(factor, torch.empty(0))
        self.register_buffer("weight", torch.outer(taps, taps).expand(channels, 1, -1, -1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(
            x, self.weight, stride=self.factor, padding=self.weight.shape[-1] // 2, groups=self.weight.shape[0]
        )


def downscale(channels: int, factor: int) -> nn.Module:
    """The module for a factor; the identity, which has no state, for 1. Raises ValueError for less."""
    if factor < 1:
        raise ValueError(f"factor: expected at least 1, got {factor}")
    return AntialiasedDownscale(channels, factor) if factor > 1 else nn.Identity()
