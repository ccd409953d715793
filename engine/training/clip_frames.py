"""Training samples that are made of frames of a clip; two of them, for generators that turn one into the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.training.augmentation import Change
from engine.training.clip_cache import Clip, clip_chances
from engine.training.face_boxes import box_map


@dataclass(frozen=True)
class FrameConfig:
    """How samples are changed."""

    flip: float = 0.5
    "Share of mirrored samples."
    gain: float = 0.2
    "Largest relative change of brightness; of one colour against another a third of it. Gamma changes as much."


class ClipFrames(ABC):
    """Draws `frames_each` different frames of a clip for each sample, in any order, and one change for all of them."""

    frames_each: int

    def __init__(self, clips: Sequence[Clip], config: FrameConfig) -> None:
        self.clips = clips
        self._config = config
        self._chances = clip_chances(clips)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        rows: list[dict[str, NDArray[Any]]] = []
        for _ in range(size):
            clip = self.clips[rng.choice(len(self.clips), p=self._chances)]
            numbers = rng.choice(len(clip.frames), self.frames_each, replace=False)
            change = Change.drawn(rng, self._config.flip, self._config.gain)
            rows.append(self.sample(clip, numbers.tolist(), change))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    @abstractmethod
    def sample(self, clip: Clip, numbers: Sequence[int], change: Change) -> dict[str, NDArray[Any]]:
        """One row of a batch: `frames_each` frames of the clip, by their numbers."""


class FramePairs(ClipFrames):
    """A batch: `source` and `target` (B, S, S, 3) uint8, two frames of a clip; `boxes` (B, S, S) uint8, the target's
    `box_map`."""

    frames_each = 2

    def sample(self, clip: Clip, numbers: Sequence[int], change: Change) -> dict[str, NDArray[Any]]:
        source, target = numbers
        return {
            "source": change.picture(clip.frames[source]),
            "target": change.picture(clip.frames[target]),
            "boxes": change.mirrored(box_map(clip.landmarks[target], clip.frames.shape[1])),
        }
