"""A rendered square put back into the picture that it was cut from, its edges faded."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.launch import Launcher, float32s, launcher_of, sizes, strides
from engine.kernels.layout import plane_blocks
from engine.kernels.paste_back_reference import paste_back_reference

KERNEL = "paste_back"


def paste_back(
    pictures: Tensor, heads: Tensor, crops: Tensor, feather: float = 0.06, *, launcher: Launcher | None = None
) -> Tensor:
    """A copy of the (B, H, W, C) pictures with the (B, S, S, C) heads in the crops' places.

    crops: (B, 3) int32 left, top and side in pixels of the picture, as `engine.face.crop.HeadCrop`; they may reach
    beyond it. Heads are resized as `HeadCrop.paste` does it (area to smaller, cubic to larger), within a level, and
    fade over `feather` of the side, but not at edges of the picture. pictures, heads: uint8, any strides; crops are
    copied if not contiguous int32. They are read on the device: a captured graph follows what they hold. Raises
    ValueError for shapes that do not fit; launcher and else as `engine.kernels.grid_sample_2d.grid_sample_2d`.
    """
    if pictures.ndim != 4 or pictures.dtype != torch.uint8 or heads.dtype != torch.uint8:
        raise ValueError(f"pictures, heads: expected (B, H, W, C) uint8, got {tuple(pictures.shape)} {pictures.dtype}")
    batch, height, width, channels = pictures.shape
    if heads.ndim != 4 or heads.shape != (batch, heads.shape[1], heads.shape[1], channels) or not heads.shape[1]:
        raise ValueError(f"heads: expected ({batch}, S, S, {channels}), got {tuple(heads.shape)}")
    if crops.shape != (batch, 3):
        raise ValueError(f"crops: expected ({batch}, 3) left, top, side, got {tuple(crops.shape)}")
    launcher = launcher or launcher_of(pictures, heads, crops)
    if launcher is None:
        return paste_back_reference(pictures, heads, crops, feather)
    output = torch.empty(pictures.shape, dtype=torch.uint8, device=pictures.device)
    if output.numel():
        launcher.launch(
            KERNEL,
            "paste_back",
            "uint8",
            plane_blocks(width, height, batch),
            [
                *(pictures, heads, crops.to(torch.int32).contiguous(), output),
                *sizes(batch, channels, height, width, heads.shape[1]),
                *strides(pictures),
                *strides(heads),
                *strides(output),
                *float32s(feather),
            ],
        )
    return output
