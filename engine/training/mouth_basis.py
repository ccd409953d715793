"""What of an expression is the mouth's: directions of the face model that move lips and jaw and leave eyes alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.model import FaceModel
from engine.face.regions import LEFT_BROW, LEFT_EYE, LIPS, MOUTH_BOTTOM, MOUTH_TOP, RIGHT_BROW, RIGHT_EYE
from engine.motion import Array

Doubles = NDArray[np.float64]

JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
"The lower half of the face's outline."
MOUTH = (*LIPS, *JAW)
_WEIGHTS = np.array([1.0] * len(LIPS) + [0.3] * len(JAW))
"The outline is found less well than the lips, and seen less."
_EYES = (*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW)
_REGULARITY = 1e-5


def mouth_metric(model: FaceModel) -> Doubles:
    """(E, E): e M e is the mean square distance that an expression moves the mouth's points, head units."""
    moved = model.expression[:, MOUTH, :2].astype(np.float64) * np.sqrt(_WEIGHTS / _WEIGHTS.sum())[:, None]
    rows = moved.reshape(model.expression_size, -1)
    metric = rows @ rows.T
    return np.asarray(metric + _REGULARITY * np.trace(metric) / len(metric) * np.eye(len(metric)), np.float64)


def mouth_part(model: FaceModel) -> Doubles:
    """(E, E): F e is the expression that moves the mouth as e does, as far as it can without moving eyes and brows."""
    rows = model.expression[:, _EYES, :2].astype(np.float64).reshape(model.expression_size, -1) / np.sqrt(len(_EYES))
    metric = mouth_metric(model)
    return np.asarray(np.linalg.solve(metric + rows @ rows.T, metric), np.float64)


def mouth_basis(model: FaceModel, expressions: Array, count: int) -> Array:
    """(K, E) principal directions of how mouths move, each as long as one deviation; most important first.

    expressions: (N, E) of people who talk, each person's about his mean.
    """
    metric = mouth_metric(model)
    root = np.linalg.cholesky(metric)
    _, singular, rows = np.linalg.svd(expressions.astype(np.float64) @ mouth_part(model).T @ root, full_matrices=False)
    deviations = singular[:count, None] / np.sqrt(len(expressions))
    return np.asarray(np.linalg.solve(root.T, rows[:count].T).T * deviations, np.float32)


def mouth_coefficients(model: FaceModel, basis: Array, expressions: Array) -> Array:
    """(N, K) what of the basis moves the mouth most nearly as the (N, E) expressions do."""
    directions = basis.astype(np.float64)
    weighted = directions @ mouth_metric(model)
    return np.linalg.solve(weighted @ directions.T, weighted @ expressions.T.astype(np.float64)).T.astype(np.float32)


def mouth_opening(model: FaceModel) -> Array:
    """(E,): e times it is how far an expression parts the middle of the lips, head units."""
    return np.asarray(model.expression[:, MOUTH_BOTTOM, 1] - model.expression[:, MOUTH_TOP, 1], np.float32)


def closing_lids(model: FaceModel, expressions: Array) -> Array:
    """(E,) the expression that closes the mean face's eyes and leaves its mouth alone, as people's lids usually go.

    expressions: (N, E) each person's about his median. Of normal expressions with their covariance the most probable
    one whose lids meet.
    """
    gaps = _lid_gap(model.expression)
    covariance = np.cov(expressions.astype(np.float64), rowvar=False)
    alone = np.eye(len(gaps)) - mouth_part(model)
    moved = alone @ covariance @ gaps
    return np.asarray(moved / (gaps @ moved) * -_lid_gap(model.mean), np.float32)


def _lid_gap(points: Array) -> Doubles:
    """(...) mean opening of both eyes of (..., 478, 3) faces, at the middle of the lids."""
    upper, lower = points[..., [159, 386], 1], points[..., [145, 374], 1]
    return np.asarray((lower - upper).mean(-1), np.float64)
