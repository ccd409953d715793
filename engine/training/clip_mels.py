"""The voices of a data pack's clips, as mel windows, frame by frame."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import mel_spectrogram
from engine.audio.mel_windows import mel_windows
from engine.audio.sound_file import SoundFile
from engine.training.clip_cache import Clip

Array = NDArray[np.float32]

KINDS = ("speech", "synthetic")
"Of the manifest: others have music under them, or no words."
DELAY_MS = (-40.0, 120.0)
"The sound may be late by so much where that is known: 0 to 80 is usual."


def voiced_rows(data: Path) -> dict[str, Mapping[str, str]]:
    """The manifest's rows of clips with a voice that is not known to be out of time, by the clip's name."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["id"]: row for row in rows if _usable(row)}


def mel_of_clip(data: Path, row: Mapping[str, str]) -> Array:
    """(columns, 80) of a clip's sound. Raises SoundError."""
    blocks = list(SoundFile(data / row["file"]).blocks())
    return mel_spectrogram(np.concatenate(blocks))


def mel_windows_of(data: Path, clips: Sequence[Clip], step: int) -> dict[str, Array]:
    """(T, 80, 16) for the frames of each of these clips that has a voice.

    step: every how manieth frame the clips hold.
    """
    rows = voiced_rows(data)
    found = {}
    for clip in clips:
        if clip.name in rows:
            with np.load(data / "landmarks" / f"{clip.name}.npz") as stored:
                numbers = np.flatnonzero(stored["valid"])
            numbers = numbers[numbers % step == 0][: len(clip.frames)]
            found[clip.name] = mel_windows(mel_of_clip(data, rows[clip.name]), numbers)
    return found


def _usable(row: Mapping[str, str]) -> bool:
    if row.get("audio") != "yes" or row.get("kind") not in KINDS:
        return False
    delay = row.get("audio_delay_ms") or ""
    return not delay or DELAY_MS[0] <= float(delay) <= DELAY_MS[1]
