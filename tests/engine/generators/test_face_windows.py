"""Windows around mouth and eyes."""

import cv2
import numpy as np
import pytest

from engine.generators.face_windows import WINDOWS, cut, opacity, paste, to_frame, window_side
from engine.motion import to_pixels

SIZE = 256


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [256, 512])
def test_what_is_cut_out_and_pasted_again_is_what_was(head, window, size):
    frame = cv2.resize(head.frame, (size, size), interpolation=cv2.INTER_AREA)
    place = to_frame(window, to_pixels(head.landmarks, size, size), size)
    content = cut(frame, window, place)
    assert content.shape == (window_side(window, size), window_side(window, size), 3)
    again = frame.copy()
    paste(again, content, place)
    assert np.abs(again.astype(int) - frame).mean() < 1
    paste(again, np.full_like(content, 255), place)
    changed = (again != frame).any(axis=2)
    assert 0.01 < changed.mean() < 0.25


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
        paste(frame, content, place)
        assert np.abs(frame.astype(int) - head.frame).mean() < 1


def test_a_face_of_no_size_is_no_error(head):
    place = to_frame("mouth", np.zeros_like(head.points), SIZE)
    frame = head.frame.copy()
    paste(frame, cut(frame, "mouth", place), place)


def test_the_border_of_a_window_is_not_seen():
    visible = opacity(64)
    assert visible.max() == 1
    assert max(visible[0].max(), visible[-1].max(), visible[:, 0].max(), visible[:, -1].max()) < 0.05
    assert (visible == visible[::-1]).all()
    assert (visible == visible.T).all()
