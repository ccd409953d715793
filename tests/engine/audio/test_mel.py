from __future__ import annotations

import numpy as np
import pytest

from engine.audio.mel import Mel, MelConfig, MelStream, mel_spectrogram


def chirp(seconds: float = 1.0) -> np.ndarray:
    """A tone that rises from 100 Hz to 7 kHz and swells."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    return 0.5 * time / seconds * np.sin(2 * np.pi * (100 * time + 3450 * time**2 / seconds))


def streamed(samples: np.ndarray, sizes: list[int]) -> Mel:
    stream, pieces, at = MelStream(), [], 0
    while at < samples.size:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream.push(samples[at : at + size]))
        at += size
    return np.concatenate((*pieces, stream.finish()))


@pytest.mark.parametrize("sizes", [[1], [160], [200], [799, 1, 333], [5000], [0, 320]], ids=str)
def test_a_stream_gives_bit_for_bit_what_the_whole_signal_gives(sizes):
    samples = np.random.default_rng(0).normal(0, 0.1, 4321)
    whole = mel_spectrogram(samples)
    assert whole.shape == (1 + 4321 // 200, 80)
    np.testing.assert_array_equal(streamed(samples, sizes), whole)


def test_a_column_comes_as_soon_as_half_a_window_after_its_centre_was_heard():
    stream = MelStream()
    assert len(stream.push(np.zeros(399))) == 0
    assert len(stream.push(np.zeros(1))) == 1
    assert len(stream.push(np.zeros(199))) == 0
    assert len(stream.push(np.zeros(1))) == 1


def test_a_tone_is_loudest_in_the_band_of_its_pitch():
    time = np.arange(8000) / 16_000
    loudest = [int(mel_spectrogram(0.3 * np.sin(2 * np.pi * hz * time))[20].argmax()) for hz in (200, 1000, 4000)]
    # 80 bands from 55 Hz (mel 0.825) to 7600 Hz (mel 44.5): band k is centred at mel 0.825 + 0.5392 (k + 1).
    assert loudest == [3, 25, 63]


def test_the_values_are_those_of_librosa():
    # librosa 0.11: stft(pad_mode="constant"), filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600), float64.
    time = np.arange(4000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time) + 0.01 * np.sin(2 * np.pi * 5000 * time)
    published = [
        [-0.6987, 0.2309, -1.0671, -1.4691, -1.8696, -3.168, -0.4907, -2.1859],
        [-4.0, -4.0, 1.0558, -3.3572, -4.0, -4.0, -0.7438, -4.0],
        [-0.579, -0.5228, -0.3024, 0.3636, -0.4813, -2.0075, -0.4764, -2.0932],
    ]
    ours = mel_spectrogram(sound)[[0, 10, 20]][:, [0, 5, 12, 20, 33, 60, 68, 79]]
    np.testing.assert_allclose(ours, published, atol=1e-4)


def test_silence_is_the_lowest_value_and_full_scale_noise_is_within_the_limits():
    assert (mel_spectrogram(np.zeros(1600)) == -4).all()
    noise = mel_spectrogram(np.random.default_rng(0).uniform(-1, 1, 16_000))
    assert np.abs(noise).max() <= 4
    assert noise.mean() > 0


@pytest.mark.parametrize("count", [0, 1, 16, 199, 200])
def test_the_shortest_sounds_have_columns_too(count):
    assert mel_spectrogram(np.full(count, 0.1)).shape == (1 + count // 200, 80)


def test_what_is_not_a_signal_is_refused():
    with pytest.raises(ValueError, match="expected \\(N,\\) numbers from -1 to 1"):
        mel_spectrogram(np.zeros((2, 100)))
    with pytest.raises(ValueError, match="expected \\(N,\\) numbers from -1 to 1"):
        mel_spectrogram(np.zeros(100, np.int16))
    with pytest.raises(ValueError, match="not finite"):
        mel_spectrogram(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="even window"):
        MelConfig(window=801)
