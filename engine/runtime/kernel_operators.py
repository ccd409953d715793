"""Our kernels as operators of torch: torch.compile leaves them whole, and a CUDA graph records them like any other.

On the processor they compute the kernels' references, so that all that is built on them can be checked without a GPU.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from engine.kernels import affine_sample as affine
from engine.kernels import dense_motion as motion
from engine.kernels import grid_sample_2d as sample_2d
from engine.kernels import grid_sample_3d as sample_3d
from engine.kernels.layout import empty_maps
from engine.kernels.sampling_reference import Padding


@torch.library.custom_op("visavis::grid_sample_2d", mutates_args=())
def grid_sample_2d(input: Tensor, grid: Tensor, padding: str, align_corners: bool) -> Tensor:
    """As `engine.kernels.grid_sample_2d`."""
    return _laid_out(sample_2d.grid_sample_2d(input, grid, cast(Padding, padding), align_corners), input)


@torch.library.custom_op("visavis::grid_sample_3d", mutates_args=())
def grid_sample_3d(input: Tensor, grid: Tensor, padding: str, align_corners: bool) -> Tensor:
    """As `engine.kernels.grid_sample_3d`."""
    return _laid_out(sample_3d.grid_sample_3d(input, grid, cast(Padding, padding), align_corners), input)


@torch.library.custom_op("visavis::affine_sample", mutates_args=())
def affine_sample(
    input: Tensor, scale: Tensor, angle: Tensor, translation: Tensor, align_corners: bool, blend: bool
) -> Tensor:
    """As `engine.kernels.affine_sample`."""
    return _laid_out(affine.affine_sample(input, scale, angle, translation, align_corners, blend), input)


@torch.library.custom_op("visavis::dense_motion", mutates_args=())
def dense_motion(
    features: Tensor,
    mask_logits: Tensor,
    occlusion_logits: Tensor | None,
    source_points: Tensor,
    points: Tensor,
    matrices: Tensor,
    align_corners: bool,
) -> Tensor:
    """As `engine.kernels.dense_motion`."""
    moved = motion.dense_motion(features, mask_logits, occlusion_logits, source_points, points, matrices, align_corners)
    return _laid_out(moved, features)


@grid_sample_2d.register_fake
def _(input: Tensor, grid: Tensor, padding: str, align_corners: bool) -> Tensor:
    return empty_maps((*input.shape[:2], *grid.shape[1:-1]), like=input)


@grid_sample_3d.register_fake
def _(input: Tensor, grid: Tensor, padding: str, align_corners: bool) -> Tensor:
    return empty_maps((*input.shape[:2], *grid.shape[1:-1]), like=input)


@affine_sample.register_fake
def _(input: Tensor, scale: Tensor, angle: Tensor, translation: Tensor, align_corners: bool, blend: bool) -> Tensor:
    return empty_maps(tuple(input.shape), like=input)


@dense_motion.register_fake
def _(
    features: Tensor,
    mask_logits: Tensor,
    occlusion_logits: Tensor | None,
    source_points: Tensor,
    points: Tensor,
    matrices: Tensor,
    align_corners: bool,
) -> Tensor:
    return empty_maps(tuple(features.shape), like=features)


def _laid_out(made: Tensor, like: Tensor) -> Tensor:
    """In memory as the kernels leave it, which is what was promised to torch.compile; the references do not."""
    if made.device.type != "cpu":
        return made
    return empty_maps(tuple(made.shape), like=like).copy_(made)
