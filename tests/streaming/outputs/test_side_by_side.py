from __future__ import annotations

import numpy as np
import pytest

from streaming.outputs import side_by_side


def test_each_panel_shows_its_frame_at_the_height_asked_for():
    red, green = np.full((256, 256, 3), (200, 0, 0), np.uint8), np.full((480, 640, 3), (0, 200, 0), np.uint8)
    picture = side_by_side([("driving", red), ("rendered", green)], height=240)
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    reds, greens = (picture == (200, 0, 0)).all(-1), (picture == (0, 200, 0)).all(-1)
    assert reds.sum() == 240 * 240
    assert greens.sum() == 240 * 320
    assert np.nonzero(reds)[1].max() < np.nonzero(greens)[1].min()


def test_a_label_stands_under_its_panel_and_fits():
    frame = np.zeros((200, 100, 3), np.uint8)
    for label in ("driving", "a label that is much too long for a panel so narrow"):
        picture = side_by_side([(label, frame)], height=200)
        bright = picture.max(-1) > 120
        rows, columns = np.nonzero(bright)
        assert bright.any()
        assert rows.min() > 200
        assert columns.min() >= 6
        assert columns.max() < picture.shape[1] - 6


def test_frames_are_left_as_they_were():
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    before = frame.copy()
    picture = side_by_side([("a", frame), ("b", frame)], height=64)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(picture[2:66, 2:66], frame)


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([])
    with pytest.raises(ValueError, match="uint8"):
        side_by_side([("a", np.zeros((4, 4), np.uint8))])
