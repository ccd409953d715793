"""Features moved by the flow of a first-order motion model, in one pass from keypoints and logits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.kernels.dense_motion_reference import dense_motion_reference
from engine.kernels.launch import Launcher, float32s, launcher_of, scalar_name, sizes, strides
from engine.kernels.layout import channels_together, empty_maps, packed, position_blocks
from engine.kernels.sampling_reference import pixel_scale

KERNEL = "dense_motion"


def dense_motion(
    features: Tensor,
    mask_logits: Tensor,
    occlusion_logits: Tensor | None,
    source_points: Tensor,
    points: Tensor,
    matrices: Tensor,
    align_corners: bool = False,
    *,
    launcher: Launcher | None = None,
) -> Tensor:
    """(B, C, H, W) features of the source where the frame wants them, times the occlusion.

    mask_logits: (B, K + 1, h, w) of the motions, the first of which is none. occlusion_logits: (B, 1, h, w) or None
    for no occlusion. source_points, points: (B, K, 2) keypoints of source and frame, -1 and 1 at the centres of the
    outermost pixels. matrices: (B, K, 2, 2), J_source J_frame^-1. First Order Motion Model (2019), Eq. 4; what
    `engine.nets.first_order.FeatureWarp.move` makes of the motion network's logits: flow and occlusion are resized
    bilinearly from (h, w) to (H, W). align_corners: as for `grid_sample_2d`, of the features.

    features: float32, float16 or bfloat16 with any strides. Logits: of the features' type or float32, any strides; of
    another type they are copied to float32. Keypoints are copied if not contiguous float32. Raises ValueError for
    shapes that do not fit; launcher and else as `grid_sample_2d`.
    """
    _check(features, mask_logits, occlusion_logits, source_points, points, matrices)
    launcher = launcher or launcher_of(features, mask_logits, occlusion_logits, source_points, points, matrices)
    if launcher is None:
        return dense_motion_reference(
            features, mask_logits, occlusion_logits, source_points, points, matrices, align_corners
        )
    batch, channels, height, width = features.shape
    output = empty_maps(tuple(features.shape), like=features)
    if output.numel() == 0:
        return output
    motion_height, motion_width = mask_logits.shape[2:]
    masks = _readable(mask_logits, features.dtype)
    occlusion = None if occlusion_logits is None else _readable(occlusion_logits, features.dtype)
    together = channels_together(features)
    wide = together and packed(features, output)
    shape, each = position_blocks(height * width, channels, batch, 16 // features.element_size() if wide else 1)
    launcher.launch(
        KERNEL,
        "dense_motion",
        scalar_name(features.dtype),
        shape,
        [
            *(features, masks, occlusion),
            *(values.to(torch.float32).contiguous() for values in (source_points, points, matrices)),
            output,
            *sizes(batch, channels, height, width, points.shape[1], motion_height, motion_width),
            *strides(features),
            *strides(masks),
            *([np.int64(0)] * 3 if occlusion is None else strides(occlusion, but=1)),
            *strides(output),
            *float32s(2.0 / (motion_width - 1), 2.0 / (motion_height - 1)),
            *float32s(*pixel_scale(width, align_corners), *pixel_scale(height, align_corners)),
            np.int32(masks.dtype == torch.float32),
            np.int32(occlusion is not None and occlusion.dtype == torch.float32),
            np.int32(together),
            np.int32(wide),
            np.int32(each),
        ],
    )
    return output


def _readable(logits: Tensor, dtype: torch.dtype) -> Tensor:
    return logits if logits.dtype in (dtype, torch.float32) else logits.to(torch.float32)


def _check(
    features: Tensor,
    mask_logits: Tensor,
    occlusion_logits: Tensor | None,
    source_points: Tensor,
    points: Tensor,
    matrices: Tensor,
) -> None:
    """Raises ValueError."""
    if features.ndim != 4 or mask_logits.ndim != 4:
        raise ValueError(
            "features and mask_logits: expected (B, C, H, W) and (B, K + 1, h, w), "
            f"got {tuple(features.shape)} and {tuple(mask_logits.shape)}"
        )
    batch, motions, height, width = mask_logits.shape
    if min(height, width) < 2:
        raise ValueError(f"mask_logits: expected at least 2 pixels along each side, got {width}x{height}")
    if features.shape[0] != batch or 0 in features.shape[1:]:
        raise ValueError(f"features: expected ({batch}, C, H, W), C, H and W above 0, got {tuple(features.shape)}")
    for name, values, shape in (
        ("occlusion_logits", occlusion_logits, (batch, 1, height, width)),
        ("source_points", source_points, (batch, motions - 1, 2)),
        ("points", points, (batch, motions - 1, 2)),
        ("matrices", matrices, (batch, motions - 1, 2, 2)),
    ):
        if values is not None and values.shape != shape:
            raise ValueError(f"{name}: expected {shape}, got {tuple(values.shape)}")
