"""Errors by region of the face: a box around the mouth, one around eyes and brows, and all the rest of the frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import LEFT_BROW, LEFT_EYE, LIPS, RIGHT_BROW, RIGHT_EYE
from engine.motion import to_pixels
from engine.quality.image import Picture, check_pictures

Array = NDArray[np.float32]
Box = tuple[slice, slice]
"Rows and columns."

MOUTH = LIPS
EYES = (*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW)
BOX_MARGIN = 0.15
"Of a box, in its longer sides."
BOX_AT_LEAST_PX = 4


@dataclass(frozen=True)
class FaceRegions:
    """Where mouth and eyes are in one true frame."""

    mouth: Box
    eyes: Box

    @classmethod
    def of(cls, landmarks: Array, size: int) -> FaceRegions:
        """landmarks: (478, 2 or 3) frame coordinates of the true frame. size: side of the square frame in pixels."""
        return cls(_box(landmarks[list(MOUTH)], size), _box(landmarks[list(EYES)], size))

    def l1(self, rendered: Picture, truth: Picture) -> dict[str, float]:
        """`mouth`, `eyes` and `rest`: mean absolute difference, 0 to 1."""
        check_pictures(rendered, truth)
        difference = np.abs(rendered.astype(np.int16) - truth.astype(np.int16))
        return {name: value / 255 for name, value in self.means(difference).items()}

    def means(self, values: NDArray[np.generic]) -> dict[str, float]:
        """Means over `mouth`, `eyes` and `rest` of a map (H, W, ...), such as the one of `ssim_with_map`."""
        outside = np.ones(values.shape[:2], np.bool_)
        outside[self.mouth] = outside[self.eyes] = False
        parts = {"mouth": values[self.mouth], "eyes": values[self.eyes], "rest": values[outside]}
        return {name: float(part.mean()) if part.size else float("nan") for name, part in parts.items()}


def _box(points: Array, size: int) -> Box:
    pixels = to_pixels(points[:, :2], size, size)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margin = BOX_MARGIN * float((high - low).max())
    left, top = np.clip(low - margin, 0, size - BOX_AT_LEAST_PX).astype(int)
    right, bottom = np.clip(high + margin, (left + BOX_AT_LEAST_PX, top + BOX_AT_LEAST_PX), size).astype(int)
    return slice(top, bottom), slice(left, right)
