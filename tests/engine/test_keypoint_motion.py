"""Transfer of keypoints, by hand and against the definitions."""

import numpy as np
import pytest

from engine.keypoint_motion import (
    KeypointTransfer,
    TransferConfig,
    closest_frame,
    frame_change,
    hull_area,
    inverse,
    movement_scale,
    relative_jacobians,
)
from engine.motion import Keypoints

SQUARE = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)))


def keypoints(seed, count=10):
    random = np.random.default_rng(seed)
    return Keypoints(random.uniform(-0.8, 0.8, (count, 2)), np.eye(2) + random.normal(0, 0.2, (count, 2, 2)))


def test_absolute_transfer_takes_the_driver_as_he_is():
    source, driving = keypoints(0), keypoints(1)
    points, matrices = KeypointTransfer(source, TransferConfig("absolute")).transfer(driving)
    np.testing.assert_array_equal(points, driving.points)
    np.testing.assert_allclose(matrices, source.jacobians @ np.linalg.inv(driving.jacobians), atol=1e-5)


def test_first_frame_of_a_relative_transfer_leaves_the_source_as_it_is():
    source, driving = keypoints(0), keypoints(1)
    points, matrices = KeypointTransfer(source).transfer(driving)
    np.testing.assert_allclose(points, source.points, atol=1e-7)
    np.testing.assert_allclose(matrices, np.broadcast_to(np.eye(2), (10, 2, 2)), atol=1e-5)


def test_relative_transfer_follows_what_changed_since_the_first_frame():
    source, initial, driving = keypoints(0), keypoints(1), keypoints(2)
    transfer = KeypointTransfer(source, TransferConfig(adapt_scale=False))
    transfer.transfer(initial)
    points, matrices = transfer.transfer(driving)
    np.testing.assert_allclose(points, source.points + driving.points - initial.points, atol=1e-6)
    moved = relative_jacobians(source.jacobians, initial.jacobians, driving.jacobians)
    np.testing.assert_allclose(matrices, source.jacobians @ np.linalg.inv(moved), atol=1e-4)
    given = KeypointTransfer(source, TransferConfig(adapt_scale=False), initial).transfer(driving)
    np.testing.assert_array_equal(given.points, points)


def test_jacobians_may_stay_the_drivers():
    source, initial, driving = keypoints(0), keypoints(1), keypoints(2)
    transfer = KeypointTransfer(source, TransferConfig(relative_jacobians=False), initial)
    np.testing.assert_allclose(
        transfer.transfer(driving).matrices, source.jacobians @ np.linalg.inv(driving.jacobians), atol=1e-5
    )


def test_movements_grow_with_the_face():
    frames = np.broadcast_to(np.eye(2), (4, 2, 2))
    source, initial = Keypoints(0.6 * SQUARE, frames), Keypoints(0.3 * SQUARE, frames)
    driving = Keypoints(0.3 * SQUARE + (0.1, 0.0), frames)
    moved = KeypointTransfer(source, TransferConfig(), initial).transfer(driving).points
    np.testing.assert_allclose(moved, 0.6 * SQUARE + (0.2, 0.0), atol=1e-6)
    assert movement_scale(0.6 * SQUARE, 0.3 * SQUARE) == pytest.approx(2.0)
    assert movement_scale(SQUARE, SQUARE[:2]) == 1.0


def test_hull_area_is_that_of_what_is_outermost():
    inner = np.random.default_rng(0).uniform(-0.49, 0.49, (50, 2))
    assert hull_area(np.concatenate((inner, SQUARE, SQUARE))) == pytest.approx(1.0)
    assert hull_area(SQUARE[:3]) == pytest.approx(0.5)
    assert hull_area(np.linspace((0, 0), (1, 1), 7)) == pytest.approx(0.0)
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    assert hull_area(np.stack((np.cos(turn), np.sin(turn)), axis=1)) == pytest.approx(np.pi, rel=1e-3)


def test_inverse_is_exact_and_bounded():
    matrices = np.random.default_rng(0).normal(size=(50, 2, 2))
    np.testing.assert_allclose(inverse(matrices) @ matrices, np.broadcast_to(np.eye(2), (50, 2, 2)), atol=1e-9)
    flat = np.array(((1.0, 2.0), (2.0, 4.0)))
    assert np.abs(inverse(flat)).max() == pytest.approx(4.0e4)
    # Turned over, and flatter than the bound: the sign of the determinant stays.
    assert np.linalg.det(inverse(np.diag((1.0, -1e-6)))) < 0
    assert frame_change(matrices[0], matrices[0]) == pytest.approx(np.eye(2))


def test_closest_frame_looks_at_the_shape_not_at_place_and_size():
    random = np.random.default_rng(0)
    source = random.uniform(0, 256, (68, 2))
    driving = np.stack([source + random.normal(0, noise, source.shape) for noise in (30, 8, 20)])
    driving[1] = 3.0 * driving[1] + 500.0
    lost = np.full_like(driving[:1], np.nan)
    assert closest_frame(source, np.concatenate((lost, driving))) == 2
    with pytest.raises(ValueError, match="driving: no frame with a face"):
        closest_frame(source, lost)
    with pytest.raises(ValueError, match="source: no face"):
        closest_frame(lost[0], driving)


def test_what_is_no_keypoints_is_refused():
    eye = np.broadcast_to(np.eye(2), (4, 2, 2))
    with pytest.raises(ValueError, match="points: expected K x 2 numbers"):
        Keypoints(np.zeros((4, 3)), eye)
    with pytest.raises(ValueError, match="jacobians: expected 4 x 2 x 2"):
        Keypoints(SQUARE, eye[:3])
    with pytest.raises(ValueError, match="jacobians: holds values that are not finite"):
        Keypoints(SQUARE, np.full_like(eye, np.inf))
    with pytest.raises(ValueError, match="65 keypoints"):
        Keypoints(np.zeros((65, 2)), np.zeros((65, 2, 2)))
    with pytest.raises(ValueError, match="driving: 4 keypoints, the source has 10"):
        KeypointTransfer(keypoints(0)).transfer(keypoints(1, 4))
    with pytest.raises(ValueError, match="read-only"):
        keypoints(0).points[0] = 0.0
