"""Training samples of LSR: K pictures of a person, and another frame of the same clip, all with their contours.

The target's points are what the generator will be given in a call: the face model with the person that was fitted to
the first picture, in the state that was fitted to the target. Those of the pictures are their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.contours68 import contours_68
from engine.face.fit import fit_source, fit_state
from engine.face.model import FaceModel
from engine.generators.lsr_drawing import draw_contours
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip, clip_chances
from engine.training.clip_frames import FrameConfig
from engine.training.face_boxes import box_map
from engine.training.layout_targets import frame_layout, mirrored_layout

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LSRSampleConfig(FrameConfig):
    """How samples are made."""

    shots_least: int = 4
    shots_most: int = 4
    "Pictures whose codes are averaged: as many for all samples of a batch, drawn anew for each batch."

    def __post_init__(self) -> None:
        if not 1 <= self.shots_least <= self.shots_most:
            raise ValueError(f"shots: expected 1 <= least <= most, got {self.shots_least} and {self.shots_most}")


class LSRSamples:
    """A batch: `sources` and `source_contours` (B, K, S, S, 3), `source` (B, S, S, 3), the first of them, `target` and
    `contours` (B, S, S, 3), all uint8; `boxes` (B, S, S), the target's `box_map`; `classes` (B, S, S), its layout, if
    layouts are asked for.
    """

    def __init__(self, clips: Sequence[Clip], config: LSRSampleConfig, size: int, layouts: bool = False) -> None:
        """size: S; frames of larger clips are made smaller."""
        self.clips = clips
        self._config = config
        self._size = size
        self._layouts = layouts
        self._chances = clip_chances(clips)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        shots = int(rng.integers(self._config.shots_least, self._config.shots_most + 1))
        rows = []
        for _ in range(size):
            clip = self.clips[rng.choice(len(self.clips), p=self._chances)]
            count = len(clip.frames)
            # The target is none of the pictures; in a clip of few frames pictures repeat.
            target, *others = rng.permutation(count).tolist()
            sources = [others[k % len(others)] for k in range(shots)]
            rows.append(self.sample(clip, sources, target, Change.drawn(rng, self._config.flip, self._config.gain)))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def sample(self, clip: Clip, sources: Sequence[int], target: int, change: Change) -> dict[str, NDArray[Any]]:
        """One row of a batch."""
        size = self._size
        person, state = fit_source(self._model, clip.landmarks[sources[0]])
        state = fit_state(self._model, person, clip.landmarks[target], previous=state)
        pictures = np.stack([change.picture(self.frame(clip, k)) for k in sources])
        row: dict[str, NDArray[Any]] = {
            "sources": pictures,
            "source_contours": np.stack([self.contours(clip, k, change) for k in sources]),
            "source": pictures[0],
            "target": change.picture(self.frame(clip, target)),
            "contours": _drawn(person.landmarks(state), size, change),
            "boxes": change.mirrored(box_map(clip.landmarks[target], size)),
        }
        if self._layouts:
            classes = frame_layout(self.frame(clip, target), clip.landmarks[target])
            row["classes"] = mirrored_layout(classes) if change.mirror else classes
        return row

    def frame(self, clip: Clip, number: int) -> NDArray[np.uint8]:
        """(S, S, 3)"""
        frame = np.array(clip.frames[number])
        if len(frame) == self._size:
            return frame
        return np.asarray(cv2.resize(frame, (self._size, self._size), interpolation=cv2.INTER_AREA), np.uint8)

    def contours(self, clip: Clip, number: int, change: Change | None = None) -> NDArray[np.uint8]:
        """(S, S, 3) those of a frame itself."""
        return _drawn(clip.landmarks[number], self._size, change or Change.none())

    @cached_property
    def _model(self) -> FaceModel:
        return FaceModel.load()


def _drawn(landmarks: Array, size: int, change: Change) -> NDArray[np.uint8]:
    points = contours_68(landmarks.astype(np.float32))[:, :2]
    return draw_contours(change.contours(points), size)
