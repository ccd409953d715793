"""Where the output's pixels are, and bilinear sampling there, as the published warping generators have them.

The two disagree by half a pixel at the border: the grid puts -1 and 1 on the centres of the outermost pixels, the
sampler (torch's default since 1.3) on their outer edges, so that sampling at an unchanged grid enlarges by W / (W - 1).
Weights trained with it make up for it; it must stay.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def coordinate_axis(length: int, like: Tensor) -> Tensor:
    """(length,) from -1 to 1, in the dtype and on the device of `like`. Raises ValueError for less than 2 pixels."""
    if length < 2:
        raise ValueError(f"a coordinate axis needs at least 2 pixels, got {length}: the input is too small")
    return torch.arange(length, dtype=like.dtype, device=like.device) * (2.0 / (length - 1)) - 1.0


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(height, width, 2) x then y of every pixel, from -1 to 1, in the dtype and on the device of `like`."""
    y, x = torch.meshgrid(coordinate_axis(height, like), coordinate_axis(width, like), indexing="ij")
    return torch.stack((x, y), dim=-1)


def sample(features: Tensor, grid: Tensor, align_corners: bool = False) -> Tensor:
    """(B, C, h, w) bilinear samples of (B, C, H, W) features at a (B, h, w, 2) grid; 0 outside.

    Computed in the grid's precision, which should be at least float32 (a half has steps of 1/30 pixel near the border
    of a map 64 wide), returned in the features'. align_corners: True puts -1 and 1 on pixel centres, as torch before
    1.3 did (the oldest weights of the First Order Motion Model).
    """
    sampled = functional.grid_sample(
        features.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=align_corners
    )
    return sampled.to(features.dtype)
