"""Boxes around mouth and eyes, whose pixels count more than others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import LEFT_BROW, LEFT_EYE, LIPS, RIGHT_BROW, RIGHT_EYE
from engine.motion import to_pixels

EYE_POINTS = (*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW)

REST, EYES, MOUTH = 0, 1, 2
"Values of `box_map`."


def landmark_box(
    landmarks: NDArray[np.float32], points: Sequence[int], size: int, margin: float = 0.15
) -> tuple[slice, slice]:
    """Rows and columns of a frame around landmarks (478, 3), with a margin in the box's longer sides."""
    pixels = to_pixels(landmarks[list(points), :2], size, size)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    border = margin * float((high - low).max())
    left, top = np.clip(low - border, 0, size - 4).astype(int)
    right, bottom = np.clip(high + border, (left + 4, top + 4), size).astype(int)
    return slice(top, bottom), slice(left, right)


def box_map(landmarks: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """(size, size) which of the boxes each pixel is in, where they overlap the mouth's. landmarks: (478, 3)."""
    boxes = np.full((size, size), REST, np.uint8)
    for points, value in ((EYE_POINTS, EYES), (LIPS, MOUTH)):
        boxes[landmark_box(landmarks, points, size)] = value
    return boxes
