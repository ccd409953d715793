"""Training samples of AdaAT: two frames of a clip, and the landmarks that lead from one to the other.

The landmarks are not the tracked ones but what the generator will be given in a call: the face model with the person
that was fitted to the source frame alone, in the state that was fitted to the target frame. The networks so learn what
such points leave out, in the mean some 0.4 pixels of 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.face.fit import fit_source, fit_state
from engine.face.model import FaceModel
from engine.generators.adaat import network_landmarks
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip, clip_chances
from engine.training.face_boxes import box_map


@dataclass(frozen=True)
class AdaATSampleConfig:
    """How samples are changed."""

    flip: float = 0.5
    "Share of mirrored samples."
    gain: float = 0.2
    "Largest relative change of brightness; of one colour against another a third of it. Gamma changes as much."


class AdaATSamples:
    """A batch: `source` and `target` (B, S, S, 3) uint8; `source_landmarks` and `target_landmarks` (B, 68, 2) as the
    networks take them; `boxes` (B, S, S) uint8, the target's `box_map`.

    Nothing is prepared but the clips: the fits cost some 11 ms a sample.
    """

    def __init__(self, clips: Sequence[Clip], config: AdaATSampleConfig) -> None:
        self.clips = clips
        self._config = config
        self._chances = clip_chances(clips)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        rows: list[dict[str, NDArray[Any]]] = []
        for _ in range(size):
            clip = self.clips[rng.choice(len(self.clips), p=self._chances)]
            source, target = rng.choice(len(clip.frames), 2, replace=False)
            change = Change.drawn(rng, self._config.flip, self._config.gain)
            rows.append(self.sample(clip, int(source), int(target), change))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def sample(self, clip: Clip, source: int, target: int, change: Change) -> dict[str, NDArray[Any]]:
        """One row of a batch: two frames of the clip, by their numbers."""
        person, state = fit_source(self._model, clip.landmarks[source])
        states = state, fit_state(self._model, person, clip.landmarks[target], previous=state)
        points = network_landmarks(np.stack([person.landmarks(one) for one in states]))
        return {
            "source": change.picture(clip.frames[source]),
            "target": change.picture(clip.frames[target]),
            "source_landmarks": change.contours(points[0]),
            "target_landmarks": change.contours(points[1]),
            "boxes": change.mirrored(box_map(clip.landmarks[target], clip.frames.shape[1])),
        }

    @cached_property
    def _model(self) -> FaceModel:
        return FaceModel.load()
