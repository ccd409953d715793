"""Linear samples from their definition: every sample is the sum of its position's neighbours, weighted by nearness."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Padding = Literal["zeros", "border"]
"What is outside a map: 0, or the outermost pixels for ever."


class Taps(NamedTuple):
    """The two neighbours of positions along one axis."""

    indices: tuple[Tensor, Tensor]
    "Long, always of a pixel that exists."
    weights: tuple[Tensor, Tensor]
    "0 for a neighbour outside."
    inside: tuple[Tensor, Tensor]
    "Whether the neighbour exists."


def check_padding(padding: str) -> None:
    """Raises ValueError."""
    if padding not in get_args(Padding):
        raise ValueError(f"padding: expected 'zeros' or 'border', got {padding!r}")


def pixel_scale(length: int, align_corners: bool) -> tuple[float, float]:
    """(factor, summand) from normalised coordinates to pixels, 0 at the first one's centre.

    -1 and 1 are the centres of the outermost pixels (`align_corners`) or their outer edges.
    """
    return (length - 1 if align_corners else length) / 2, (length - 1) / 2


def taps(position: Tensor, length: int, padding: Padding) -> Taps:
    """Of positions in pixels. What is not a number is outside, or with a border the first pixel."""
    if padding == "border":
        position = position.nan_to_num(nan=0.0).clamp(0, length - 1)
    else:
        position = position.nan_to_num(nan=-2.0).clamp(-2, length + 1)
    low = position.floor()
    share = position - low
    indices = low.long(), low.long() + 1
    inside = tuple((index >= 0) & (index < length) for index in indices)
    weights = tuple(torch.where(i, w, 0.0) for i, w in zip(inside, (1 - share, share), strict=True))
    first, second = (index.clamp(0, length - 1) for index in indices)
    return Taps((first, second), (weights[0], weights[1]), (inside[0], inside[1]))


def sampled(maps: Tensor, axes: Sequence[Taps]) -> Tensor:
    """(B, C, ...) of (B, C, *extent) maps, at the taps (B, ...) of each axis of their extent.

    Computed in the weights' precision and returned in it.
    """
    shape = axes[0].weights[0].shape
    batch = torch.arange(shape[0], device=maps.device).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    total = torch.zeros((*shape, maps.shape[1]), dtype=axes[0].weights[0].dtype, device=maps.device)
    for corner in product((0, 1), repeat=len(axes)):
        sides = list(zip(axes, corner, strict=True))
        values = maps.movedim(1, -1)[(batch, *(tap.indices[side] for tap, side in sides))].to(total.dtype)
        weight = torch.ones_like(total[..., 0])
        inside = torch.ones(shape, dtype=torch.bool, device=maps.device)
        for tap, side in sides:
            weight = weight * tap.weights[side]
            inside = inside & tap.inside[side]
        # Not a product alone: what is outside may be read where it is infinite, and must not become a NaN.
        total = total + torch.where(inside[..., None], weight[..., None] * values, 0.0)
    return total.movedim(-1, 1)


def widened(tensor: Tensor) -> Tensor:
    """In float32 at least: what coordinates and sums are computed in."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """As pixels of that type; to the nearest of 256 levels for uint8."""
    if dtype != torch.uint8:
        return values.to(dtype)
    return values.nan_to_num(nan=0.0).clamp(0, 255).round().to(torch.uint8)
