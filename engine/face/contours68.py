"""The 68 contour points of the field's older systems (the iBUG 300-W layout), out of the 478 of MediaPipe.

Where the older layout spaces points evenly along a line, the mesh point nearest to that place on the mean face is
taken. The jaw is the mesh's own edge, which turns with the head: projected points of a solid face, as the 3-D fits of
those systems give them, and not the outline that a 2-D detector sees.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import POINTS

# "Right" and "left" are the person's own; every contour begins on the person's right, at the left of the picture.
JAW = (127, 234, 93, 132, 172, 136, 149, 176, 152, 400, 378, 365, 397, 361, 323, 454, 356)
RIGHT_BROW = (70, 63, 105, 66, 107)
LEFT_BROW = (336, 296, 334, 293, 300)
NOSE_BRIDGE = (168, 197, 195, 4)
NOSE_BASE = (98, 97, 2, 326, 327)
RIGHT_EYE = (33, 160, 158, 133, 153, 144)
LEFT_EYE = (362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
INNER_LIPS = (78, 81, 13, 311, 308, 402, 14, 178)

CONTOURS_68 = (
    *(*JAW, *RIGHT_BROW, *LEFT_BROW, *NOSE_BRIDGE, *NOSE_BASE),
    *(*RIGHT_EYE, *LEFT_EYE, *OUTER_LIPS, *INNER_LIPS),
)
"MediaPipe's index of each of the 68 points."

MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)
"Which of the 68 is at the same place on the other side of the face."


def contours_68(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 478, D) landmarks to the (..., 68, D) contour points, in the same coordinates."""
    if landmarks.ndim < 2 or landmarks.shape[-2] != POINTS:
        raise ValueError(f"landmarks: expected (..., {POINTS}, D), got {landmarks.shape}")
    return np.ascontiguousarray(landmarks[..., CONTOURS_68, :])


def mirrored_contours(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 68, 2) the contour points of the mirror image, x 0 on the mirror's axis."""
    return np.ascontiguousarray(points[..., MIRRORED, :] * np.array((-1.0, 1.0), np.float32))
