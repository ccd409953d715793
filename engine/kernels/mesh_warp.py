"""A picture drawn through a mesh: triangle lookup and sampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.kernels.launch import Launcher, LaunchShape, float32s, launcher_of, scalar_name, sizes, strides
from engine.kernels.layout import GRID_LIMIT, empty_maps, plane_blocks
from engine.kernels.mesh_warp_reference import mesh_warp_reference
from engine.kernels.sampling_reference import Padding, check_padding

KERNEL = "mesh_warp"
LOOKUP_BLOCK = (16, 8, 1)
"Columns and rows that a triangle is walked over with: most triangles of a face are smaller."


class MeshWarp(NamedTuple):
    """A picture as the mesh shows it."""

    sampled: Tensor
    "(B, C, h, w) of the picture's type; 0 where there is no triangle."
    triangle: Tensor
    "(B, h, w) int32 the triangle that each pixel shows, -1 where there is none."
    place: Tensor
    "(B, h, w, 2) float32 x then y in the picture, in its pixels."


def mesh_warp(
    picture: Tensor,
    vertices: Tensor,
    triangles: Tensor,
    source: Tensor,
    size: tuple[int, int],
    order: Tensor | None = None,
    padding: Padding = "zeros",
    outside: float = 0.0,
    *,
    launcher: Launcher | None = None,
) -> MeshWarp:
    """The (B, C, H, W) picture, its points `source` moved to `vertices` and linear between, in `size` (h, w) pixels.

    vertices: (B, V, 2) x, y in pixels of the result, 0 at the first pixel's outer edge, 0.5 at its centre. source:
    (B, V, 2) in pixels of the picture, 0 at the first pixel's centre (as `cv2.remap` counts). triangles: (T, 3) or
    (B, T, 3) int32, of existing vertices (not checked), either winding. order: (T,) or (B, T) int32, in which to paint
    them, back to front; by default as they stand. Triangles with a vertex that is not finite are not drawn. The lookup
    is that of `engine.generators.rasterizer.rasterize`, to the pixel. padding: outside of the picture. outside:
    `place` where there is no triangle.

    picture: uint8 (rounded to the nearest level), float32, float16 or bfloat16, any strides. vertices and source are
    copied if not float32 with x and y together, triangles and order if not int32 with the last axis contiguous.
    Raises ValueError for shapes that do not fit; launcher and else as `grid_sample_2d`.
    """
    check_padding(padding)
    batch, count = _checked(picture, vertices, triangles, source)
    triangles = triangles.expand(batch, -1, -1)
    if order is None:
        order = torch.arange(count, dtype=torch.int32, device=triangles.device)
    order = order.expand(batch, -1)
    if order.shape != (batch, count):
        raise ValueError(f"order: expected ({batch}, {count}) or ({count},), got {tuple(order.shape)}")
    launcher = launcher or launcher_of(picture, vertices, triangles, source, order)
    if launcher is None:
        return MeshWarp(*mesh_warp_reference(picture, vertices, triangles, source, order, size, padding, outside))
    (height, width), (_, channels, picture_height, picture_width) = size, picture.shape
    vertices, source = _together(vertices, torch.float32), _together(source, torch.float32)
    triangles, order = triangles.to(torch.int32), _together(order, torch.int32)
    if triangles.stride()[1:] != (3, 1):
        triangles = triangles.contiguous()
    shown = torch.full((batch, height, width), -1, dtype=torch.int32, device=picture.device)
    place = torch.empty((batch, height, width, 2), dtype=torch.float32, device=picture.device)
    output = empty_maps((batch, channels, height, width), like=picture)
    if shown.numel() == 0:
        return MeshWarp(output, shown, place)
    scalar = scalar_name(picture.dtype)
    mesh = [*strides(vertices, but=2), *strides(triangles)[:1], *strides(order)[:1]]
    if count:
        launcher.launch(
            KERNEL,
            "mesh_warp_lookup",
            scalar,
            LaunchShape((count, min(batch, GRID_LIMIT), 1), LOOKUP_BLOCK),
            [vertices, triangles, order, shown, *sizes(batch, count, height, width), *mesh],
        )
    launcher.launch(
        KERNEL,
        "mesh_warp_sample",
        scalar,
        plane_blocks(width, height, batch),
        [
            *(picture, vertices, triangles, order, source, shown, place, output),
            *sizes(batch, channels, picture_height, picture_width, height, width),
            *strides(picture),
            *mesh,
            *strides(source, but=2),
            *strides(output),
            np.int32(padding == "border"),
            *float32s(outside),
        ],
    )
    return MeshWarp(output, shown, place)


def _together(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Of that type and with the last axis contiguous; the same tensor where it is so already."""
    values = values.to(dtype)
    return values if values.stride(-1) == 1 else values.contiguous()


def _checked(picture: Tensor, vertices: Tensor, triangles: Tensor, source: Tensor) -> tuple[int, int]:
    """Batch and number of triangles. Raises ValueError."""
    if picture.ndim != 4 or 0 in picture.shape[1:]:
        raise ValueError(f"picture: expected (B, C, H, W), C, H and W above 0, got {tuple(picture.shape)}")
    batch = len(picture)
    if vertices.ndim != 3 or vertices.shape[0] != batch or vertices.shape[2] != 2 or source.shape != vertices.shape:
        raise ValueError(
            f"vertices and source: expected ({batch}, V, 2) both, got {tuple(vertices.shape)} and {tuple(source.shape)}"
        )
    if triangles.shape[-1] != 3 or triangles.ndim not in (2, 3) or (triangles.ndim == 3 and len(triangles) != batch):
        raise ValueError(f"triangles: expected (T, 3) or ({batch}, T, 3), got {tuple(triangles.shape)}")
    return batch, triangles.shape[-2]
