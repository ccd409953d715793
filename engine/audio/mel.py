"""Mel spectrogram: how loud each of 80 pitch bands of a voice is, 80 times a second.

The defaults are those of IP-LAP (CVPR 2023), which are those of Wav2Lip. Every value depends on its own 50 ms of sound
alone (no statistics of the recording), so that a stream gives bit for bit what the whole recording gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Mel = NDArray[np.float32]
"(columns, bands): a row for every moment."

_AT_ONCE = 256
"Columns that are computed together: bounds the memory, whatever the recording's length."
_LINEAR_HZ_PER_MEL, _LOG_FROM_HZ, _LOG_STEP = 200.0 / 3.0, 1000.0, np.log(6.4) / 27.0
"Slaney's scale: linear up to 1 kHz, from there logarithmic."


@dataclass(frozen=True)
class MelConfig:
    """What the columns are."""

    rate_hz: int = 16_000
    "Samples a second, of one channel."
    window: int = 800
    "Samples under each column's window and in its Fourier transform, even: 50 ms."
    hop: int = 200
    "Samples from column to column: 12.5 ms."
    bands: int = 80
    lowest_hz: float = 55.0
    highest_hz: float = 7600.0
    pre_emphasis: float = 0.97
    "Share of the sample before that is taken off each sample, which lifts the high pitches."
    floor: float = 1e-5
    "Amplitudes below this count as this: -100 dB."
    reference_db: float = 20.0
    "What is full scale."
    range_db: float = 100.0
    "This far below full scale, a value is -limit."
    limit: float = 4.0
    "Values are in [-limit, limit]."

    def __post_init__(self) -> None:
        if min(self.rate_hz, self.hop, self.bands) < 1 or self.window < 2 or self.window % 2:
            raise ValueError("rate_hz, hop, bands, window: expected positive numbers, and an even window")
        if not 0 <= self.lowest_hz < self.highest_hz <= self.rate_hz / 2:
            raise ValueError(f"lowest_hz, highest_hz: expected 0 to {self.rate_hz / 2:g} in this order")
        if min(self.floor, self.range_db, self.limit) <= 0:
            raise ValueError("floor, range_db and limit: expected positive numbers")

    @property
    def columns_per_second(self) -> float:
        return self.rate_hz / self.hop


def mel_spectrogram(samples: NDArray[np.floating], config: MelConfig = MelConfig()) -> Mel:
    """(1 + N // hop, bands) in [-limit, limit]. samples: (N,) in [-1, 1] at `config.rate_hz`.

    Column j is centred at sample j * hop and sees half a window to either side; beyond the ends there is silence.
    ValueError for samples of another shape, or that are not finite.
    """
    stream = MelStream(config)
    return np.concatenate((stream.push(samples), stream.finish()))


class MelStream:
    """The columns of a voice that comes in pieces: those of `mel_spectrogram`, half a window after their centre."""

    def __init__(self, config: MelConfig = MelConfig()) -> None:
        self.config = config
        self._bank = _filter_bank(config)
        self._window = _periodic_hann(config.window)
        self._last = 0.0
        # Silence before the beginning: the first column is centred at the first sample.
        self._pending: FloatArray = np.zeros(config.window // 2)
        self._received = 0
        self._given = 0

    def push(self, samples: NDArray[np.floating]) -> Mel:
        """The columns, (n, bands), that (N,) more samples complete: all that end within what has come so far."""
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(f"samples: expected (N,) numbers from -1 to 1, got {samples.shape} {samples.dtype}")
        if not np.isfinite(samples).all():
            raise ValueError("samples: hold values that are not finite")
        if not samples.size:
            return self._empty()
        self._received += samples.size
        return self._columns(self._emphasised(samples))

    def finish(self) -> Mel:
        """The last columns, as if silence followed; nothing may be pushed after it."""
        wanted = 1 + self._received // self.config.hop - self._given
        return self._columns(np.zeros(self.config.window // 2))[:wanted]

    def _emphasised(self, samples: NDArray[np.floating]) -> FloatArray:
        signal = samples.astype(np.float64)
        emphasised = signal - self.config.pre_emphasis * np.concatenate(([self._last], signal[:-1]))
        self._last = float(signal[-1])
        return emphasised

    def _columns(self, emphasised: FloatArray) -> Mel:
        config = self.config
        pending = np.concatenate((self._pending, emphasised))
        count = max(0, (pending.size - config.window) // config.hop + 1)
        self._pending = pending[count * config.hop :].copy()
        self._given += count
        pieces = [self._values(block) for block in _blocks(pending, count, config)]
        return np.concatenate(pieces) if pieces else self._empty()

    def _values(self, frames: FloatArray) -> Mel:
        """(n, window) samples to (n, bands) values."""
        config = self.config
        amplitudes = np.abs(np.fft.rfft(frames * self._window, axis=1))
        # Band by band and not as a matrix product, whose rounding depends on how many columns there are.
        first, weights = self._bank
        banded = amplitudes[:, first[:, None] + np.arange(weights.shape[1])]
        bands = (banded * weights).sum(axis=2)
        decibels = 20.0 * np.log10(np.maximum(config.floor, bands)) - config.reference_db
        values = 2 * config.limit * (decibels + config.range_db) / config.range_db - config.limit
        clipped: Mel = np.clip(values, -config.limit, config.limit).astype(np.float32)
        return clipped

    def _empty(self) -> Mel:
        return np.zeros((0, self.config.bands), np.float32)


def _blocks(samples: FloatArray, count: int, config: MelConfig) -> Iterator[FloatArray]:
    """The `count` frames of the samples, some at a time."""
    if count:
        frames = np.lib.stride_tricks.sliding_window_view(samples, config.window)[:: config.hop][:count]
        for begin in range(0, count, _AT_ONCE):
            yield frames[begin : begin + _AT_ONCE]


def _periodic_hann(length: int) -> FloatArray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


@lru_cache(maxsize=8)
def _filter_bank(config: MelConfig) -> tuple[NDArray[np.intp], FloatArray]:
    """Where each band's triangle begins, (bands,) Fourier bins, and its weights from there, (bands, widest).

    Each reaches from its lower to its upper neighbour's middle and has the same area (Slaney's normalisation).
    """
    edges = _hz(np.linspace(_mel(config.lowest_hz), _mel(config.highest_hz), config.bands + 2))
    bins = np.arange(config.window // 2 + 1) * (config.rate_hz / config.window)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    within = triangles > 0
    widest = max(1, int(within.sum(axis=1).max()))
    first = np.minimum(within.argmax(axis=1), bins.size - widest)
    weights = np.take_along_axis(triangles, first[:, None] + np.arange(widest), axis=1)
    weights.flags.writeable = first.flags.writeable = False
    return first, weights


def _mel(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_LOG_FROM_HZ / _LINEAR_HZ_PER_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _hz(mel: FloatArray) -> FloatArray:
    log_from = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (np.maximum(mel, log_from) - log_from))
    return np.where(mel < log_from, mel * _LINEAR_HZ_PER_MEL, logarithmic)
