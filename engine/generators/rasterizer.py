"""Which triangle of a mesh does each pixel show? Scan conversion of all triangles at once, without a loop over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Indices = NDArray[np.int32]


def rasterize(points_px: Points, triangles: Indices, width: int, height: int) -> Indices:
    """The last triangle that covers each pixel's centre, (height, width) int32, -1 where none does.

    points_px: (V, 2). triangles: (T, 3), painted in this order: to let the near hide the far, sort them back to front.
    Both windings are painted; a pixel on an edge that two triangles share belongs to exactly one of them.
    """
    corners = points_px[triangles]
    order = np.argsort(corners[..., 1], axis=1, kind="stable")
    corners = np.take_along_axis(corners, order[..., None], axis=1).astype(np.float64)
    top, middle, bottom = corners[:, 0], corners[:, 1], corners[:, 2]
    rows = np.clip(np.ceil(corners[..., 1] - 0.5), 0, height).astype(np.int64)

    # Each triangle is two trapezoids, above and below its middle corner; one side of both is the edge top to bottom.
    whole_slope, whole_offset = _edge(top, bottom)
    upper_slope, upper_offset = _edge(top, middle)
    lower_slope, lower_offset = _edge(middle, bottom)
    slope = np.stack((upper_slope, lower_slope), axis=1).ravel()
    offset = np.stack((upper_offset, lower_offset), axis=1).ravel()
    first_row = rows[:, :2].ravel()
    row_count = rows[:, 1:].ravel() - first_row

    trapezoid, row = _expand(first_row, row_count)
    y = row + 0.5
    triangle = trapezoid >> 1
    one = whole_offset[triangle] + whole_slope[triangle] * y
    other = offset[trapezoid] + slope[trapezoid] * y
    first = np.clip(np.ceil(np.minimum(one, other) - 0.5), 0, width).astype(np.int64)
    count = np.clip(np.ceil(np.maximum(one, other) - 0.5), 0, width).astype(np.int64) - first

    span, pixel = _expand(row * width + first, count)
    shown = np.full(height * width, -1, dtype=np.int32)
    shown[pixel] = triangle.astype(np.int32)[span]  # numpy keeps the last value of a repeated index
    return shown.reshape(height, width)


def _edge(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x = offset + slope * y along the edges from a to b, (T, 2) each; both 0 for a horizontal edge, which covers no row."""
    rise = b[:, 1] - a[:, 1]
    slope = np.divide(b[:, 0] - a[:, 0], rise, out=np.zeros_like(rise), where=rise > 0)
    return slope, a[:, 0] - slope * a[:, 1]


def _expand(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each i the numbers first[i] .. first[i] + count[i] - 1, joined, beside the i that each came from."""
    index = np.repeat(np.arange(count.size), count)
    start = first - (np.cumsum(count) - count)
    return index, np.arange(index.size) + start[index]
