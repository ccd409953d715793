"""Shorter and longer voice without another pitch."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.time_scale import LONGEST_LAG, NEEDED, SHORTEST_LAG, cross_fade, lengthen, shorten, similar_lag


def buzz(period: int, count: int = 2000) -> np.ndarray:
    phase = 2 * np.pi * np.arange(count) / period
    return (4000 * (np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(3 * phase))).astype(np.int16)


def pitch_period(samples: np.ndarray) -> int:
    signal = samples.astype(float)
    scores = [np.dot(signal[:-600], signal[lag : len(signal) - 600 + lag]) for lag in range(600)]
    return SHORTEST_LAG + int(np.argmax(scores[SHORTEST_LAG:500]))


@pytest.mark.parametrize("period", [130, 240, 400, 590], ids=str)
def test_lag_is_the_pitch_period_or_a_multiple(period):
    assert similar_lag(buzz(period)) % period in (0, 1, period - 1)


@pytest.mark.parametrize("period", [150, 240, 333, 480], ids=str)
@pytest.mark.parametrize("change", [shorten, lengthen], ids=lambda f: f.__name__)
def test_pitch_stays_and_no_click_appears(change, period):
    samples = buzz(period)
    changed = change(samples)
    assert pitch_period(changed) == pytest.approx(pitch_period(samples), rel=0.01)
    steepest = np.abs(np.diff(samples.astype(int))).max()
    assert np.abs(np.diff(changed.astype(int))).max() <= 1.1 * steepest


@pytest.mark.parametrize("seed", range(5))
def test_length_changes_by_one_period_for_any_signal(seed):
    samples = np.random.default_rng(seed).integers(-32768, 32767, 3000).astype(np.int16)
    assert SHORTEST_LAG <= samples.size - shorten(samples).size <= LONGEST_LAG
    assert SHORTEST_LAG <= lengthen(samples).size - samples.size <= LONGEST_LAG
    np.testing.assert_array_equal(shorten(samples)[-500:], samples[-500:])
    np.testing.assert_array_equal(lengthen(samples)[-500:], samples[-500:])


def test_silence_and_short_pieces_are_no_trouble():
    assert 0 < shorten(np.zeros(NEEDED, np.int16)).size < NEEDED
    short = np.ones(NEEDED - 1, np.int16)
    assert shorten(short) is short
    assert lengthen(short) is short


def test_cross_fade_goes_from_one_to_the_other():
    faded = cross_fade(np.full(100, 1000, np.int16), np.full(100, -1000, np.int16))
    assert faded[0] > 980
    assert faded[-1] < -980
    assert (np.diff(faded.astype(int)) < 0).all()
