"""Which triangle of a mesh does each pixel show? Scan conversion of all triangles at once, without a loop over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Indices = NDArray[np.int32]


class Rasterized:
    """A mesh drawn into a frame: the triangle that each pixel shows, and vertex values interpolated to pixels."""

    def __init__(self, points_px: Array, triangles: Indices, order: NDArray[np.intp], width: int, height: int) -> None:
        """points_px: (V, 2). triangles: (T, 3). order: (T,) in which to paint them, back to front."""
        self._triangles = triangles
        in_order = rasterize(points_px, triangles[order], width, height)
        # One more at the end, where the -1 of pixels without a triangle points to.
        self.triangle_of_pixel: Indices = np.append(order, len(triangles)).astype(np.int32)[in_order]
        "(height, width), the number of triangles where there is none."
        corners = points_px[triangles]
        edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        area = edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]
        inverse = 1.0 / np.where(np.abs(area) < 1e-6, 1.0, area)[:, None]
        self._to_1 = np.stack((edge_2[:, 1], -edge_2[:, 0]), axis=1) * inverse
        self._to_2 = np.stack((-edge_1[:, 1], edge_1[:, 0]), axis=1) * inverse
        self._corner = corners[:, 0]
        self._x = np.arange(width, dtype=np.float32) + 0.5
        self._y = np.arange(height, dtype=np.float32)[:, None] + 0.5

    def everywhere(self, values: Array, outside: float) -> list[Array]:
        """Each column of `values` (V, C), linear over every triangle, (height, width); `outside` where none is."""
        slopes_x, slopes_y, offsets = self._planes(values, outside)
        shown = self.triangle_of_pixel
        # Per column: gathering whole rows of coefficients is three times slower.
        return [
            np.take(slopes_x[c], shown) * self._x + np.take(slopes_y[c], shown) * self._y + np.take(offsets[c], shown)
            for c in range(values.shape[1])
        ]

    def at(self, values: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """(N, C) the same for N pixels, 0 where there is no triangle."""
        slopes_x, slopes_y, offsets = self._planes(values, 0.0)
        shown = self.triangle_of_pixel[rows, columns]
        x, y = self._x[columns], self._y[rows, 0]
        interpolated: Array = (slopes_x[:, shown] * x + slopes_y[:, shown] * y + offsets[:, shown]).T
        return interpolated

    def _planes(self, values: Array, outside: float) -> tuple[Array, Array, Array]:
        """Coefficients (C, T + 1) of the plane through each triangle's values; the last for pixels without one."""
        corners = values[self._triangles]
        along_1, along_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        planes = np.zeros((3, values.shape[1], len(self._triangles) + 1), np.float32)
        planes[0, :, :-1] = (along_1 * self._to_1[:, :1] + along_2 * self._to_2[:, :1]).T
        planes[1, :, :-1] = (along_1 * self._to_1[:, 1:] + along_2 * self._to_2[:, 1:]).T
        planes[2, :, :-1] = (
            corners[:, 0].T - planes[0, :, :-1] * self._corner[:, 0] - planes[1, :, :-1] * self._corner[:, 1]
        )
        planes[2, :, -1] = outside
        return planes[0], planes[1], planes[2]


def rasterize(points_px: Array, triangles: Indices, width: int, height: int) -> Indices:
    """The last triangle that covers each pixel's centre, (height, width) int32, -1 where none does.

    points_px: (V, 2). triangles: (T, 3), painted in this order: to let the near hide the far, sort them back to front.
    Both windings are painted; a pixel on an edge that two triangles share belongs to exactly one of them.
    """
    corners = points_px[triangles]
    order = np.argsort(corners[..., 1], axis=1, kind="stable")
    sides: NDArray[np.float64] = np.take_along_axis(corners, order[..., None], axis=1).astype(np.float64)
    top, middle, bottom = sides[:, 0], sides[:, 1], sides[:, 2]
    rows = np.clip(np.ceil(sides[..., 1] - 0.5), 0, height).astype(np.int64)

    # Each triangle is two trapezoids, above and below its middle corner; one side of both is the edge top to bottom.
    whole_slope = _slope(top, bottom)
    slope = np.stack((_slope(top, middle), _slope(middle, bottom)), axis=1).ravel()
    start = sides[:, :2].reshape(-1, 2)
    first_row = rows[:, :2].ravel()
    row_count = rows[:, 1:].ravel() - first_row

    # From the edge's upper end, not from y = 0: neighbours then agree to the last bit where a corner is on a pixel's
    # centre.
    trapezoid, row = _expand(first_row, row_count)
    y = row + 0.5
    triangle = trapezoid >> 1
    one = top[triangle, 0] + whole_slope[triangle] * (y - top[triangle, 1])
    other = start[trapezoid, 0] + slope[trapezoid] * (y - start[trapezoid, 1])
    first = np.clip(np.ceil(np.minimum(one, other) - 0.5), 0, width).astype(np.int64)
    count = np.clip(np.ceil(np.maximum(one, other) - 0.5), 0, width).astype(np.int64) - first

    span, pixel = _expand(row * width + first, count)
    shown = np.full(height * width, -1, dtype=np.int32)
    shown[pixel] = triangle.astype(np.int32)[span]  # numpy keeps the last value of a repeated index
    return shown.reshape(height, width)


def _slope(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) change of x for one of y along the edges from a to b, (T, 2) each; 0 for horizontal ones."""
    rise = b[:, 1] - a[:, 1]
    slope: NDArray[np.float64] = np.divide(b[:, 0] - a[:, 0], rise, out=np.zeros_like(rise), where=rise > 0)
    return slope


def _expand(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each i the numbers first[i] .. first[i] + count[i] - 1, joined, beside the i that each came from."""
    index = np.repeat(np.arange(count.size), count)
    start = first - (np.cumsum(count) - count)
    return index, np.arange(index.size) + start[index]
