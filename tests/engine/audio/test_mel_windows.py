"""Which columns of the voice a frame hears."""

import numpy as np

from engine.audio.mel_windows import (
    causal_sound_needed,
    causal_window,
    first_column,
    mel_window,
    mel_windows,
    silent_window,
    sound_needed,
)

MEL = np.arange(100, dtype=np.float32)[:, None] + np.array((0.0, 0.5), np.float32)
"Column k holds k and k + 0.5."


def test_windows_begin_where_the_published_ones_do():
    assert [first_column(frame) for frame in range(9)] == [0, 0, 0, 3, 6, 9, 12, 16, 19]
    assert sound_needed(7) == 32


def test_a_window_is_bands_by_16_columns():
    window = mel_window(MEL, 7)
    assert window.shape == (2, 16)
    np.testing.assert_array_equal(window[0], np.arange(16, 32))
    np.testing.assert_array_equal(window[1], np.arange(16, 32) + 0.5)
    np.testing.assert_array_equal(mel_windows(MEL, range(9))[7], window)


def test_causal_windows_end_at_the_frame():
    np.testing.assert_array_equal(causal_window(MEL, 10)[0], np.arange(17, 33))
    assert causal_sound_needed(10) == 33
    # Column 32 is centred at 400 ms, as is frame 10.
    assert 12.5 * 32 == 40 * 10
    early = causal_window(MEL, 2)[0]
    np.testing.assert_array_equal(early, [-4.0] * 9 + list(range(7)))


def test_where_there_is_no_sound_there_is_silence():
    np.testing.assert_array_equal(mel_window(MEL, 30)[0], [*range(89, 100), *[-4.0] * 5])
    np.testing.assert_array_equal(mel_window(MEL, 90), silent_window(2))
    np.testing.assert_array_equal(mel_window(MEL[:0], 0), silent_window(2))


def test_forgotten_columns_change_nothing():
    for cut in (mel_window, causal_window):
        np.testing.assert_array_equal(cut(MEL[20:], 15, 20), cut(MEL, 15))
