"""Subject fine-tuning of LSR (ICCV 2021): a few frames of one person, until the generators draw that person.

The encoders stay as they are, so that pictures of the person mean the same as before; both generators and the
discriminator go on learning from the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.nets.lsr import Codes
from engine.nets.lsr_halves import signed
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip
from engine.training.lsr_samples import LSRSampleConfig, LSRSamples
from engine.training.lsr_task import LSRTask
from engine.training.recipe import Recipe, Stage
from engine.training.task import Batch, SampleSource, TrainingError

SUBJECT_FILE = "subject.npz"
ENCODED_AT_ONCE = 8

_STEPS = ((4, 24), (8, 60), (16, 100), (32, 200))
"Below so many frames, so many steps."
_MOST_STEPS = 400


def published_steps(frames: int) -> int:
    """How many steps the published code fine-tunes for, by the number of frames."""
    return next((steps for below, steps in _STEPS if frames < below), _MOST_STEPS)


@dataclass(frozen=True, eq=False)
class Subject:
    """Frames of one person."""

    frames: NDArray[np.uint8]
    "(F, S, S, 3) RGB."
    landmarks: NDArray[np.float32]
    "(F, 478, 3) frame coordinates."

    def save(self, path: Path) -> None:
        np.savez_compressed(path, frames=self.frames, landmarks=self.landmarks)

    @staticmethod
    def load(path: Path) -> Subject:
        """Raises TrainingError for a file of something else."""
        try:
            with np.load(path) as stored:
                frames, landmarks = stored["frames"], stored["landmarks"]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise TrainingError(f"{path}: not the frames of a subject: make them by `visavis train subject`") from error
        if frames.ndim != 4 or frames.dtype != np.uint8 or landmarks.shape != (len(frames), 478, 3) or not len(frames):
            raise TrainingError(f"{path}: expected frames (F, S, S, 3) uint8 and landmarks (F, 478, 3)")
        return Subject(frames, landmarks.astype(np.float32))


class SubjectSamples:
    """A batch: `source`, `target`, `contours` and `boxes` as of `LSRSamples`, and `shots` (B, K), the numbers of the
    frames whose codes are averaged: drawn anew, since nobody knows how many pictures an avatar will be made of."""

    def __init__(self, clip: Clip, config: LSRSampleConfig) -> None:
        self.clips = [clip]
        self._config = config
        self._single = LSRSamples(self.clips, config, clip.frames.shape[1])

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        (clip,) = self.clips
        count = len(clip.frames)
        most = min(self._config.shots_most, count)
        shots = int(rng.integers(min(self._config.shots_least, most), most + 1))
        rows = []
        for _ in range(size):
            numbers = rng.choice(count, shots, replace=False)
            row = self._single.sample(clip, [int(numbers[0])], int(rng.integers(count)), Change.none())
            rows.append({name: row[name] for name in ("source", "target", "contours", "boxes")} | {"shots": numbers})
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class LSRSubjectTask(LSRTask):
    """Terms as of `LSRTask`, but those of codes, which do not change. data: a file that `Subject.save` wrote."""

    _known: Codes | None = None

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        subject = Subject.load(self._data)
        size = self._network.config.size
        if subject.frames.shape[1:] != (size, size, 3):
            raise TrainingError(f"{data}: frames of {subject.frames.shape[2]} pixels, the network is for {size}")
        self._clip = Clip("subject", "subject", "train", subject.frames, subject.landmarks)
        for encoder in (self._network.layout_encoder, self._network.style_encoder):
            encoder.requires_grad_(False)

    def _split(self, size: int, held_out: bool) -> list[Clip]:
        return [] if held_out else [self._clip]

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        return SubjectSamples(clips[0], self._options.samples)

    def _codes(self, batch: Batch) -> Codes:
        if self._known is None:
            self._known = self._encoded()
        return Codes(*(code[batch["shots"].long()].mean(dim=1) for code in self._known))

    @torch.no_grad()
    def _encoded(self) -> Codes:
        """Of all frames."""
        own = LSRSamples([self._clip], self._options.samples, self._network.config.size)
        parts = []
        for first in range(0, len(self._clip.frames), ENCODED_AT_ONCE):
            numbers = range(first, min(first + ENCODED_AT_ONCE, len(self._clip.frames)))
            pictures = torch.from_numpy(np.array(self._clip.frames[first : numbers.stop])).to(self.device)
            contours = torch.from_numpy(np.stack([own.contours(self._clip, k) for k in numbers])).to(self.device)
            parts.append(self._network.encode(signed(pictures), signed(contours)))
        return Codes(*(torch.cat(codes) for codes in zip(*parts, strict=True)))
