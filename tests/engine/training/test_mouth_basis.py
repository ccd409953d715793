"""Directions of the mouth move the mouth; the lids' closes the eyes."""

from __future__ import annotations

import numpy as np
import pytest

from engine.face.model import FaceModel
from engine.face.regions import LEFT_BROW, LIPS, RIGHT_BROW
from engine.training.mouth_basis import closing_lids, mouth_basis, mouth_coefficients, mouth_opening


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


def faces(model: FaceModel, count: int = 400) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(count, 24)) * model.expression_deviation).astype(np.float32)


def reach(model: FaceModel, expression: np.ndarray, points) -> float:
    moved = np.tensordot(expression, model.expression, 1)[list(points), :2]
    return float(np.sqrt((moved**2).sum(1).mean()))


def test_a_basis_moves_lips_and_hardly_brows(model):
    basis = mouth_basis(model, faces(model), 6)
    assert basis.shape == (6, 24)
    lips = [reach(model, direction, LIPS) for direction in basis]
    assert (np.diff(lips) < 0.005).all()  # most important first
    for direction, lip in zip(basis[:3], lips[:3], strict=True):
        assert reach(model, direction, (*RIGHT_BROW, *LEFT_BROW)) < 0.6 * lip


def test_coefficients_of_what_the_basis_makes_are_its_own(model):
    basis = mouth_basis(model, faces(model), 5)
    coefficients = np.random.default_rng(1).normal(size=(10, 5)).astype(np.float32)
    np.testing.assert_allclose(mouth_coefficients(model, basis, coefficients @ basis), coefficients, atol=1e-3)


def test_most_of_a_mouths_movement_is_within_ten_directions(model):
    seen = faces(model)
    basis = mouth_basis(model, seen, 10)
    made = mouth_coefficients(model, basis, seen) @ basis
    left = [reach(model, one - two, LIPS) for one, two in zip(seen, made, strict=True)]
    assert np.mean(left) < 0.35 * np.mean([reach(model, one, LIPS) for one in seen])


def test_closed_lids_meet_and_the_mouth_stays(model):
    lids = closing_lids(model, faces(model))
    closed = model.mean + np.tensordot(lids, model.expression, 1)
    for upper, lower in ((159, 145), (386, 374)):
        before = model.mean[lower, 1] - model.mean[upper, 1]
        assert abs(closed[lower, 1] - closed[upper, 1]) < 0.35 * before
    assert abs(float(lids @ mouth_opening(model))) < 0.02
