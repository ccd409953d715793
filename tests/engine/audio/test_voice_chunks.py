"""Voice around frames."""

import numpy as np
import pytest

from engine.audio.voice_chunks import LOOK_AHEAD_S, hann_smoothed, voice_chunks


def test_seven_chunks_of_which_the_fourth_begins_with_the_frame():
    wave = np.arange(16_000, dtype=np.float32)
    chunks = voice_chunks(wave, 16_000, np.array([0.4, 0.44]))
    assert chunks.shape == (2, 7, 640)
    assert chunks[0, 3, 0] == 6400
    np.testing.assert_array_equal(chunks[0].ravel(), np.arange(6400 - 1920, 6400 + 2560))
    np.testing.assert_array_equal(chunks[1, :6], chunks[0, 1:])
    assert chunks[0].max() < (0.4 + LOOK_AHEAD_S) * 16_000
    assert voice_chunks(wave, 50_000, np.array([0.1])).shape == (1, 7, 2000)


def test_beyond_the_ends_there_is_silence():
    wave = np.ones(1000, np.float32)
    chunks = voice_chunks(wave, 16_000, np.array([0.0, 9.0]))
    assert not chunks[0, :3].any()
    assert chunks[0, 3:].sum() == 1000
    assert not chunks[1].any()
    with pytest.raises(ValueError, match="one channel"):
        voice_chunks(np.ones((2, 9), np.float32), 16_000, np.array([0.0]))


def test_smoothing_keeps_what_is_constant_and_reaches_as_far_as_published():
    """A window of 11 frames reaches 4 on each side, for its ends are zero."""
    assert hann_smoothed(np.full((5, 2), 3.0, np.float32), 11) == pytest.approx(3.0)
    impulse = np.zeros((31, 1), np.float32)
    impulse[15] = 1.0
    smoothed = hann_smoothed(impulse, 11)[:, 0]
    assert np.flatnonzero(smoothed).tolist() == list(range(11, 20))
    assert smoothed.sum() == pytest.approx(1.0)
    assert smoothed.argmax() == 15
    with pytest.raises(ValueError, match="odd number"):
        hann_smoothed(impulse, 4)
