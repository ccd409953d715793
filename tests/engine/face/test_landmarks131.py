"""The 131 points, their boxes and the choice of references."""

import numpy as np
import pytest

from engine.face.landmarks131 import (
    CONTENT,
    JAW,
    LANDMARKS_131,
    POSE,
    FaceBoxConfig,
    face_boxes,
    in_box,
    landmarks_131,
    lip_opening,
    spread_by_opening,
)
from engine.face.model import FaceModel
from engine.face.regions import FACE_OVAL, LEFT_EYE, LIPS, POINTS, RIGHT_EYE


def spread_points(low, high):
    """(478, 3) landmarks whose 131 points reach from low to high in x and y, frame coordinates."""
    points = np.zeros((POINTS, 3), np.float32)
    points[:, :2] = np.add(low, high) / 2
    points[LANDMARKS_131[0], :2], points[LANDMARKS_131[-1], :2] = low, high
    return points


def test_there_are_74_of_the_pose_and_57_of_the_content_none_twice():
    assert (len(POSE), len(CONTENT), len(set(LANDMARKS_131))) == (74, 57, 131)
    assert {*LIPS} == {*CONTENT[len(JAW) :]}
    assert {*RIGHT_EYE, *LEFT_EYE} <= {*POSE}
    assert {*JAW} <= {*FACE_OVAL}


def test_right_points_are_at_the_left_of_the_picture():
    points = landmarks_131(FaceModel.load().mean)
    assert points.shape == (131, 2)
    assert (points[0:4, 0] < 0).all()
    assert (points[4:8, 0] > 0).all()
    jaw = points[len(POSE) :][: len(JAW)]
    assert (np.diff(jaw[:, 0]) > 0).all()
    assert jaw[:, 1].argmax() == 8  # the chin


def test_box_has_a_margin_and_whole_pixels_and_ends_at_the_picture():
    landmarks = spread_points((-0.25, -0.1), (0.25, 0.4))  # 50 to 150 and 80 to 180 pixels of 200
    assert face_boxes(landmarks, 200, 200, FaceBoxConfig(0.1)).tolist() == [40, 70, 160, 190]
    assert face_boxes(landmarks, 200, 200, FaceBoxConfig(0.5)).tolist() == [0, 30, 200, 200]
    assert face_boxes(np.stack([landmarks] * 2), 200, 200).shape == (2, 4)
    outside = face_boxes(landmarks + np.float32((3, 3, 0)), 200, 200)
    assert outside.tolist() == [199, 199, 200, 200]


def test_points_are_0_and_1_at_the_edges_of_their_box():
    landmarks = spread_points((-0.25, -0.1), (0.25, 0.4))
    points = in_box(landmarks, np.array((50, 70, 150, 190), np.int32), 200, 200)
    np.testing.assert_allclose(points[0], (0.0, 10 / 120), atol=1e-5)
    np.testing.assert_allclose(points[-1], (1.0, 110 / 120), atol=1e-5)


def test_references_are_spread_over_the_openings():
    openings = np.array((0.3, 0.0, 0.1, 0.9, 0.2))
    assert spread_by_opening(openings, 3) == [1, 4, 3]
    assert spread_by_opening(openings, 25) == [1, 2, 4, 0, 3]
    assert spread_by_opening(openings, 1) == [1]
    with pytest.raises(ValueError, match="at least one frame"):
        spread_by_opening(np.zeros(0), 3)


def test_opening_is_the_distance_of_the_lips():
    landmarks = np.zeros((2, POINTS, 3), np.float32)
    landmarks[1, 17] = (0.03, 0.04, 5.0)
    np.testing.assert_allclose(lip_opening(landmarks), (0.0, 0.05), atol=1e-7)


def test_wrong_shapes_and_margins_are_named():
    with pytest.raises(ValueError, match=r"\(..., 478, 2 or 3\), got \(68, 3\)"):
        landmarks_131(np.zeros((68, 3), np.float32))
    with pytest.raises(ValueError, match="margin: expected 0 to 1"):
        FaceBoxConfig(-0.1)
