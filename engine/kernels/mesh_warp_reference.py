"""A picture drawn through a mesh, in torch: one triangle after the other is painted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.kernels.sampling_reference import Padding, narrowed, sampled, taps


def mesh_warp_reference(
    picture: Tensor,
    vertices: Tensor,
    triangles: Tensor,
    source: Tensor,
    order: Tensor,
    size: tuple[int, int],
    padding: Padding = "zeros",
    outside: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `engine.kernels.mesh_warp.mesh_warp`, on any device; triangles (B, T, 3) and order (B, T)."""
    if not len(picture):
        return (
            picture.new_empty((0, picture.shape[1], *size)),
            torch.empty((0, *size), dtype=torch.int32, device=picture.device),
            torch.empty((0, *size, 2), device=picture.device),
        )
    shown = torch.stack([painted(vertices[n], triangles[n], order[n].tolist(), *size) for n in range(len(vertices))])
    places = torch.stack(
        [_places(vertices[n], triangles[n], source[n], shown[n], outside) for n in range(len(vertices))]
    )
    axes = (
        taps(places[..., 1], picture.shape[2], padding),
        taps(places[..., 0], picture.shape[3], padding),
    )
    values = torch.where((shown >= 0)[:, None], sampled(picture, axes), 0.0)
    return narrowed(values, picture.dtype), shown, places


def painted(vertices: Tensor, triangles: Tensor, order: list[int], height: int, width: int) -> Tensor:
    """(height, width) int32 the last of the triangles, taken in `order`, that covers each pixel's centre, else -1.

    vertices: (V, 2), triangles: (T, 3). A centre on an edge belongs to what is right of or below the edge.
    """
    shown = torch.full((height, width), -1, dtype=torch.int32, device=vertices.device)
    columns = torch.arange(width, device=vertices.device)
    for number in order:
        corners = vertices[triangles[number].long()].double()
        if not corners.isfinite().all():
            continue
        top, middle, bottom = sorted(corners.tolist(), key=lambda corner: corner[1])
        rows = [min(max(math.ceil(corner[1] - 0.5), 0), height) for corner in (top, middle, bottom)]
        y = torch.arange(rows[0], rows[2], dtype=torch.float64, device=vertices.device) + 0.5
        one = _edge(top, bottom, y)
        other = torch.where(y < rows[1], _edge(top, middle, y), _edge(middle, bottom, y))
        first = (torch.minimum(one, other) - 0.5).ceil()[:, None]
        last = (torch.maximum(one, other) - 0.5).ceil()[:, None]
        shown[rows[0] : rows[2]][(columns >= first) & (columns < last)] = number
    return shown


def _edge(start: list[float], end: list[float], y: Tensor) -> Tensor:
    """x of the edge from `start` down to `end` at heights y."""
    rise = end[1] - start[1]
    return start[0] + ((end[0] - start[0]) / rise if rise > 0 else 0.0) * (y - start[1])


def _places(vertices: Tensor, triangles: Tensor, source: Tensor, shown: Tensor, outside: float) -> Tensor:
    """(height, width, 2) float32 where in the picture each pixel's triangle takes its centre from."""
    if not len(triangles):
        return torch.full((*shown.shape, 2), outside, device=shown.device)
    height, width = shown.shape
    corners = triangles.long()[shown.clamp(min=0).long()]
    start, end_1, end_2 = vertices.float()[corners].unbind(-2)
    from_0, from_1, from_2 = source.float()[corners].unbind(-2)
    edge_1, edge_2 = end_1 - start, end_2 - start
    area = edge_1[..., 0] * edge_2[..., 1] - edge_1[..., 1] * edge_2[..., 0]
    inverse = 1.0 / torch.where(area.abs() < 1e-6, 1.0, area)
    across = torch.arange(width, device=shown.device) + 0.5 - start[..., 0]
    down = (torch.arange(height, device=shown.device) + 0.5)[:, None] - start[..., 1]
    share_1 = (across * edge_2[..., 1] - down * edge_2[..., 0]) * inverse
    share_2 = (down * edge_1[..., 0] - across * edge_1[..., 1]) * inverse
    places = from_0 + share_1[..., None] * (from_1 - from_0) + share_2[..., None] * (from_2 - from_0)
    return torch.where((shown >= 0)[..., None], places, outside)
