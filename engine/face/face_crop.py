"""The face box of a frame as a square picture, as IP-LAP takes and makes it, and the way back into the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.landmarks131 import JAW, LANDMARKS_131, LEFT_BROW, LEFT_CHEEK, RIGHT_BROW, RIGHT_CHEEK, Boxes

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

_OUTLINE = [LANDMARKS_131.index(point) for point in (*RIGHT_CHEEK, *JAW, *LEFT_CHEEK, *RIGHT_BROW[:5], *LEFT_BROW[:5])]
_FRACTION_BITS = 4


@dataclass(frozen=True)
class PasteConfig:
    """How a face is put into a frame."""

    feather: float = 0.055
    "Standard deviation of the soft border, in heights of the box: the published 11 pixels at a face of 200."


def cut_face(frame: Frame, box: Boxes, side: int) -> Frame:
    """(side, side, 3) what is in the box (4,) of a frame, whatever its shape, by bilinear interpolation."""
    left, top, right, bottom = (int(value) for value in box)
    return np.asarray(cv2.resize(frame[top:bottom, left:right], (side, side)), np.uint8)


def paste_face(frame: Frame, face: Frame, points: Array, box: Boxes, config: PasteConfig = PasteConfig()) -> Frame:
    """A copy of a frame (H, W, 3) with the face (S, S, 3) in its box (4,), inside the hull of jaw and brows.

    points: (131, 2) from 0 to 1 in the box. The hull's border is soft.
    """
    left, top, right, bottom = (int(value) for value in box)
    width, height = right - left, bottom - top
    alpha = _hull(points, width, height, config)[..., None]
    shown = np.asarray(cv2.resize(face, (width, height)), np.float32)
    result = frame.copy()
    below = result[top:bottom, left:right].astype(np.float32)
    result[top:bottom, left:right] = np.rint(below + alpha * (shown - below)).astype(np.uint8)
    return result


def _hull(points: Array, width: int, height: int, config: PasteConfig) -> Array:
    """(height, width) 1 inside, 0 outside."""
    places = np.clip(points[_OUTLINE], -1.0, 2.0) * np.array((width, height), np.float32)
    fixed = np.rint((places - 0.5) * (1 << _FRACTION_BITS)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(fixed), 255, cv2.LINE_AA, _FRACTION_BITS)
    sigma = config.feather * height
    if sigma > 0.1:
        # What is outside the box counts as outside the face: the border of the box is not to be seen.
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), np.uint8)
    return np.asarray(mask, np.float32) * np.float32(1.0 / 255.0)
