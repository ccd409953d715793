"""The 131 points that drive IP-LAP (CVPR 2023): 74 of the pose, then 57 of the content, and the box that holds them.

The *pose* (cheeks, brows, nose, eyes) is given; the *content* (jaw and lips) is given too, or predicted from a voice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import POINTS
from engine.motion import to_pixels

Array = NDArray[np.float32]
Boxes = NDArray[np.int32]
"(..., 4) left, top, right, bottom in pixels; right and bottom are outside."

# "Right" and "left" are the person's own sides, as in `engine.face.regions`.
RIGHT_CHEEK = (162, 127, 234, 93)
LEFT_CHEEK = (323, 454, 356, 389)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (336, 296, 334, 293, 300, 276, 283, 282, 295, 285)
NOSE_BRIDGE = (168, 6, 197, 195, 5)
NOSE_WINGS = (48, 115, 220, 45, 4, 275, 440, 344, 278)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382)
JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)

POSE = (
    *(*RIGHT_CHEEK, *LEFT_CHEEK, *RIGHT_BROW, *LEFT_BROW),
    *(*NOSE_BRIDGE, *NOSE_WINGS, *RIGHT_EYE, *LEFT_EYE),
)
CONTENT = (*JAW, *OUTER_LIPS, *INNER_LIPS)
LANDMARKS_131 = (*POSE, *CONTENT)
"MediaPipe's index of each of the 131 points."

LIP_TOP, LIP_BOTTOM = 0, 17
"MediaPipe's middle of the outer lips, whose distance says how open a mouth is."


@dataclass(frozen=True)
class FaceBoxConfig:
    """How the box is laid around the points."""

    margin: float = 0.125
    "On each side, as a share of the points' own extent: the published 25 pixels at a face of 200."

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin: expected 0 to 1, got {self.margin}")


DEFAULT_BOX = FaceBoxConfig()


def landmarks_131(landmarks: NDArray[np.floating]) -> Array:
    """(..., 478, D) landmarks to the (..., 131, 2) points, in the same coordinates."""
    if landmarks.ndim < 2 or landmarks.shape[-2] != POINTS or landmarks.shape[-1] < 2:
        raise ValueError(f"landmarks: expected (..., {POINTS}, 2 or 3), got {landmarks.shape}")
    return np.ascontiguousarray(landmarks[..., LANDMARKS_131, :2], np.float32)


def face_boxes(landmarks: NDArray[np.floating], width: int, height: int, config: FaceBoxConfig = DEFAULT_BOX) -> Boxes:
    """(..., 4) the box around the points of (..., 478, 2 or 3) frame coordinates, in whole pixels.

    It is cut off at the picture's borders; a face outside leaves one pixel of it.
    """
    points = to_pixels(landmarks_131(landmarks), width, height)
    low, high = points.min(axis=-2), points.max(axis=-2)
    margin = config.margin * (high - low)
    limits = np.array((width, height), np.float32)
    first = np.clip(low - margin, 0.0, limits - 1.0).astype(np.int32)
    last = np.clip(high + margin, 0.0, limits).astype(np.int32)
    return np.concatenate((first, np.maximum(last, first + 1)), axis=-1)


def in_box(landmarks: NDArray[np.floating], boxes: Boxes, width: int, height: int) -> Array:
    """(..., 131, 2) the points of (..., 478, 2 or 3) frame coordinates, from 0 to 1 in their box (..., 4)."""
    points = to_pixels(landmarks_131(landmarks), width, height)
    first = boxes[..., None, :2].astype(np.float32)
    extent = (boxes[..., 2:] - boxes[..., :2])[..., None, :].astype(np.float32)
    return np.asarray((points - first) / extent, np.float32)


def lip_opening(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """(...) how far the outer lips are apart, of (..., 478, 2 or 3), in their unit."""
    apart = landmarks[..., LIP_BOTTOM, :2] - landmarks[..., LIP_TOP, :2]
    return np.asarray(np.linalg.norm(apart.astype(np.float64), axis=-1), np.float64)


def spread_by_opening(openings: NDArray[np.floating], count: int) -> list[int]:
    """Which of (T,) frames to take, at most `count`, so that closed mouths and open ones are among them.

    Sorted by their opening, they are taken at equal distances, first and last included. Raises ValueError for none.
    """
    if openings.ndim != 1 or not openings.size or count < 1:
        raise ValueError(f"expected openings of at least one frame and to choose at least one, got {openings.shape}")
    order = np.argsort(openings, kind="stable")
    places = np.linspace(0, len(order) - 1, count).astype(int)
    return [int(order[place]) for place in np.unique(places)]
