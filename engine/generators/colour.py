"""Colours of a picture's own that what has to be made up is derived from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]

CHEEKS_AND_NOSE = (50, 280, 101, 330, 168, 6, 197)


def skin_colour(frame: Picture, landmarks: Array) -> Array:
    """(3,) median colour of the cheeks and the bridge of the nose. frame: (S, S, 3). landmarks: (478, 3) in pixels."""
    return colour_at(frame, landmarks[list(CHEEKS_AND_NOSE), :2])


def colour_at(frame: Picture, points_px: Array) -> Array:
    """(3,) median colour of the pixels at some points (N, 2), those outside taken at the border."""
    places = np.clip(points_px.astype(int), 0, np.array(frame.shape[1::-1]) - 1)
    median: Array = np.median(frame[places[:, 1], places[:, 0]], axis=0).astype(np.float32)
    return median


def as_bytes(values: NDArray[np.floating]) -> Picture:
    """The nearest colours from 0 to 255."""
    nearest: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return nearest
