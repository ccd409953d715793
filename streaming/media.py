"""What flows between inputs, the call and outputs: pictures, sound, their times, and the two errors.

- A picture is (H, W, 3) uint8 RGB.
- Sound is (N,) int16, mono, 48 kHz. Sample n of a stream that starts at t plays at t + n / 48000.
- Times are seconds as float on one media clock per source; pictures and sound of one source share it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
"(H, W, 3), red first."
Samples = NDArray[np.int16]
"(N,), mono, 48 kHz."

AUDIO_RATE_HZ = 48_000
AUDIO_BLOCK = 960
"Samples in the 20 ms in which voice is handed around."


class InputError(RuntimeError):
    """An input cannot be opened, or stopped delivering; the message names it and says what to do."""


class OutputError(RuntimeError):
    """An output cannot be opened or written; the message names it and says what to do."""


class Rational(Protocol):
    """A time base or rate of PyAV: a Fraction up to release 18, a type of its own from 19 on."""

    @property
    def numerator(self) -> int: ...

    @property
    def denominator(self) -> int: ...


def as_fraction(value: Rational) -> Fraction:
    """PyAV's rational as a Fraction, whichever type this release uses."""
    return Fraction(value.numerator, value.denominator)


def check_frame(frame_rgb: Any) -> RGB:
    """The frame itself, or ValueError with what is wrong about it."""
    if (
        not isinstance(frame_rgb, np.ndarray)
        or frame_rgb.dtype != np.uint8
        or frame_rgb.ndim != 3
        or frame_rgb.shape[2] != 3
    ):
        shape, dtype = getattr(frame_rgb, "shape", None), getattr(frame_rgb, "dtype", type(frame_rgb).__name__)
        raise ValueError(f"frame: expected (H, W, 3) uint8, got {shape} {dtype}")
    return frame_rgb


def check_samples(samples: Any) -> Samples:
    """The samples themselves, or ValueError with what is wrong about them."""
    if not isinstance(samples, np.ndarray) or samples.dtype != np.int16 or samples.ndim != 1:
        shape, dtype = getattr(samples, "shape", None), getattr(samples, "dtype", type(samples).__name__)
        raise ValueError(f"samples: expected (N,) int16, got {shape} {dtype}")
    return samples
