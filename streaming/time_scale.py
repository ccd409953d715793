"""Shorten or lengthen a little voice without changing its pitch, by one pitch period at a time.

The same idea as in every adaptive playout: find the lag at which the signal resembles itself best, and fade over from
one period to the next (or back to the previous one). Pure functions of mono int16 samples at 48 kHz.
"""

from __future__ import annotations

import numpy as np

from streaming.media import Samples

SHORTEST_LAG = 120
"2.5 ms: a pitch of 400 Hz."
LONGEST_LAG = 600
"12.5 ms: a pitch of 80 Hz."
FADE = 240
"Samples over which the two periods are blended."
NEEDED = LONGEST_LAG + FADE
"Samples that a call looks at; fewer are returned unchanged."


def similar_lag(samples: Samples) -> int:
    """The lag in [SHORTEST_LAG, LONGEST_LAG] at which the first FADE samples come back best. Needs NEEDED samples."""
    signal = samples[:NEEDED].astype(np.float64)
    template = signal[:FADE]
    scores = np.correlate(signal[SHORTEST_LAG:], template, mode="valid")
    squares = np.concatenate(([0.0], np.cumsum(signal**2)))
    energy = squares[SHORTEST_LAG + FADE : NEEDED + 1] - squares[SHORTEST_LAG : NEEDED - FADE + 1]
    return SHORTEST_LAG + int(np.argmax(scores / np.sqrt(energy + 1.0)))


def cross_fade(leaving: Samples, coming: Samples) -> Samples:
    """Blend two pieces of equal length from the first to the second."""
    weight = (np.arange(leaving.size) + 0.5) / max(leaving.size, 1)
    blended = leaving * (1.0 - weight) + coming * weight
    return np.rint(blended).astype(np.int16)


def shorten(samples: Samples) -> Samples:
    """One period (2.5 to 12.5 ms) less, taken out near the start; less than NEEDED samples are returned as they are."""
    if samples.size < NEEDED:
        return samples
    lag = similar_lag(samples)
    blended = cross_fade(samples[:FADE], samples[lag : lag + FADE])
    return np.concatenate((blended, samples[lag + FADE :]))


def lengthen(samples: Samples) -> Samples:
    """One period (2.5 to 12.5 ms) more, put in near the start; less than NEEDED samples are returned as they are."""
    if samples.size < NEEDED:
        return samples
    lag = similar_lag(samples)
    blended = cross_fade(samples[lag : lag + FADE], samples[:FADE])
    return np.concatenate((samples[:lag], blended, samples[FADE:]))
