"""The voices of a data pack's clips, as mel windows, frame by frame."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import mel_spectrogram
from engine.audio.mel_windows import COLUMNS_PER_FRAME, FRAMES_PER_SECOND, SILENCE, mel_windows
from engine.audio.sound_file import SoundFile
from engine.training.clip_cache import Clip
from engine.training.clip_sounds import ClipSounds

Array = NDArray[np.float32]

KINDS = ("speech", "synthetic")
"Of the manifest: others have music under them, or no words."
DELAY_MS = (-40.0, 120.0)
"The sound may be late by so much where that is known: 0 to 80 is usual."


def voiced_rows(data: Path, sounds: ClipSounds | None = None) -> dict[str, Mapping[str, str]]:
    """The manifest's rows of clips with a voice that is not known to be out of time, by the clip's name.

    sounds: what is known of them; without, what the manifest says.
    """
    with (data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("audio") == "yes"]
    if sounds is None:
        return {row["id"]: row for row in rows if _usable(row)}
    return {row["id"]: row for row in rows if row["id"] not in sounds.exclude}


def mel_of_clip(data: Path, row: Mapping[str, str], sounds: ClipSounds | None = None) -> Array:
    """(columns, 80) of a clip's sound, in time with its frames as far as is known. Raises SoundError."""
    mel = mel_spectrogram(np.concatenate(list(SoundFile(data / row["file"]).blocks())))
    late = 0.0 if sounds is None else sounds.delays_ms.get(row["id"], 0.0)
    columns = round(late / 1000 * FRAMES_PER_SECOND * COLUMNS_PER_FRAME)
    if columns < 0:
        return np.pad(mel, ((-columns, 0), (0, 0)), constant_values=SILENCE)
    return mel[columns:]


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
    if row.get("kind") not in KINDS:
        return False
    delay = row.get("audio_delay_ms") or ""
    return not delay or DELAY_MS[0] <= float(delay) <= DELAY_MS[1]
