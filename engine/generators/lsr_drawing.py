"""The 68 contour points as LSR's networks see them: coloured lines on black, soft at their edges.

The published pictures were drawn by matplotlib with lines of 2 points at 100 dots per inch on 224 pixels. All lines are
open: those of eyes and lips, too.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

LINE_WIDTH = 2.0 / 72 * 100 / 224
"Of the side of the picture."
LINES = (
    (range(0, 17), (0, 128, 0)),
    (range(17, 22), (255, 165, 0)),
    (range(22, 27), (255, 165, 0)),
    (range(27, 31), (0, 0, 255)),
    (range(31, 36), (0, 0, 255)),
    (range(36, 42), (255, 0, 0)),
    (range(42, 48), (255, 0, 0)),
    (range(48, 60), (128, 0, 128)),
    (range(60, 68), (255, 192, 203)),
)
"Which of the 68 points a line goes through, and its colour, RGB."

_FINER = 4
"The lines are drawn on so many times the size: OpenCV's are of whole pixels."
_WIDER = 1.5
"Pixels by which OpenCV's thick lines are wider than asked, in the mean."
_SUBPIXEL_BITS = 4
_FAR = 8.0
"In sides of the picture: beyond, OpenCV's whole numbers end."


def draw_contours(points: Array, size: int) -> Frame:
    """(size, size, 3) RGB. points: (68, 2) frame coordinates; what lies outside the frame is cut off."""
    side = _FINER * size
    canvas = np.zeros((side, side, 3), np.uint8)
    places = (np.clip(points, -_FAR, _FAR) + 0.5) * side - 0.5  # OpenCV counts from the middle of the first pixel
    fixed = np.rint(places * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    thickness = max(1, round(LINE_WIDTH * side - _WIDER))
    for numbers, colour in LINES:
        line = fixed[numbers.start : numbers.stop]
        cv2.polylines(canvas, [line], False, colour, thickness, cv2.LINE_8, _SUBPIXEL_BITS)
    return np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
