"""Windows around mouth and eyes."""

import cv2
import numpy as np
import pytest

from engine.generators.face_windows import WINDOWS, cut, opacity, paste, to_frame, window_side
from engine.motion import to_pixels

SIZE = 256


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [256, 512])
def test_a_change_of_a_window_changes_the_frame_there(head, window, size):
    frame = cv2.resize(head.frame, (size, size), interpolation=cv2.INTER_AREA)
    place = to_frame(window, to_pixels(head.landmarks, size, size), size)
    before = cut(frame, window, place)
    assert before.shape == (window_side(window, size), window_side(window, size), 3)
    again = frame.copy()
    paste(again, frame, before, cv2.subtract(before, (20, 20, 20, 0)), place)
    darker = frame.astype(int) - again
    assert 0.01 < (darker > 0).any(axis=2).mean() < 0.25
    middle = place @ np.array((before.shape[0] / 2, before.shape[0] / 2, 1))
    x, y = np.clip(np.rint(middle), 0, size - 1).astype(int)
    assert (darker[y - 2 : y + 3, x - 2 : x + 3] == np.minimum(frame[y - 2 : y + 3, x - 2 : x + 3], 20)).mean() > 0.9


def test_what_does_not_change_stays_as_sharp_as_it_was_drawn():
    """Of noise, which no resampling would leave as it is."""
    drawn = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    place = np.array(((0.8, 0.0, 60.3), (0.0, 0.8, 90.7)))
    before = cut(drawn, "mouth", place)
    frame = np.zeros_like(drawn)
    paste(frame, drawn, before, before, place)
    np.testing.assert_array_equal(frame[115:145, 85:115], drawn[115:145, 85:115])
    assert not frame[:90].any()


def test_the_mouth_is_in_the_middle_of_its_window(head):
    place = to_frame("mouth", head.points, SIZE)
    lips = (head.points[13] + head.points[14])[:2] / 2 - 0.5
    where = cv2.invertAffineTransform(place) @ np.append(lips, 1)
    assert np.abs(where - 47.5).max() < 6


def test_the_eyes_windows_look_alike(head):
    """The drawn head is symmetrical, and the left eye is shown mirrored."""
    right, left = (cut(head.frame, w, to_frame(w, head.points, SIZE)) for w in ("right_eye", "left_eye"))
    assert np.abs(right.astype(int) - left).mean() < 6
    assert np.abs(right.astype(int) - left[:, ::-1]).mean() > 6


def test_a_window_that_is_partly_or_wholly_outside_harms_nothing(head):
    for shift in (-120, 130, 600):
        place = to_frame("mouth", head.points + np.float32(shift), SIZE)
        frame = head.frame.copy()
        content = cut(frame, "mouth", place)
        paste(frame, head.frame, content, content, place)
        assert np.abs(frame.astype(int) - head.frame).mean() < 1


def test_a_face_of_no_size_is_no_error(head):
    place = to_frame("mouth", np.zeros_like(head.points), SIZE)
    frame = head.frame.copy()
    content = cut(frame, "mouth", place)
    paste(frame, head.frame, content, content, place)


def test_the_border_of_a_window_is_not_seen():
    visible = opacity(64)
    assert visible.max() == 1
    assert max(visible[0].max(), visible[-1].max(), visible[:, 0].max(), visible[:, -1].max()) < 0.05
    assert (visible == visible[::-1]).all()
    assert (visible == visible.T).all()
