"""Bilinear samples of maps at a grid of positions, in torch."""

from __future__ import annotations

from torch import Tensor

from engine.kernels.sampling_reference import Padding, narrowed, pixel_scale, sampled, taps, widened


def grid_sample_2d_reference(
    input: Tensor, grid: Tensor, padding: Padding = "zeros", align_corners: bool = False
) -> Tensor:
    """As `engine.kernels.grid_sample_2d.grid_sample_2d`, on any device and in float64 too."""
    axes = []
    for axis, length in enumerate(input.shape[2:]):
        factor, summand = pixel_scale(length, align_corners)
        axes.append(taps(widened(grid)[..., 1 - axis] * factor + summand, length, padding))
    return narrowed(sampled(input, axes), input.dtype)
