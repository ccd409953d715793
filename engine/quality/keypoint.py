"""Distances between landmarks that a detector finds in two pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import LEFT_EYE_OUTER, MESH_POINTS, RIGHT_EYE_OUTER

Array = NDArray[np.float32]


def average_keypoint_distance(rendered: Array, truth: Array) -> float:
    """AKD: mean distance in the picture of the surface landmarks, as a share of the true one of the outer eye corners.

    rendered, truth: (478, 2 or 3) landmarks in the same unit; irises and depth do not count.
    """
    if rendered.shape != truth.shape or truth.ndim != 2 or len(truth) < MESH_POINTS:
        raise ValueError(f"expected (478, 2 or 3) landmarks twice, got {rendered.shape} and {truth.shape}")
    distance = np.linalg.norm(rendered[:MESH_POINTS, :2] - truth[:MESH_POINTS, :2], axis=1).mean()
    eyes = np.linalg.norm(truth[RIGHT_EYE_OUTER, :2] - truth[LEFT_EYE_OUTER, :2])
    return float(distance / eyes)
