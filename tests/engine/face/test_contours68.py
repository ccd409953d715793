import numpy as np
import pytest

from engine.face.contours68 import (
    CONTOURS_68,
    INNER_LIPS,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    MIRRORED,
    NOSE_BASE,
    NOSE_BRIDGE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    contours_68,
    mirrored_contours,
)
from engine.face.model import FaceModel


@pytest.fixture(scope="module")
def points():
    """(68, 2) of the mean face, seen from the front."""
    return contours_68(FaceModel.load().mean)[:, :2]


def test_68_different_points_in_the_order_of_the_layout():
    assert len(CONTOURS_68) == len(set(CONTOURS_68)) == 68
    starts = {0: JAW, 17: RIGHT_BROW, 22: LEFT_BROW, 27: NOSE_BRIDGE, 31: NOSE_BASE, 36: RIGHT_EYE, 42: LEFT_EYE}
    for start, part in {**starts, 48: OUTER_LIPS, 60: INNER_LIPS}.items():
        assert CONTOURS_68[start : start + len(part)] == part


def test_layout_is_symmetric(points):
    assert sorted(MIRRORED) == list(range(68))
    np.testing.assert_allclose(mirrored_contours(points), points, atol=0.02)  # eye distance = 1
    np.testing.assert_array_equal(mirrored_contours(mirrored_contours(points)), points)


def test_jaw_runs_evenly_from_the_pictures_left_around_the_chin(points):
    jaw = points[:17]
    assert (np.diff(jaw[:, 0]) > -0.01).all()
    assert jaw[:, 1].argmax() == 8
    steps = np.linalg.norm(np.diff(jaw, axis=0), axis=1)
    assert steps.max() < 2 * steps.mean()


def test_other_parts_are_where_they_belong(points):
    brows, bridge, base, eyes, lips = points[17:27], points[27:31], points[31:36], points[36:48], points[48:]
    assert brows[:, 1].max() < eyes[:, 1].min()
    assert (np.diff(brows[:, 0]) > 0).all()
    assert (np.diff(bridge[:, 1]) > 0).all()
    assert bridge[-1, 1] < base[:, 1].min() < base[:, 1].max() < lips[:, 1].min()
    for eye in (eyes[:6], eyes[6:]):
        assert eye[0, 0] < eye[1, 0] < eye[2, 0] < eye[3, 0]
        assert eye[1:3, 1].max() < eye[4:, 1].min()
    assert lips[[3, 9], 0] == pytest.approx(0, abs=0.01)
    assert lips[3, 1] < lips[14, 1] <= lips[18, 1] + 1e-3 < lips[9, 1]


def test_batches_keep_their_coordinates_and_others_are_refused():
    landmarks = np.random.default_rng(0).random((2, 478, 3), np.float32)
    assert np.array_equal(contours_68(landmarks), landmarks[:, list(CONTOURS_68)])
    with pytest.raises(ValueError, match="expected"):
        contours_68(np.zeros((468, 3), np.float32))
