"""A rendered square resized into its place in a picture, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.sampling_reference import narrowed

CUBIC = -0.75
"The slope of the cubic convolution kernel at distance 1, as OpenCV has it."


def paste_back_reference(pictures: Tensor, heads: Tensor, crops: Tensor, feather: float = 0.06) -> Tensor:
    """As `engine.kernels.paste_back.paste_back`, on any device."""
    result = pictures.clone()
    for picture, head, (left, top, side) in zip(result, heads, crops.tolist(), strict=True):
        height, width = picture.shape[:2]
        x0, x1, y0, y1 = max(left, 0), min(left + side, width), max(top, 0), min(top + side, height)
        if x0 >= x1 or y0 >= y1:
            continue
        weights = resize_matrix(len(head), side, picture.device)
        down, across = weights[y0 - top : y1 - top], weights[x0 - left : x1 - left]
        resized = narrowed(torch.einsum("yi,xj,ijc->yxc", down, across, head.double()), torch.uint8).double()
        band = max(feather * side, 1e-6)
        alpha_y = _fade(y0, y1, band, top, top + side, height, picture.device)
        alpha_x = _fade(x0, x1, band, left, left + side, width, picture.device)
        alpha = (alpha_y[:, None] * alpha_x)[..., None]
        below = picture[y0:y1, x0:x1].double()
        picture[y0:y1, x0:x1] = narrowed(below + alpha * (resized - below), torch.uint8)
    return result


def resize_matrix(size: int, side: int, device: torch.device) -> Tensor:
    """(side, size) float64: how `side` pixels are made of `size`: the mean of what each covers, or cubic convolution
    where it covers less than one, edges repeated."""
    ratio = size / side
    pixel = torch.arange(size, dtype=torch.float64, device=device)
    position = torch.arange(side, dtype=torch.float64, device=device)[:, None]
    if size == side:
        return torch.eye(size, dtype=torch.float64, device=device)
    if side < size:
        covered = torch.minimum((position + 1) * ratio, pixel + 1) - torch.maximum(position * ratio, pixel)
        return covered.clamp(min=0) / ratio
    at = (position + 0.5) * ratio - 0.5
    matrix = torch.zeros((side, size), dtype=torch.float64, device=device)
    for tap in range(-1, 3):
        neighbour = at.floor() + tap
        matrix.scatter_add_(1, neighbour.clamp(0, size - 1).long(), _cubic((at - neighbour).abs()))
    return matrix


def _cubic(distance: Tensor) -> Tensor:
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return torch.where(distance <= 1, near, far)


def _fade(first: int, last: int, band: float, start: int, end: int, length: int, device: torch.device) -> Tensor:
    """(last - first,) smooth weights: 0 at ends inside the picture, 1 from `band` on."""
    centre = torch.arange(first, last, dtype=torch.float64, device=device) + 0.5
    ramp = torch.ones_like(centre)
    if start > 0:
        ramp = torch.minimum(ramp, (centre - start) / band)
    if end < length:
        ramp = torch.minimum(ramp, (end - centre) / band)
    return ramp**2 * (3 - 2 * ramp)
