"""Training samples of Rhythmic Head Motion's learners of the voice: raw sound, and what face and head did to it.

The paper's bases are its own; here the face is described by the first coefficients of the face model's expression
basis, and the head by its turn, place and size relative to the person's usual: what a `FaceState` is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.audio.rhythmic_voice import (
    FACE_SMOOTHING,
    FULL_SCALE,
    MOTION_SMOOTHING,
    VOICE_SMOOTHING,
    longest_stretch,
)
from engine.audio.sound_file import SoundFile
from engine.audio.voice_chunks import hann_smoothed, voice_chunks
from engine.face.model import FaceModel
from engine.face.regions import MOUTH_BOTTOM, MOUTH_TOP
from engine.nets.expression_learner import COEFFICIENTS
from engine.training.clip_cache import manifest
from engine.training.voice_clips import VoiceClip

Array = NDArray[np.float32]

_SIZE = 256


@dataclass(frozen=True, eq=False)
class SpokenClip:
    """A clip with its sound. T frames, all with a face."""

    name: str
    identity: str
    wave: Array
    "(N,)"
    rate_hz: int
    times: NDArray[np.float64]
    "(T,) seconds in the wave."
    coefficients: Array
    "(T, 20) in standard deviations, smoothed."
    rest: Array
    "(20,) of the frame whose mouth is most closed."
    motion: Array
    "(T, 6) turn, place and size of the head, see `relative_pose`; smoothed."


def spoken_clips(data: Path, clips: Sequence[VoiceClip], rate_hz: int) -> list[SpokenClip]:
    """Clips with their sound at a rate, the longest stretch with a face of each."""
    model = FaceModel.load()
    paths = {row.name: row.path for row in manifest(data, _SIZE, ("train", "test"))}
    found = []
    for clip in clips:
        frames = longest_stretch(clip.seen)
        expression = clip.expression[frames]
        coefficients = expression[:, :COEFFICIENTS] / model.expression_deviation[:COEFFICIENTS]
        gap = expression @ (model.expression[:, MOUTH_BOTTOM, 1] - model.expression[:, MOUTH_TOP, 1])
        found.append(
            SpokenClip(
                clip.name,
                clip.identity,
                np.concatenate(list(SoundFile(paths[clip.name]).blocks(rate_hz))),
                rate_hz,
                (np.arange(len(clip.seen)) / clip.rate + clip.delay)[frames],
                hann_smoothed(coefficients, FACE_SMOOTHING),
                coefficients[int(gap.argmin())],
                hann_smoothed(clip.pose[frames], MOTION_SMOOTHING),
            )
        )
    return found


class ExpressionSamples:
    """A batch: `voice` (B, S) around a frame, in units of 16-bit samples, by one of the gains louder; `rest` and `face`
    (B, 20) coefficients. All float32."""

    def __init__(self, clips: Sequence[SpokenClip], gains_db: tuple[float, ...]) -> None:
        self._clips = list(clips)
        self._gains = gains_db
        self._chances = _chances([len(clip.times) for clip in clips])

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        rows = []
        for _ in range(size):
            clip = self._clips[rng.choice(len(self._clips), p=self._chances)]
            frame = int(rng.integers(len(clip.times)))
            gain = FULL_SCALE * 10 ** (rng.choice(self._gains) / 20)
            chunks = voice_chunks(clip.wave, clip.rate_hz, clip.times[frame : frame + 1])
            rows.append((np.float32(gain) * chunks.ravel(), clip.rest, clip.coefficients[frame]))
        return dict(zip(("voice", "rest", "face"), map(np.stack, zip(*rows, strict=True)), strict=True))


class HeadMotionSamples:
    """A batch: `known` and `motion` (B, T, 6), two stretches of a head's motion, one after the other, with the voice
    beside them, `known_chunks` and `chunks` (B, T, 7, S). Motion is normalised. All float32."""

    def __init__(self, clips: Sequence[SpokenClip], frames: int, mean: Array, deviation: Array) -> None:
        """frames: T. Clips that are shorter than both stretches are left out; raises ValueError where all are."""
        self._clips = [clip for clip in clips if len(clip.times) >= 2 * frames]
        if not self._clips:
            raise ValueError(f"no clip shows a face for {2 * frames} frames on end")
        self._frames, self._mean, self._deviation = frames, mean, deviation
        self._chunks: dict[int, Array] = {}
        self._chances = _chances([len(clip.times) for clip in self._clips])

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        rows = []
        for _ in range(size):
            number = int(rng.choice(len(self._clips), p=self._chances))
            clip = self._clips[number]
            begin = int(rng.integers(len(clip.times) - 2 * self._frames + 1))
            frames = slice(begin, begin + 2 * self._frames)
            motion = (clip.motion[frames] - self._mean) / self._deviation
            chunks = self._smoothed(number)[frames]
            parts = [one for both in (motion, chunks) for one in np.split(both.astype(np.float32), 2)]
            rows.append(parts)
        names = ("known", "motion", "known_chunks", "chunks")
        return dict(zip(names, map(np.stack, zip(*rows, strict=True)), strict=True))

    def _smoothed(self, number: int) -> Array:
        """(T, 7, S) the voice of a clip; made once, 18 kB a frame, as it takes longer than all the rest."""
        if number not in self._chunks:
            clip = self._clips[number]
            self._chunks[number] = hann_smoothed(voice_chunks(clip.wave, clip.rate_hz, clip.times), VOICE_SMOOTHING)
        return self._chunks[number]


def _chances(lengths: Sequence[int]) -> NDArray[np.float64]:
    roots: NDArray[np.float64] = np.sqrt(np.array(lengths, np.float64))
    roots /= roots.sum()
    return roots
