"""Distances between landmarks that a detector finds in two pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    LIPS,
    MESH_POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
)

Array = NDArray[np.float32]

CONTOURS = (*FACE_OVAL, *RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE, *LEFT_EYE, *LIPS)
"The drawn lines of a face, as in the usual 68 points, but for the nose."


def average_keypoint_distance(rendered: Array, truth: Array) -> float:
    """AKD: mean distance in the picture of the surface landmarks, as a share of the true one of the outer eye corners.

    rendered, truth: (478, 2 or 3) landmarks in the same unit; irises and depth do not count. First Order Motion Model
    (2019) states it in pixels of a 256x256 frame instead, for 68 points of another detector.
    """
    _check(rendered, truth)
    distance = np.linalg.norm(rendered[:MESH_POINTS, :2] - truth[:MESH_POINTS, :2], axis=1).mean()
    eyes = np.linalg.norm(truth[RIGHT_EYE_OUTER, :2] - truth[LEFT_EYE_OUTER, :2])
    return float(distance / eyes)


def normalised_mean_keypoint_error(rendered: Array, truth: Array) -> float:
    """NMKE: mean distance of the landmarks on the contours, as a share of the true face box's geometric mean side.

    rendered, truth: as for `average_keypoint_distance`. The box is that of the true contour landmarks, the
    normalisation that of Bulat & Tzimiropoulos (2017). Papers that report NMKE use 68 points of another detector.
    """
    _check(rendered, truth)
    points = list(CONTOURS)
    distance = np.linalg.norm(rendered[points, :2] - truth[points, :2], axis=1).mean()
    width, height = np.ptp(truth[points, :2], axis=0)
    return float(distance / np.sqrt(width * height))


def _check(rendered: Array, truth: Array) -> None:
    if rendered.shape != truth.shape or truth.ndim != 2 or len(truth) < MESH_POINTS:
        raise ValueError(f"expected (478, 2 or 3) landmarks twice, got {rendered.shape} and {truth.shape}")
