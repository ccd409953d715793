"""Clips as a voice's network sees them: mel columns, and the expression and pose of every frame.

Made of the sound and the landmarks of the data pack's clips, once; no picture is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import Mel, mel_spectrogram
from engine.audio.sound_file import SoundError, SoundFile
from engine.audio.voice_motion import MEL
from engine.face.fit import fit_person, fit_state
from engine.face.model import FaceModel
from engine.motion import Array, FaceState, HeadPose, relative_pose
from engine.training.clip_cache import ClipError, ClipRow, frame_coordinates, manifest

FORMAT = 2
"Of the files in the cache."
_SIZE = 256
"Of the clips whose sound is read; all sizes have the same."
_PERSON_FRAMES = 60
"The person is fitted to at most so many frames of a clip."


@dataclass(frozen=True, eq=False)
class VoiceClip:
    """A clip with sound. T frames, of which some may show no face."""

    name: str
    identity: str
    mel: Mel
    "(columns, 80), the first centred at the beginning of the sound."
    seen: NDArray[np.bool_]
    "(T,) whether there is a face."
    expression: Array
    "(T, E), 0 where there is none."
    pose: Array
    "(T, 6) rotation vector, place in head units and logarithm of the scale, relative to the person's usual; likewise."
    neutral: Array
    "(478, 3) the person's neutral face."
    rate: float
    "Frames a second."
    delay: float = 0.0
    "Seconds by which the sound is late."

    @property
    def columns(self) -> Array:
        """(T,) place of each frame's moment in the mel columns."""
        times = np.arange(len(self.seen)) / self.rate + self.delay
        return (times * MEL.columns_per_second).astype(np.float32)


def voice_clips(
    data: Path,
    folder: Path,
    *,
    splits: Sequence[str] = ("train",),
    rights: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delays_ms: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[VoiceClip]:
    """The pack's clips that have sound; fits are kept in `folder`. delays_ms: by name, of sound that is late.

    Raises ClipError where there is no such clip.
    """
    rows = [row for row in manifest(data, _SIZE, splits, rights) if row.name not in exclude]
    model = FaceModel.load()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, row in enumerate(rows):
        if progress is not None:
            progress(number, len(rows))
        arrays = _kept(row, folder, model)
        if arrays is not None:
            delay = (delays_ms or {}).get(row.name, 0.0) / 1000
            mel, expression, pose, neutral = (arrays[name] for name in ("mel", "expression", "pose", "neutral"))
            seen, rate = arrays["seen"].astype(bool), float(arrays["rate"])
            found.append(VoiceClip(row.name, row.identity, mel, seen, expression, pose, neutral, rate, delay))
    if not found:
        raise ClipError(f"{data}: no clip of {' or '.join(splits)} has sound")
    return found


def _kept(row: ClipRow, folder: Path, model: FaceModel) -> dict[str, NDArray[Any]] | None:
    """The arrays of a clip, from the cache where it is there and of this file; None for one without sound."""
    state = row.path.stat()
    version = np.array((FORMAT, state.st_size, int(state.st_mtime)))
    path = folder / f"{row.name}.voice.npz"
    if path.is_file():
        with np.load(path) as stored:
            if np.array_equal(stored["version"], version):
                return {name: stored[name] for name in stored.files} if "mel" in stored.files else None
    try:
        wave = np.concatenate(list(SoundFile(row.path).blocks(MEL.rate_hz)))
    except SoundError:
        arrays = {}
    else:
        arrays = {"mel": mel_spectrogram(wave), **_fitted(row, model)}
    partial = folder / f"{row.name}.{os.getpid()}.partial.npz"
    np.savez_compressed(partial, allow_pickle=False, version=version, **arrays)
    os.replace(partial, path)
    return arrays or None


def _fitted(row: ClipRow, model: FaceModel) -> dict[str, NDArray[Any]]:
    with np.load(row.landmarks) as stored:
        landmarks = frame_coordinates(np.ascontiguousarray(stored["lm"]), _SIZE, _SIZE)
        seen = stored["valid"].astype(bool)
        rate = float(stored["fps"]) if "fps" in stored.files else 25.0
    numbers = np.flatnonzero(seen)
    if len(numbers) < 2:
        raise ClipError(f"{row.landmarks}: fewer than two frames with a face; remove the clip from the manifest")
    person = fit_person(model, list(landmarks[numbers[:: -(-len(numbers) // _PERSON_FRAMES)]]))
    states: dict[int, FaceState] = {}
    previous = None
    for number in numbers.tolist():
        previous = states[number] = fit_state(model, person, landmarks[number], previous, number / rate)
    usual = HeadPose.from_states(states.values())
    expression = np.zeros((len(seen), model.expression_size), np.float32)
    pose = np.zeros((len(seen), 6), np.float32)
    for number, state in states.items():
        expression[number] = state.expression
        pose[number] = relative_pose(usual, state)
    return {
        "seen": seen,
        "expression": expression,
        "pose": pose,
        "neutral": person.neutral,
        "rate": np.array(rate),
    }
