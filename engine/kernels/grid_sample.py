"""Samples of maps or volumes at a grid of positions: what the kernels of both are given."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from engine.kernels.launch import Launcher, float32s, scalar_name, sizes, strides
from engine.kernels.layout import (
    channels_together,
    chunk_of_channels,
    empty_maps,
    groups,
    packed,
    pixel_blocks,
    plane_blocks,
)
from engine.kernels.sampling_reference import Padding, pixel_scale


def launch_grid_sample(
    kernel: str, input: Tensor, grid: Tensor, padding: Padding, align_corners: bool, launcher: Launcher
) -> Tensor:
    """(B, C, [d,] h, w) samples of (B, C, [D,] H, W) at a grid (B, [d,] h, w, 2 or 3), by the kernel of that name."""
    batch, channels, *lengths = input.shape
    out_lengths = grid.shape[1:-1]
    grid = grid.to(torch.float32)
    output = empty_maps((batch, channels, *out_lengths), like=input)
    if output.numel() == 0:
        return output
    extent = sizes(batch, channels, *lengths, *out_lengths)
    to_pixels = [number for length in reversed(lengths) for number in float32s(*pixel_scale(length, align_corners))]
    rows, columns = prod(out_lengths[:-1]), out_lengths[-1]
    border = np.int32(padding == "border")
    if channels_together(input):
        wide = packed(input, output)
        steps = [*strides(input, but=1), *strides(grid), *strides(output, but=1)]
        launcher.launch(
            kernel,
            f"{kernel}_pixels",
            scalar_name(input.dtype),
            pixel_blocks(groups(input, wide), columns, rows, batch),
            [input, grid, output, *extent, *steps, *to_pixels, border, np.int32(wide)],
        )
    else:
        each = chunk_of_channels(columns, rows, batch, channels)
        steps = [*strides(input), *strides(grid), *strides(output)]
        launcher.launch(
            kernel,
            f"{kernel}_planes",
            scalar_name(input.dtype),
            plane_blocks(columns, rows, batch * -(-channels // each)),
            [input, grid, output, *extent, *steps, *to_pixels, border, np.int32(each)],
        )
    return output
