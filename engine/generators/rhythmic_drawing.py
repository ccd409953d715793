"""What Rhythmic Head Motion's networks see for a frame: edges, the nearest reference, the face in the new pose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.face.contours68 import contours_68
from engine.face.edge_map import edge_map
from engine.generators.posed_face import head_turn, posed_landmarks, rendered_face, without_features

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

Choice = Callable[[Doubles], int]
"Of the distances (K,) between the heads' rotations in the references and in the target, which reference is warped."


@dataclass(frozen=True, eq=False)
class ReferencePicture:
    """A frame of the person, and what is drawn of it once."""

    frame: Frame
    "(S, S, 3) RGB."
    landmarks_px: Array
    "(478, 3)"
    edges: Frame
    "(S, S, 1), see `drawn_edges`."

    @classmethod
    def of(cls, frame: Frame, landmarks_px: Array) -> ReferencePicture:
        """Of a frame whose edges are not drawn yet."""
        return cls(frame, landmarks_px, drawn_edges(landmarks_px, len(frame)))

    @cached_property
    def turn(self) -> Doubles:
        """(3,) see `head_turn`."""
        return head_turn(self.landmarks_px)

    @cached_property
    def blackened(self) -> Frame:
        """(S, S, 3) without eyes and mouth."""
        return without_features(self.frame, contours_68(self.landmarks_px))


def drawn_edges(landmarks_px: Array, size: int) -> Frame:
    """(S, S, 1) the `edge_map` of landmarks (478, 3)."""
    return edge_map(contours_68(landmarks_px)[:, :2], size)[..., None]


def nearest(distances: Doubles) -> int:
    """A `Choice`: the one whose pose is the nearest."""
    return int(distances.argmin())


def frame_inputs(
    references: Sequence[ReferencePicture], driving_px: Array, choose: Choice = nearest
) -> dict[str, NDArray[Any]]:
    """`edges` (S, S, 1) of the target; `reference`, the one that is warped, and `rendering` (S, S, 3), the most frontal
    one's face in the target's pose, both without eyes and mouth, with `reference_edges` and `rendering_edges`
    (S, S, 1). All uint8.

    driving_px: (478, 3) landmarks of the target.
    """
    size = len(references[0].frame)
    target = head_turn(driving_px)
    warped = references[choose(np.array([np.abs(one.turn - target).mean() for one in references]))]
    frontal = references[frontal_one([one.turn for one in references])]
    posed = posed_landmarks(frontal.landmarks_px, driving_px)
    rendering = rendered_face(frontal.frame, frontal.landmarks_px, posed)
    return {
        "edges": drawn_edges(driving_px, size),
        "reference": warped.blackened,
        "reference_edges": warped.edges,
        "rendering": without_features(rendering, contours_68(posed)),
        "rendering_edges": drawn_edges(posed, size),
    }


def frontal_one(turns: Sequence[Doubles]) -> int:
    """The key frame: whose head's rotation has the smallest sum of absolute components."""
    return int(np.argmin([np.abs(turn).sum() for turn in turns]))
