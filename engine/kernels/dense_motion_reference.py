"""Features moved by the flow of a first-order motion model, in torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.sampling_reference import narrowed, pixel_scale, sampled, taps, widened


def dense_motion_reference(
    features: Tensor,
    mask_logits: Tensor,
    occlusion_logits: Tensor | None,
    source_points: Tensor,
    points: Tensor,
    matrices: Tensor,
    align_corners: bool = False,
) -> Tensor:
    """As `engine.kernels.dense_motion.dense_motion`, on any device and in float64 too."""
    size = features.shape[2], features.shape[3]
    motions = sparse_motions(widened(source_points), widened(points), widened(matrices), *mask_logits.shape[2:])
    masks = torch.softmax(widened(mask_logits).to(motions.dtype), dim=1)
    flow = _resized((masks[:, :, None] * motions).sum(1), size)
    axes = []
    for axis, length in ((1, size[0]), (0, size[1])):
        factor, summand = pixel_scale(length, align_corners)
        axes.append(taps(flow[:, axis] * factor + summand, length, "zeros"))
    moved = sampled(features, axes)
    if occlusion_logits is not None:
        moved = moved * _resized(torch.sigmoid(widened(occlusion_logits).to(motions.dtype)), size)
    return narrowed(moved, features.dtype)


def sparse_motions(source_points: Tensor, points: Tensor, matrices: Tensor, height: int, width: int) -> Tensor:
    """(B, K + 1, 2, height, width) positions z, then p_source + M (z - p) for each keypoint.

    First Order Motion Model (2019), Eq. 4.
    """
    x = torch.arange(width, device=points.device).to(points.dtype) * (2.0 / (width - 1)) - 1.0
    y = torch.arange(height, device=points.device).to(points.dtype) * (2.0 / (height - 1)) - 1.0
    still = torch.stack(torch.meshgrid(x, y, indexing="xy"))
    moved = torch.einsum("bkij,bkjyx->bkiyx", matrices, still - points[..., None, None])
    moved = moved + source_points[..., None, None]
    return torch.cat((still.expand(len(points), 1, *still.shape), moved), dim=1)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
