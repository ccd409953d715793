"""Voice around video frames, as Rhythmic Head Motion's learners hear it: seven chunks of samples, a frame long each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BEFORE, AFTER = 3, 3
"Chunks around a frame's own, which begins when the frame is taken."
CHUNK_S = 0.04
"A frame at 25 a second."
LOOK_AHEAD_S = (AFTER + 1) * CHUNK_S
"Of voice after the moment of a frame."


def voice_chunks(wave: Array, rate_hz: int, times: NDArray[np.floating]) -> Array:
    """(T, 7, S) the voice around the moments `times` (T,) in seconds of the wave (N,); silence beyond its ends.

    S is a chunk's samples: 640 at 16 kHz, as the head motion learner hears it, 2000 at 50 kHz, as the expression
    learner does.
    """
    if wave.ndim != 1:
        raise ValueError(f"wave: expected one channel (N,), got {wave.shape}")
    length = round(CHUNK_S * rate_hz)
    first = np.rint(np.asarray(times, np.float64) * rate_hz).astype(np.int64) - BEFORE * length
    places = first[:, None] + np.arange((BEFORE + 1 + AFTER) * length)
    heard = (places >= 0) & (places < len(wave))
    samples = np.zeros(places.shape, np.float32)
    samples[heard] = wave[places[heard]]
    return samples.reshape(len(first), BEFORE + 1 + AFTER, length)


def hann_smoothed(values: Array, frames: int) -> Array:
    """(T, ...) values averaged over so many frames, an odd number, by a Hann window, whose ends are zero; at the ends
    of the sequence over those that there are."""
    if frames < 3 or frames % 2 == 0:
        raise ValueError(f"frames: expected an odd number from 3, got {frames}")
    window = np.hanning(frames)[1:-1].astype(np.float32)
    reach, count = len(window) // 2, len(values)
    total = np.zeros_like(values, dtype=np.float32)
    weight = np.zeros(count, np.float32)
    for share, shift in zip(window, range(-reach, reach + 1), strict=True):
        to = slice(max(-shift, 0), count - max(shift, 0))
        source = slice(max(shift, 0), count - max(-shift, 0))
        if to.start < to.stop:
            total[to] += share * values[source]
            weight[to] += share
    smoothed: Array = total / weight.reshape(-1, *[1] * (values.ndim - 1))
    return smoothed
