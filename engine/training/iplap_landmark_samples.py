"""Training samples of IP-LAP's landmark generator: windows of voice and pose, and the jaws and lips with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.audio.landmark_predictor import REFERENCES
from engine.audio.mel_windows import SILENCE, causal_window, mel_window
from engine.face.landmarks131 import POSE, face_boxes, in_box
from engine.training.clip_cache import frame_coordinates
from engine.training.clip_mels import mel_of_clip, voiced_rows
from engine.training.clip_sounds import ClipSounds
from engine.training.task import TrainingError

Array = NDArray[np.float32]

WINDOW = 5
SIDE = 256
"Of the frames whose pixels boxes are rounded to."
LOUDNESS = 8.0 / 100.0
"Of mel values for one decibel."
CENTRE = np.float32(0.5)
"Of a face box."


@dataclass(frozen=True, eq=False)
class VoicedClip:
    """What is known of a clip, 25 frames a second."""

    name: str
    identity: str
    points: Array
    "(T, 131, 2) from 0 to 1 in their face boxes."
    mel: Array
    "(columns, 80)"
    starts: NDArray[np.int64]
    "Where five frames in a row have a face."


@dataclass(frozen=True)
class LandmarkSampleConfig:
    references: int = REFERENCES
    "Frames of the clip, outside the window, that show how the face is made."
    fewest: int = 1
    "As few of them are different ones, the others repeat them: who speaks may have but one picture."
    causal: bool = False
    "Whether mel windows end with their frame."
    gain_db: float = 6.0
    "Largest change of loudness, either way."
    strangeness: float = 0.7
    """How far faces are made unlike anybody's: the deviation of the share of the difference between two people's mean
    faces that is added to all points of a sample. Of few people alone the network learns their mean face, and not to
    look at the references."""
    stretch: float = 0.06
    "Deviation of the logarithms of a face's width and height in its box."
    shift: float = 0.02
    "Of its place there."

    def as_recorded(self) -> LandmarkSampleConfig:
        """Without any change of voices and faces, all references different."""
        return replace(self, fewest=self.references, gain_db=0.0, strangeness=0.0, stretch=0.0, shift=0.0)


class LandmarkSamples:
    """A batch: `references` (B, N, 131, 2), `mels` (B, 5, 80, 16), `poses` (B, 5, 74, 2), `contents` (B, 5, 57, 2)."""

    def __init__(self, clips: Sequence[VoicedClip], config: LandmarkSampleConfig) -> None:
        self.clips = clips
        self._config = config
        lengths = np.sqrt([len(clip.starts) for clip in clips])
        self._chances = lengths / lengths.sum()
        by_identity: dict[str, list[Array]] = {}
        for clip in clips:
            by_identity.setdefault(clip.identity, []).append(np.nanmean(clip.points, axis=0))
        self._means = np.stack([np.mean(means, axis=0) for means in by_identity.values()])

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        rows = [self._row(rng, self.clips[rng.choice(len(self.clips), p=self._chances)]) for _ in range(size)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _row(self, rng: np.random.Generator, clip: VoicedClip) -> dict[str, Array]:
        config = self._config
        start = int(rng.choice(clip.starts))
        frames = range(start, start + WINDOW)
        usable = np.flatnonzero(np.isfinite(clip.points).all(axis=(1, 2)))
        outside = usable[(usable < start) | (usable >= start + WINDOW)]
        different = min(int(rng.integers(config.fewest, config.references + 1)), len(outside))
        chosen = np.resize(rng.choice(outside, different, replace=False), config.references)
        cut = causal_window if config.causal else mel_window
        mels = np.stack([cut(clip.mel, frame) for frame in frames])
        louder = np.float32(LOUDNESS * rng.uniform(-config.gain_db, config.gain_db))
        change = self._change(rng)
        points = change(clip.points[start : start + WINDOW])
        return {
            "references": change(clip.points[chosen]),
            # What is below the floor stays there.
            "mels": np.where(mels > SILENCE, np.clip(mels + louder, SILENCE, -SILENCE), mels).astype(np.float32),
            "poses": points[:, : len(POSE)],
            "contents": points[:, len(POSE) :],
        }

    def _change(self, rng: np.random.Generator) -> Callable[[Array], Array]:
        """To another face: points (..., 131, 2) to the same."""
        config = self._config
        one, other = self._means[rng.integers(len(self._means), size=2)]
        strange = np.float32(rng.normal(0.0, config.strangeness)) * (one - other)
        stretch = np.exp(rng.normal(0.0, config.stretch, 2)).astype(np.float32)
        shift = rng.normal(0.0, config.shift, 2).astype(np.float32)
        return lambda points: (points + strange - CENTRE) * stretch + CENTRE + shift


def load_voiced_clips(data: Path, split: str = "train", sounds: ClipSounds | None = None) -> list[VoicedClip]:
    """All clips of a split that have a voice and ten frames with a face. Raises TrainingError where there are none.

    sounds: what is known of them; without, what the manifest says.
    """
    clips = []
    for name, row in voiced_rows(data, sounds).items():
        if row["split"] != split:
            continue
        with np.load(data / "landmarks" / f"{name}.npz") as stored:
            landmarks = frame_coordinates(np.ascontiguousarray(stored["lm"]), SIDE, SIDE)
            valid = np.asarray(stored["valid"], bool)
        points = np.full((len(landmarks), 131, 2), np.nan, np.float32)
        points[valid] = in_box(landmarks[valid], face_boxes(landmarks[valid], SIDE, SIDE), SIDE, SIDE)
        whole = np.lib.stride_tricks.sliding_window_view(valid, WINDOW).all(axis=1)
        starts = np.flatnonzero(whole)
        if len(starts) >= 2 * WINDOW:
            clips.append(VoicedClip(name, row["identity"], points, mel_of_clip(data, row, sounds), starts))
    if not clips:
        raise TrainingError(f"{data}: no clip of split {split} has a voice; landmarks are learned from voices")
    return clips
