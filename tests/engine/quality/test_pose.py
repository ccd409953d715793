"""Head angles and expressions."""

from dataclasses import replace

import numpy as np
import pytest

from engine.face.fit import fit_person, fit_state
from engine.face.model import FaceModel
from engine.motion import FaceState, from_pixels, rotation_vector
from engine.quality import expression_distance, head_pose_rmse
from engine.quality.pose import head_angles, turn_between


def state(rotation: np.ndarray | tuple[float, ...], expression: tuple[float, ...] = (0.0, 0.0)) -> FaceState:
    return FaceState(np.array(rotation), np.zeros(2), 0.3, np.array(expression), np.zeros(2))


def about(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[j, i], matrix[i, j] = s, -s
    return matrix


def test_angles_of_a_combined_turn_are_told_apart():
    turned = state(rotation_vector(about(1, -30.0) @ about(0, 12.0) @ about(2, 7.0)))
    np.testing.assert_allclose(head_angles(turned), (12.0, 30.0, -7.0), atol=1e-3)
    nose = about(1, -30.0) @ np.array((0.0, 0.0, -1.0))
    assert nose[0] > 0  # to the picture's right


def test_rmse_of_known_errors():
    straight = state((0.0, 0.0, 0.0))
    yawed = state(rotation_vector(about(1, -3.0)))
    assert head_pose_rmse([(yawed, straight)]) == pytest.approx(3.0 / np.sqrt(3.0), rel=1e-3)
    assert head_pose_rmse([(yawed, straight), (straight, straight)]) == pytest.approx(3.0 / np.sqrt(6.0), rel=1e-3)
    assert np.isnan(head_pose_rmse([]))


def test_angles_near_half_a_turn_do_not_jump():
    one, other = (state(rotation_vector(about(2, degrees))) for degrees in (179.0, -179.0))
    assert head_pose_rmse([(one, other)]) == pytest.approx(2.0 / np.sqrt(3.0), rel=1e-2)


def test_turn_between_is_about_any_axis():
    assert turn_between(state(rotation_vector(about(0, 5.0))), state((0.0, 0.0, 0.0))) == pytest.approx(5.0, rel=1e-3)


def test_expression_distance_is_how_far_the_face_moves():
    model = FaceModel.load()
    rng = np.random.default_rng(0)
    one, other = (0.02 * rng.normal(size=model.expression_size) for _ in range(2))
    base = FaceState(np.zeros(3), np.zeros(2), 0.3, one, np.zeros(2))
    moved = np.tensordot(one - other, model.expression, 1)
    expected = np.sqrt((model.metric * moved**2).sum())
    assert expression_distance(base, replace(base, expression=other)) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="coefficients"):
        expression_distance(base, state((0.0, 0.0, 0.0)))


@pytest.mark.data
def test_angles_agree_with_another_fit_of_real_heads(data_pack):
    model = FaceModel.load()
    landmarks = data_pack.landmarks("p98_01")[::8]
    with np.load(data_pack.root / "landmarks" / "p98_01.npz") as archive:
        yaw, pitch, roll = archive["pose"][::8].astype(float).T
    points = [from_pixels(frame * 256, 256, 256) for frame in landmarks]
    person = fit_person(model, points)
    ours = np.array([head_angles(fit_state(model, person, frame)) for frame in points])
    for found, theirs, least in zip(ours.T, (pitch, yaw, roll), (0.8, 0.95, 0.95), strict=True):
        assert np.corrcoef(found, theirs)[0, 1] > least  # the same sign as well
