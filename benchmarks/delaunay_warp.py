"""The baseline of the self-driven benchmark: the frame warped by a flat Delaunay triangulation of the landmarks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.generators.rasterizer import rasterize
from engine.motion import to_pixels

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]


class DelaunayWarp:
    """One source frame (S, S, 3), bent so that its landmarks (478, 3; frame coordinates) fall on the driving ones."""

    def __init__(self, source: Frame, landmarks: Array) -> None:
        self._source = source
        size = source.shape[0]
        # Held along the border, a little outside, so that every pixel lies in a triangle.
        steps = np.linspace(-1.0, size + 1.0, 9, dtype=np.float32)
        ends = np.array((-1.0, size + 1.0), np.float32)
        across = np.stack(np.meshgrid(steps, ends), axis=-1).reshape(-1, 2)
        down = np.stack(np.meshgrid(ends, steps[1:-1]), axis=-1).reshape(-1, 2)
        self._border = np.concatenate((across, down))
        self._points = self._with_border(landmarks)
        self._triangles = _delaunay(self._points, size)

    def render(self, landmarks: Array) -> Frame:
        size = self._source.shape[0]
        points = self._with_border(landmarks)
        shown = rasterize(points, self._triangles, size, size)
        corners = points[self._triangles].astype(np.float64)
        texture = self._points[self._triangles].astype(np.float64)
        # Barycentric: [x y 1] of the frame to x and y of the source; a flattened triangle covers no pixel.
        frame = np.concatenate((corners, np.ones((len(corners), 3, 1))), axis=2)
        flat = np.abs(np.linalg.det(frame)) < 1e-6
        frame[flat] = np.eye(3)
        affine = np.linalg.solve(frame, texture).astype(np.float32)
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
        weights = affine[np.maximum(shown, 0)]
        mapped = x[..., None] * weights[..., 0, :] + y[..., None] * weights[..., 1, :] + weights[..., 2, :] - 0.5
        mapped[shown < 0] = np.stack((x, y), axis=-1)[shown < 0] - 0.5
        map_x, map_y = mapped[..., 0], mapped[..., 1]
        warped = cv2.remap(self._source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, np.uint8)

    def _with_border(self, landmarks: Array) -> Array:
        size = self._source.shape[0]
        points: Array = np.concatenate((to_pixels(landmarks[:, :2], size, size), self._border))
        return points


def _delaunay(points: Array, size: int) -> NDArray[np.int32]:
    """(T, 3) indices into points (N, 2). Points that coincide or lie outside the frame's surroundings are left out."""
    margin = 2 * size
    division = cv2.Subdiv2D((-margin, -margin, size + 2 * margin, size + 2 * margin))
    index: dict[int, int] = {}
    for i, (x, y) in enumerate(points):
        if -margin < x < size + margin and -margin < y < size + margin:
            index.setdefault(division.insert((float(x), float(y))), i)
    triangles = []
    for corners in np.reshape(division.getTriangleList(), (-1, 3, 2)):
        found = [index.get(division.locate((float(x), float(y)))[2]) for x, y in corners]
        if None not in found:
            triangles.append(found)
    return np.array(triangles, np.int32)
