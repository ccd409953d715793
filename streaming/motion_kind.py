"""The kinds of motion that a stream can carry, and how each becomes a vector of numbers and back.

Codec, files and playout know motion only through these objects: whatever else they do, they do for every kind.

*Parameters* of a motion, (D,) float, in the order in which the codec's tables have them:

- of a face (`FaceState`): rotation (3), translation / nominal scale (2), log(scale / nominal scale) (1), gaze (2),
  expression (E);
- of K keypoints (`Keypoints`): points (2K), Jacobians (4K), both row by row. Their nominal scale is always 1: the
  picture that they are found in is their unit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.motion import EXPRESSION_SIZE_LIMIT, KEYPOINT_LIMIT, FaceState, Keypoints, Motion

FloatArray = NDArray[np.float64]

POSE_SIZE = 6
HEAD_SIZE = POSE_SIZE + 2
"Parameters of a face before the expression: pose and gaze."
NUMBERS_OF_A_KEYPOINT = 6

TRANSLATION_LIMIT = 4.0
"Frame units; the head is then far outside the frame."
LOG_SCALE_LIMIT = 3.0
"The head's size may differ from the nominal one by a factor of exp(3) = 20 either way."
GAZE_LIMIT = 1.5
"Eye widths."
NOMINAL_SCALE_LIMITS = (1e-3, 10.0)
"Frame units for the outer-eye-corner distance."
POINT_LIMIT = 4.0
"Half pictures; a keypoint is then far outside the picture."
JACOBIAN_LIMIT = 16.0
"A local frame is then stretched beyond all use."

M = TypeVar("M", FaceState, Keypoints)


class MotionKind(ABC, Generic[M]):
    """One kind of motion."""

    name: ClassVar[str]
    "Stands in files."
    noun: ClassVar[str]
    "What messages call it."
    mark: ClassVar[bytes]
    "The two bytes that a stream of it begins with."
    count_limit: ClassVar[int]
    "Larger counts are not accepted from outside."
    columns: ClassVar[Mapping[str, tuple[int, ...]]]
    "Name and shape of each array that makes up a motion; -1 stands for the count."

    @abstractmethod
    def count(self, motion: M) -> int:
        """What two motions must agree on to belong together: E, or K."""

    @abstractmethod
    def size(self, count: int) -> int:
        """D."""

    @abstractmethod
    def nominal_scale(self, motion: M) -> float:
        """The scale that the parameters of a stream that begins with this motion are relative to."""

    @abstractmethod
    def parameters(self, motion: M, nominal_scale: float) -> FloatArray:
        """(D,), within what the wire carries, all but the last ones, which `MotionStatistics.limit` is for."""

    @abstractmethod
    def motion(self, parameters: FloatArray, nominal_scale: float, time: float, confidence: float) -> M:
        """The motion of any finite (D,) parameters."""

    @abstractmethod
    def from_columns(self, columns: Mapping[str, Any], time: float, confidence: float) -> M:
        """A motion of the arrays that `columns` names. Raises ValueError for arrays that make none."""


class FaceKind(MotionKind[FaceState]):
    """Pose and expression of a face model."""

    name = "face"
    noun = "face states"
    mark = b"vm"
    count_limit = EXPRESSION_SIZE_LIMIT
    columns: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "rotation": (3,),
        "translation": (2,),
        "scale": (),
        "expression": (-1,),
        "gaze": (2,),
    }

    def count(self, motion: FaceState) -> int:
        return int(motion.expression.size)

    def size(self, count: int) -> int:
        return HEAD_SIZE + count

    def nominal_scale(self, motion: FaceState) -> float:
        low, high = NOMINAL_SCALE_LIMITS
        return min(max(motion.scale, low), high)

    def parameters(self, motion: FaceState, nominal_scale: float) -> FloatArray:
        rotation = motion.rotation.astype(np.float64)
        angle = float(np.linalg.norm(rotation))
        if angle > math.pi:  # the same rotation by the shorter way
            rotation *= math.remainder(angle, 2 * math.pi) / angle
        translation = np.clip(motion.translation, -TRANSLATION_LIMIT, TRANSLATION_LIMIT) / nominal_scale
        log_scale = min(max(math.log(motion.scale / nominal_scale), -LOG_SCALE_LIMIT), LOG_SCALE_LIMIT)
        gaze = np.clip(motion.gaze, -GAZE_LIMIT, GAZE_LIMIT)
        return np.concatenate([rotation, translation, [log_scale], gaze, motion.expression])

    def motion(self, parameters: FloatArray, nominal_scale: float, time: float, confidence: float) -> FaceState:
        rounded = parameters.astype(np.float32)
        log_scale = min(max(float(rounded[5]), -LOG_SCALE_LIMIT), LOG_SCALE_LIMIT)
        return FaceState(
            rotation=rounded[:3],
            translation=rounded[3:5] * nominal_scale,
            scale=nominal_scale * math.exp(log_scale),
            gaze=rounded[POSE_SIZE:HEAD_SIZE],
            expression=rounded[HEAD_SIZE:],
            time=time,
            confidence=confidence,
        )

    def from_columns(self, columns: Mapping[str, Any], time: float, confidence: float) -> FaceState:
        return FaceState(
            rotation=columns["rotation"],
            translation=columns["translation"],
            scale=float(columns["scale"]),
            expression=columns["expression"],
            gaze=columns["gaze"],
            time=time,
            confidence=confidence,
        )


class KeypointKind(MotionKind[Keypoints]):
    """Points and local frames that a network found."""

    name = "keypoints"
    noun = "keypoints"
    mark = b"vk"
    count_limit = KEYPOINT_LIMIT
    columns: ClassVar[Mapping[str, tuple[int, ...]]] = {"points": (-1, 2), "jacobians": (-1, 2, 2)}

    def count(self, motion: Keypoints) -> int:
        return motion.count

    def size(self, count: int) -> int:
        return NUMBERS_OF_A_KEYPOINT * count

    def nominal_scale(self, motion: Keypoints) -> float:
        return 1.0

    def parameters(self, motion: Keypoints, nominal_scale: float) -> FloatArray:
        return np.concatenate([motion.points.ravel(), motion.jacobians.ravel()]).astype(np.float64)

    def motion(self, parameters: FloatArray, nominal_scale: float, time: float, confidence: float) -> Keypoints:
        count = len(parameters) // NUMBERS_OF_A_KEYPOINT
        points, jacobians = parameters[: 2 * count], parameters[2 * count :]
        return Keypoints(
            points=np.clip(points, -POINT_LIMIT, POINT_LIMIT).reshape(count, 2).astype(np.float32),
            jacobians=np.clip(jacobians, -JACOBIAN_LIMIT, JACOBIAN_LIMIT).reshape(count, 2, 2).astype(np.float32),
            time=time,
            confidence=confidence,
        )

    def from_columns(self, columns: Mapping[str, Any], time: float, confidence: float) -> Keypoints:
        return Keypoints(columns["points"], columns["jacobians"], time, confidence)


FACE, KEYPOINTS = FaceKind(), KeypointKind()
KINDS: tuple[MotionKind[Any], ...] = (FACE, KEYPOINTS)


def kind_of(motion: Motion) -> MotionKind[Any]:
    """Which kind a motion is of."""
    return FACE if isinstance(motion, FaceState) else KEYPOINTS


def alike(first: Motion, second: Motion) -> bool:
    """Whether two motions are of one kind and have as many coefficients or keypoints: then they can be mixed."""
    kind = kind_of(first)
    return kind is kind_of(second) and kind.count(first) == kind.count(second)
