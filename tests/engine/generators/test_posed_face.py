"""Faces lifted into space, on a drawn head."""

import numpy as np
import pytest

from engine.face.contours68 import contours_68
from engine.generators.posed_face import head_turn, posed_landmarks, rendered_face, without_features
from engine.motion import to_pixels

SIZE = 256


def test_turn_of_a_head_is_its_rotation(model, at_pose):
    for rotation in ((0.0, 0.0, 0.0), (0.2, -0.4, 0.1)):
        landmarks = model.person().landmarks(at_pose(model, rotation=rotation))
        assert head_turn(landmarks) == pytest.approx(rotation, abs=0.06)


def test_in_its_own_pose_a_face_is_itself_on_black(head):
    posed = posed_landmarks(head.points, head.points)
    np.testing.assert_allclose(posed, head.points, atol=1e-3)
    shown = rendered_face(head.frame, head.points, posed)
    on_face = shown.any(axis=2)
    assert 0.1 < on_face.mean() < 0.5
    assert np.abs(shown[on_face].astype(int) - head.frame[on_face]).mean() < 2
    assert not shown[:20].any()


def test_takes_the_driving_pose_but_keeps_the_expression(head, model, at_pose, with_open_mouth):
    """The pixels of a landmark go where the rigid motion takes the landmark, whatever the driver's mouth does."""
    driving = head.person.landmarks(at_pose(model, rotation=(0.0, 0.4, 0.1), translation=(0.05, 0.03)))
    driving = to_pixels(with_open_mouth(driving.astype(np.float32), 0.05), SIZE, SIZE)
    posed = posed_landmarks(head.points, driving)
    mouth = [13, 14]
    assert np.ptp(driving[mouth, 1]) > 8
    assert np.ptp(posed[mouth, 1]) < 3
    still = head.frame.copy()
    x, y = np.rint(head.points[4, :2] - 0.5).astype(int)
    still[y - 3 : y + 4, x - 3 : x + 4] = (255, 0, 255)
    shown = rendered_face(still, head.points, posed)
    marked = np.argwhere((shown[..., 0] > 200) & (shown[..., 1] < 80) & (shown[..., 2] > 200)) + 0.5
    assert np.linalg.norm(marked.mean(axis=0)[::-1] - posed[4, :2]) < 2.5


def test_the_near_hides_the_far(head, model, at_pose):
    """Turned to its left, the head's left cheek disappears behind nose and right cheek."""
    turned = to_pixels(head.person.landmarks(at_pose(model, rotation=(0.0, -1.0, 0.0))), SIZE, SIZE)
    marked = head.frame.copy()
    left = head.points[head.points[:, 0] > np.median(head.points[:, 0])]
    marked[:, int(left[:, 0].min()) + 30 :] = (0, 255, 0)
    front = rendered_face(marked, head.points, head.points)
    turned_left = rendered_face(marked, head.points, posed_landmarks(head.points, turned))
    green = [((one == (0, 255, 0)).all(axis=2)).sum() for one in (front, turned_left)]
    assert green[0] > 0
    assert green[1] != green[0]


def test_eyes_and_mouth_are_blackened(head):
    contours = contours_68(head.points)
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    shown = without_features(white, contours)
    assert white.all()
    for points, room in ((range(36, 42), 2), (range(42, 48), 2), ((48, 50, 51, 54, 57), 5)):
        box = contours[list(points), :2]
        (left, top), (right, bottom) = box.min(axis=0) - room, box.max(axis=0) + room
        assert not shown[int(top) + 1 : int(bottom), int(left) + 1 : int(right)].any()
    assert (shown == 0).all(axis=2).mean() < 0.1
    outside = without_features(white, contours + 1000)
    assert outside.all()
