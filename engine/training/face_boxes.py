"""Boxes around mouth and eyes, whose pixels count more than others: those by which the pictures are judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.quality.regions import FaceRegions

REST, EYES, MOUTH = 0, 1, 2
"Values of `box_map`."


def box_map(landmarks: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """(size, size) which of the boxes each pixel is in, where they overlap the mouth's. landmarks: (478, 3)."""
    regions = FaceRegions.of(landmarks, size)
    boxes = np.full((size, size), REST, np.uint8)
    boxes[regions.eyes] = EYES
    boxes[regions.mouth] = MOUTH
    return boxes
