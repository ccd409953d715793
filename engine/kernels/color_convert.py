"""8-bit RGB to YUV 4:2:0, ITU-R BT.601, limited range: what a video encoder takes."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from engine.kernels.color_convert_reference import color_convert_reference
from engine.kernels.launch import Launcher, launcher_of, sizes, strides
from engine.kernels.layout import plane_blocks

KERNEL = "color_convert"
YuvLayout = Literal["i420", "nv12"]


class YuvFrames(NamedTuple):
    """Frames with chroma at half the size, rounded up, in one piece of memory."""

    buffer: Tensor
    "(B, N) uint8: each frame's y, then u and v after each other (i420) or pixel by pixel (nv12), without gaps."
    y: Tensor
    "(B, H, W), in `buffer` as the others."
    u: Tensor
    "(B, ceil(H / 2), ceil(W / 2))."
    v: Tensor


def color_convert(frames: Tensor, layout: YuvLayout = "i420", *, launcher: Launcher | None = None) -> YuvFrames:
    """Of (B, H, W, 3) uint8 frames with any strides.

    Within one level of what libswscale makes (bilinear) of frames with even sides of 8 pixels or more; of an odd side
    the last row or column counts twice. Raises ValueError for other shapes and types; launcher and else as
    `engine.kernels.grid_sample_2d.grid_sample_2d`.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != torch.uint8 or 0 in frames.shape[1:]:
        raise ValueError(f"frames: expected (B, H, W, 3) uint8, got {tuple(frames.shape)} {frames.dtype}")
    if layout not in get_args(YuvLayout):
        raise ValueError(f"layout: expected 'i420' or 'nv12', got {layout!r}")
    launcher = launcher or launcher_of(frames)
    batch, height, width, _ = frames.shape
    result = empty_yuv(batch, height, width, layout, frames.device)
    _, y, u, v = result
    if launcher is None:
        for plane, values in zip((y, u, v), color_convert_reference(frames), strict=True):
            plane.copy_(values)
    elif frames.numel():
        launcher.launch(
            KERNEL,
            "color_convert",
            "uint8",
            plane_blocks(u.shape[2], u.shape[1], batch),
            [frames, y, u, v, *sizes(batch, height, width), *strides(frames), *strides(y)[:2], *strides(u)],
        )
    return result


def empty_yuv(batch: int, height: int, width: int, layout: YuvLayout, device: torch.device) -> YuvFrames:
    """Frames whose pixels are not set yet."""
    rows, columns = -(-height // 2), -(-width // 2)
    luma, chroma = height * width, rows * columns
    buffer = torch.empty((batch, luma + 2 * chroma), dtype=torch.uint8, device=device)
    y = buffer[:, :luma].view(batch, height, width)
    if layout == "nv12":
        u, v = buffer[:, luma:].view(batch, rows, columns, 2).unbind(-1)
    else:
        u, v = buffer[:, luma:].view(batch, 2, rows, columns).unbind(1)
    return YuvFrames(buffer, y, u, v)
