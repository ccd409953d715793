"""Square windows of a frame around mouth and eyes, upright and of one size whatever the size of the face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.regions import LEFT_BROW, LEFT_EYE, LEFT_EYE_OUTER, LIPS, RIGHT_BROW, RIGHT_EYE, RIGHT_EYE_OUTER
from engine.nets.portrait_dimensions import EYE_SIDE, MOUTH_SIDE

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

Window = Literal["mouth", "right_eye", "left_eye"]
EYE_WINDOWS: tuple[Window, ...] = ("right_eye", "left_eye")
WINDOWS: tuple[Window, ...] = ("mouth", *EYE_WINDOWS)

SIDES: dict[Window, int] = {"mouth": MOUTH_SIDE, "right_eye": EYE_SIDE, "left_eye": EYE_SIDE}


@dataclass(frozen=True)
class _Place:
    points: tuple[int, ...]
    "The middle of their bounding box is that of the window."
    extent: float
    "Side of the window / distance of the outer eye corners of a face that looks into the camera."


_PLACES: dict[Window, _Place] = {
    "mouth": _Place(LIPS, 1.1),
    "right_eye": _Place((*RIGHT_EYE, *RIGHT_BROW), 0.7),
    "left_eye": _Place((*LEFT_EYE, *LEFT_BROW), 0.7),
}


def to_frame(window: Window, landmarks_px: Array, size: int) -> Doubles:
    """(2, 3) the affine map from the window's pixels to the frame's, both with pixel centres at whole numbers.

    landmarks_px: (478, 3) of a frame of `size` pixels. The left eye's window is mirrored: it looks like a right eye.
    """
    place = _PLACES[window]
    points = landmarks_px[list(place.points), :2].astype(np.float64)
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    # In depth too: a turned head is no smaller.
    width = float(np.linalg.norm(landmarks_px[LEFT_EYE_OUTER] - landmarks_px[RIGHT_EYE_OUTER]))
    side = window_side(window, size)
    scale = max(place.extent * width, 4.0) / side
    across = -scale if window == "left_eye" else scale
    half = 0.5 * (side - 1)
    return np.array(((across, 0.0, middle[0] - 0.5 - across * half), (0.0, scale, middle[1] - 0.5 - scale * half)))


def window_side(window: Window, size: int) -> int:
    """Pixels of the window's side for frames of `size` pixels."""
    return SIDES[window] * size // 256


def cut(picture: Frame, window: Window, to_picture: Doubles) -> Frame:
    """The window of a picture (S, S, C)."""
    side = window_side(window, picture.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut_out = cv2.warpAffine(picture, to_picture, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut_out, np.uint8)


def paste(frame: Frame, drawn: Frame, before: Frame, after: Frame, to_picture: Doubles) -> None:
    """Put into the frame (S, S, 3), in place and fading towards the window's border, the picture `drawn` with what
    became of a window of it: `before` was cut from it, `after` is what it shall be, both (N, N, 3).

    Only the difference is resampled, so that what did not change is as sharp as it was drawn.
    """
    side, size = after.shape[0], frame.shape[0]
    corners = to_picture @ np.array(((0, side - 1), (0, side - 1), (1, 1)), np.float64)
    low = np.clip(np.floor(corners.min(axis=1)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=1)) + 1, 0, size).astype(int)
    if (high - low).min() < 1:
        return
    inverse = cv2.invertAffineTransform(to_picture)
    inverse[:, 2] += inverse[:, :2] @ low  # the part of the frame that it reaches
    target = (int(high[0] - low[0]), int(high[1] - low[1]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    change = cv2.subtract(after, before, dtype=cv2.CV_32F)
    moved = cv2.warpAffine(change, inverse, target, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(_opacity(side), inverse, target, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    reached = (slice(low[1], high[1]), slice(low[0], high[0]))
    part = frame[reached]
    difference = cv2.subtract(drawn[reached], part, dtype=cv2.CV_32F) + moved
    difference *= cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    part[:] = cv2.add(part, difference, dtype=cv2.CV_8U)  # rounded and clipped


def opacity(side: int) -> Array:
    """(N, N) how much of a window counts: 1 in the middle, 0 at the border."""
    distance = np.minimum(np.arange(side) + 0.5, side - 0.5 - np.arange(side)) / side
    rise = np.clip(distance / 0.1, 0.0, 1.0)
    rise = rise * rise * (3.0 - 2.0 * rise)
    return np.asarray(rise[:, None] * rise[None, :], np.float32)


_opacity = cache(opacity)
