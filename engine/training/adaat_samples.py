"""Training samples of AdaAT: two frames of a clip, and the landmarks that lead from one to the other.

The landmarks are not the tracked ones but what the generator will be given in a call: the face model with the person
that was fitted to the source frame alone, in the state that was fitted to the target frame. The networks so learn what
such points leave out, in the mean some 0.4 pixels of 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.face.fit import fit_source, fit_state
from engine.face.model import FaceModel
from engine.generators.adaat import network_landmarks
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip
from engine.training.clip_frames import FramePairs


class AdaATSamples(FramePairs):
    """Also in a batch: `source_landmarks` and `target_landmarks` (B, 68, 2) as the networks take them.

    Nothing is prepared but the clips: the fits cost some 11 ms a sample.
    """

    def sample(self, clip: Clip, numbers: Sequence[int], change: Change) -> dict[str, NDArray[Any]]:
        source, target = numbers
        person, state = fit_source(self._model, clip.landmarks[source])
        states = state, fit_state(self._model, person, clip.landmarks[target], previous=state)
        points = network_landmarks(np.stack([person.landmarks(one) for one in states]))
        return {
            **super().sample(clip, numbers, change),
            "source_landmarks": change.contours(points[0]),
            "target_landmarks": change.contours(points[1]),
        }

    @cached_property
    def _model(self) -> FaceModel:
        return FaceModel.load()
