import numpy as np
import pytest

from benchmarks.face_model import FRAME_SECONDS, average, blink_depths, calm_frames, delay, slope


def test_delay_of_a_shifted_signal_is_its_shift():
    times = np.arange(500) * FRAME_SECONDS
    raw = np.stack((np.sin(2 * times), np.cos(1.3 * times)), 1)
    late = np.stack((np.sin(2 * (times - 0.012)), np.cos(1.3 * (times - 0.012))), 1)
    assert delay(raw, late) == pytest.approx(12, abs=0.3)
    assert delay(raw, raw) == 0.0


def test_depth_of_blinks_is_told_and_long_closures_are_not_blinks():
    lids = np.full(200, 0.25)
    lids[50:54] = (0.1, 0.02, 0.02, 0.1)
    lids[100:140] = 0.05  # looks down
    half = 0.25 - 0.5 * (0.25 - lids)
    assert blink_depths(lids, lids) == [1.0]
    assert blink_depths(lids, half) == [pytest.approx(0.5)]


def test_slope_is_the_share_of_the_movement_that_is_kept():
    seen = np.linspace(0, 1, 50)
    assert slope(seen, 0.7 * seen + 3) == pytest.approx(0.7)


def test_calm_third_is_where_nothing_moves():
    values = np.zeros((300, 1))
    values[:200, 0] = np.sin(np.arange(200) / 5)
    calm = calm_frames(values)
    assert calm[210:290].all()
    assert calm[:195].mean() < 0.1


def test_clips_count_the_same():
    assert average([{"mesh": 1.0}, {"mesh": 2.0}]) == {"mesh": 1.5}
