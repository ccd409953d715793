"""Keypoints with the local frames around them, and the 2x2 algebra of those, without any library's inverse."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_DETERMINANT = 1e-4
"A determinant nearer to 0 is moved there, keeping its sign, before anything is divided by it."


class Keypoints(NamedTuple):
    """What a keypoint detector finds in pictures, one more axis (batch) than `engine.keypoint_motion.Keypoints`."""

    points: Tensor
    "(B, K, 2) x then y, in [-1, 1]."
    jacobians: Tensor
    "(B, K, 2, 2) row-major: how the picture around the point is stretched and turned; near the identity."


def inverse(matrices: Tensor) -> Tensor:
    """Of (..., 2, 2), in closed form: exact but where the determinant is nearer to 0 than `SMALLEST_DETERMINANT`."""
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    away = torch.where(
        determinant < 0, determinant.clamp(max=-SMALLEST_DETERMINANT), determinant.clamp(min=SMALLEST_DETERMINANT)
    )
    adjugate = torch.stack((torch.stack((d, -b), dim=-1), torch.stack((-c, a), dim=-1)), dim=-2)
    return adjugate / away[..., None, None]


def product(left: Tensor, right: Tensor) -> Tensor:
    """(..., 2, 2) of two (..., 2, 2), element by element: no half precision under autocast, nothing to export badly."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def frame_change(source: Tensor, driving: Tensor) -> Tensor:
    """(..., 2, 2) J_source J_driving^-1, which takes steps around a driving keypoint to steps around the source's.

    First Order Motion Model (2019), Eq. 4.
    """
    return product(source, inverse(driving))
