"""Changes of a training sample that leave it true: mirrored, and in other light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.contours68 import mirrored_contours

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Change:
    """One augmentation, the same for everything that belongs together."""

    mirror: bool
    table: Frame | None
    "(256, 3) new values of each colour."

    @staticmethod
    def none() -> Change:
        return Change(False, None)

    @staticmethod
    def drawn(rng: np.random.Generator, flip: float, gain: float) -> Change:
        """flip: share of mirrored samples. gain: largest relative change of brightness; of one colour against another
        a third of it. Gamma changes as much."""
        gains = (1.0 + rng.uniform(-gain, gain)) * (1.0 + rng.uniform(-gain / 3, gain / 3, 3))
        gamma = np.exp(rng.uniform(-gain, gain))
        values = np.linspace(0.0, 1.0, 256)[:, None] ** gamma * gains
        return Change(bool(rng.random() < flip), np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8))

    def mirrored(self, image: NDArray[Any]) -> NDArray[Any]:
        """(H, W, ...) with its columns the other way round, if this mirrors."""
        return image[:, ::-1] if self.mirror else image

    def picture(self, picture: Frame) -> Frame:
        """(H, W, C), of which the first three channels are colours and change as such."""
        if self.table is not None:
            colours = cv2.LUT(np.ascontiguousarray(picture[..., :3]), self.table[None])
            picture = np.concatenate((colours, picture[..., 3:]), axis=2)
        return np.asarray(self.mirrored(picture), np.uint8)

    def places(self, places: Array) -> Array:
        """(H, W, 2) x then y in [-1, 1], of places in a picture that is changed too."""
        if not self.mirror:
            return places
        return (self.mirrored(places) * np.array((-1.0, 1.0), np.float32)).astype(np.float32)

    def contours(self, points: Array) -> Array:
        """(68, 2) contour points, x 0 in the middle of the picture."""
        return mirrored_contours(points) if self.mirror else points
