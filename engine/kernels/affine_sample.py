"""Every channel of a map moved by its own similarity transformation: the operator of AdaAT (ACM MM 2022)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.kernels.affine_sample_reference import affine_sample_reference
from engine.kernels.launch import Launcher, float32s, launcher_of, scalar_name, sizes, strides
from engine.kernels.layout import (
    channel_blocks,
    channels_together,
    empty_maps,
    strip_blocks,
)
from engine.kernels.sampling_reference import pixel_scale

KERNEL = "affine_sample"


def affine_sample(
    input: Tensor,
    scale: Tensor,
    angle: Tensor,
    translation: Tensor,
    align_corners: bool = False,
    blend: bool = False,
    *,
    launcher: Launcher | None = None,
) -> Tensor:
    """(B, C, H, W) maps, every channel sampled at `scale R(angle) z + translation`; 0 where that is outside.

    z: an output pixel's x, y, -1 and 1 at the centres of the outermost pixels. scale, angle (radians): (B, C),
    translation: (B, C, 2); copied if not contiguous float32. align_corners: as for `grid_sample_2d`, of the sampling.
    blend: first mix neighbouring channels as the published operator, a trilinear sampling in which channels are the
    third axis (see `engine.nets.adaat.blend_bands`). input: float32, float16 or bfloat16 with any strides; NCHW is
    faster. Raises ValueError for shapes that do not fit or a side of 1 pixel; launcher and else as `grid_sample_2d`.
    """
    batch, channels, height, width = _checked(input, scale, angle, translation)
    if blend and (align_corners or channels < 2):
        raise ValueError("blend: not with align_corners, where it has no effect, and from 2 channels on")
    launcher = launcher or launcher_of(input, scale, angle, translation)
    if launcher is None:
        return affine_sample_reference(input, scale, angle, translation, align_corners, blend)
    output = empty_maps(tuple(input.shape), like=input)
    if output.numel() == 0:
        return output
    together = channels_together(input)
    launcher.launch(
        KERNEL,
        "affine_sample_pixels" if together else "affine_sample_planes",
        scalar_name(input.dtype),
        channel_blocks(channels, width, height, batch) if together else strip_blocks(width, height, batch * channels),
        [
            input,
            *(values.to(torch.float32).contiguous() for values in (scale, angle, translation)),
            output,
            *sizes(batch, channels, height, width),
            *strides(input),
            *strides(output),
            *float32s(2.0 / (width - 1), 2.0 / (height - 1)),
            *float32s(*pixel_scale(width, align_corners), *pixel_scale(height, align_corners)),
            np.int32(blend),
        ],
    )
    return output


def _checked(input: Tensor, scale: Tensor, angle: Tensor, translation: Tensor) -> tuple[int, int, int, int]:
    """The input's shape. Raises ValueError."""
    if input.ndim != 4:
        raise ValueError(f"input: expected (B, C, H, W), got {tuple(input.shape)}")
    batch, channels, height, width = input.shape
    if min(height, width) < 2:
        raise ValueError(f"input: expected at least 2 pixels along each side, got {width}x{height}")
    for name, values, shape in (
        ("scale", scale, (batch, channels)),
        ("angle", angle, (batch, channels)),
        ("translation", translation, (batch, channels, 2)),
    ):
        if values.shape != shape:
            raise ValueError(f"{name}: expected {shape}, got {tuple(values.shape)}")
    return batch, channels, height, width
