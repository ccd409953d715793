"""Training samples of Rhythmic Head Motion: n reference frames of a clip, and one to be made of them.

As in a call, the target's landmarks are those of the face model with the person that was fitted to the first reference,
in the state that was fitted to the target frame.
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
from engine.face.regions import MESH_POINTS
from engine.generators.posed_face import posed_landmarks, rasterized_face
from engine.generators.rhythmic_drawing import ReferencePicture, frame_inputs, frontal_one
from engine.motion import to_pixels
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip
from engine.training.clip_frames import ClipFrames, FrameConfig
from engine.training.face_boxes import box_map

Array = NDArray[np.float32]


@dataclass(frozen=True)
class RhythmicFrameConfig(FrameConfig):
    """How samples are drawn and changed."""

    farthest: float = 0.75
    "Share of samples in which the reference that is warped is the one whose pose is the farthest; else any."
    single: float = 0.5
    "Share of samples all of whose references are one frame; of the others they are 2 to n."


class RhythmicSamples(ClipFrames):
    """A batch: `references` (B, n, S, S, 3) with `reference_maps` (B, n, S, S, 1), their edges; what `frame_inputs`
    returns; `source`, the first reference, and `target` (B, S, S, 3); `boxes` (B, S, S), the target's `box_map`; all
    uint8. Also `reference_flow` and `rendering_flow` (B, S, S, 3) float32: x and y in pixels from a pixel of the
    target's face to the same point of the face in what is warped, and 1 where there is a face.
    """

    def __init__(self, clips: Sequence[Clip], config: RhythmicFrameConfig, references: int) -> None:
        super().__init__(clips, config)
        self._frames = config
        self._references = references
        self.frames_each = references + 1

    def sample(self, clip: Clip, numbers: Sequence[int], change: Change) -> dict[str, NDArray[Any]]:
        *drawn, target = numbers
        # Drawn frames are all that a sample depends on; their numbers have randomness to spare.
        rng = np.random.default_rng(numbers)
        count = 1 if rng.random() < self._frames.single else int(rng.integers(2, self._references + 1))
        size = clip.frames.shape[1]
        pictures = [
            ReferencePicture.of(np.asarray(clip.frames[k]), to_pixels(clip.landmarks[k], size, size))
            for k in drawn[:count]
        ]
        person, state = fit_source(self._model, clip.landmarks[drawn[0]])
        state = fit_state(self._model, person, clip.landmarks[target], previous=state)
        driving = to_pixels(person.landmarks(state).astype(np.float32), size, size)
        chosen = 0

        def choose(distances: NDArray[np.float64]) -> int:
            nonlocal chosen
            far = rng.random() < self._frames.farthest
            chosen = int(distances.argmax()) if far else int(rng.integers(len(distances)))
            return chosen

        inputs = frame_inputs(pictures, driving, choose)
        frontal = pictures[frontal_one([one.turn for one in pictures])].landmarks_px
        true = to_pixels(clip.landmarks[target], size, size)
        slots = [pictures[slot % count] for slot in range(self._references)]
        flows = {
            "reference_flow": face_flow(true, pictures[chosen].landmarks_px, size),
            "rendering_flow": face_flow(true, posed_landmarks(frontal, driving), size),
        }
        coloured = {name: inputs[name] for name in ("reference", "rendering")}
        return {
            "references": np.stack([change.picture(one.frame) for one in slots]),
            "reference_maps": np.stack([change.mirrored(one.edges) for one in slots]),
            **{name: change.mirrored(value) for name, value in inputs.items()},
            **{name: change.picture(value) for name, value in coloured.items()},
            **{name: _mirrored_flow(change, flow) for name, flow in flows.items()},
            "source": change.picture(pictures[0].frame),
            "target": change.picture(np.asarray(clip.frames[target])),
            "boxes": change.mirrored(box_map(clip.landmarks[target], size)),
        }

    @cached_property
    def _model(self) -> FaceModel:
        return FaceModel.load()


def face_flow(target_px: Array, source_px: Array, size: int) -> Array:
    """(S, S, 3) for each pixel of the target's face the flow, x and y in pixels, by which `warped` takes the same point
    of the source's, then 1; 0 where there is no face. target_px, source_px: (478, 3)."""
    values = np.concatenate((source_px[:MESH_POINTS, :2], np.ones((MESH_POINTS, 1), np.float32)), axis=1)
    x, y, on_face = rasterized_face(target_px, size).everywhere(values.astype(np.float32), outside=0.0)
    # Not the difference of the places: `warped` enlarges by S / (S - 1).
    share, pixel = np.float32((size - 1) / size), np.arange(size, dtype=np.float32)
    flow: Array = np.stack((on_face * (x * share - pixel), on_face * (y * share - pixel[:, None]), on_face), axis=2)
    return flow


def _mirrored_flow(change: Change, flow: Array) -> NDArray[Any]:
    if not change.mirror:
        return flow
    return change.mirrored(flow) * np.array((-1.0, 1.0, 1.0), np.float32)
