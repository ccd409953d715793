"""Which mel columns belong to a frame of video, as IP-LAP (CVPR 2023) counts them: 16 columns, 200 ms, each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Mel = NDArray[np.float32]

FRAMES_PER_SECOND = 25
COLUMNS_PER_FRAME = 3.2
"Of 12.5 ms."
COLUMNS = 16
SILENCE = -4.0
"The value of a band in which there is nothing."


def first_column(frame: int) -> int:
    """Where the window of a frame begins; the first two frames have that of the third."""
    return int(COLUMNS_PER_FRAME * max(frame - 2, 0))


def sound_needed(frame: int) -> int:
    """How many mel columns there must be for a frame's window to be complete."""
    return first_column(frame) + COLUMNS


def causal_sound_needed(frame: int) -> int:
    """How many there must be for `causal_window`."""
    return int(COLUMNS_PER_FRAME * frame) + 1


def mel_window(mel: Mel, frame: int, begin: int = 0) -> Mel:
    """(bands, 16) of the columns (T, bands) for a frame; where there are none, silence.

    begin: the number of the first column in `mel`, where those before it are not kept.
    """
    return _cut(mel, first_column(frame) - begin)


def causal_window(mel: Mel, frame: int, begin: int = 0) -> Mel:
    """The same, ending with the column at the frame's own time."""
    return _cut(mel, causal_sound_needed(frame) - COLUMNS - begin)


def mel_windows(mel: Mel, frames: Iterable[int]) -> Mel:
    """(F, bands, 16) of the columns (T, bands) for these frames."""
    return np.stack([mel_window(mel, int(frame)) for frame in frames])


def silent_window(bands: int = 80) -> Mel:
    """(bands, 16)"""
    return np.full((bands, COLUMNS), SILENCE, np.float32)


def _cut(mel: Mel, first: int) -> Mel:
    window = np.full((COLUMNS, mel.shape[1]), SILENCE, np.float32)
    part = mel[max(first, 0) : max(first + COLUMNS, 0)]
    place = max(-first, 0)
    window[place : place + len(part)] = part
    return np.ascontiguousarray(window.T)
