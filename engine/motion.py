"""What crosses the wire: the motion of a face in one frame, as a `FaceState` or as `Keypoints`.

Conventions that hold everywhere in the project:

- *Frame coordinates*: x to the right, y down, z away from the camera. The origin is the centre of the frame and the
  unit is the frame's shorter side: a square frame spans [-0.5, 0.5] in x and y (`to_pixels`, `from_pixels`).
- *Head coordinates*: those of the linear face model (`engine.face.model`): the same axes for a head that looks straight
  into the camera, origin inside the head, unit = the distance between the outer eye corners of the mean face.
- *Times* are seconds on the sender's media clock (the clock of the audio samples where there is a voice).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

EXPRESSION_SIZE_LIMIT = 128
"More coefficients than any face model of ours has: the bound for what is accepted from outside."
KEYPOINT_LIMIT = 64
"More than any published model has: the bound for what is accepted from outside."


def as_array(values: Any, shape: tuple[int, ...], name: str) -> Array:
    """A private, read-only float32 copy; -1 in `shape` is any length. ValueError says which field is not finite or of
    another shape."""
    array = np.array(values, dtype=np.float32)
    if array.ndim != len(shape) or any(want not in (-1, has) for want, has in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("K" if length < 0 else str(length) for length in shape)
        raise ValueError(f"{name}: expected {wanted} numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds values that are not finite")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class FaceState:
    """Pose and expression of one face in one frame, under scaled orthographic projection.

    A model vertex v (head coordinates, expression applied) appears at `scale * (R v)[:2] + translation`, frame
    coordinates.
    """

    rotation: Array
    "(3,) rotation vector in radians, head to camera: direction = axis, length = angle."
    translation: Array
    "(2,) where the head's origin appears, frame coordinates."
    scale: float
    "Frame units for one unit of head coordinates; positive."
    expression: Array
    "(E,) coefficients of the face model's expression basis; 0 is the neutral face."
    gaze: Array
    "(2,) displacement of both irises from the middle of the eye, right and down, in eye widths."
    time: float = 0.0
    "Capture time, seconds on the sender's media clock."
    confidence: float = 1.0
    "0 (guessed) to 1 (a clear view of the face)."

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", as_array(self.rotation, (3,), "rotation"))
        object.__setattr__(self, "translation", as_array(self.translation, (2,), "translation"))
        object.__setattr__(self, "expression", as_array(self.expression, (-1,), "expression"))
        object.__setattr__(self, "gaze", as_array(self.gaze, (2,), "gaze"))
        if self.expression.size > EXPRESSION_SIZE_LIMIT:
            raise ValueError(
                f"expression: {self.expression.size} coefficients, at most {EXPRESSION_SIZE_LIMIT} are accepted"
            )
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: expected a positive number, got {self.scale}")
        if not np.isfinite(self.time):
            raise ValueError("time: not finite")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence: expected 0 to 1, got {self.confidence}")


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What a network found in one picture: K points and the local frame around each (First Order Motion Model, 2019).

    Points are x then y, -1 and 1 at the borders of the square picture; a Jacobian is row-major,
    `[[dx/dx, dx/dy], [dy/dx, dy/dy]]`.
    """

    points: Array
    "(K, 2) in [-1, 1] where a detector found them; after a transfer they may be outside."
    jacobians: Array
    "(K, 2, 2) how the picture around each point is stretched and turned; near the identity."
    time: float = 0.0
    "Capture time, seconds on the sender's media clock."
    confidence: float = 1.0
    "0 (guessed) to 1 (a clear view of the face)."

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", as_array(self.points, (-1, 2), "points"))
        count = self.points.shape[0]
        if not 1 <= count <= KEYPOINT_LIMIT:
            raise ValueError(f"points: {count} keypoints, from 1 to {KEYPOINT_LIMIT} are accepted")
        object.__setattr__(self, "jacobians", as_array(self.jacobians, (count, 2, 2), "jacobians"))
        if not np.isfinite(self.time):
            raise ValueError("time: not finite")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence: expected 0 to 1, got {self.confidence}")

    @property
    def count(self) -> int:
        """K."""
        return int(self.points.shape[0])


Motion = FaceState | Keypoints
"The kinds of motion; a generator says which one drives it."


def from_pixels(points_px: Array, width: int, height: int) -> Array:
    """(..., 2 or 3) pixel positions to frame coordinates. (0, 0) is the first pixel's outer corner; z scales as x."""
    side = min(width, height)
    points = np.array(points_px, dtype=np.float32)
    points[..., 0] -= width / 2
    points[..., 1] -= height / 2
    points /= side
    return points


def to_pixels(points: Array, width: int, height: int) -> Array:
    """(..., 2 or 3) frame coordinates to pixel positions; the inverse of `from_pixels`."""
    points_px = np.array(points, dtype=np.float32) * min(width, height)
    points_px[..., 0] += width / 2
    points_px[..., 1] += height / 2
    return points_px


def rotation_matrix(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3,) rotation vector in radians to the (3, 3) matrix R of `R v` (Rodrigues' formula)."""
    x, y, z = (float(value) for value in vector)
    angle = float(np.sqrt(x * x + y * y + z * z))
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    if angle < 1e-8:
        return np.asarray(np.eye(3) + cross, np.float64)
    matrix = np.eye(3) + np.sin(angle) / angle * cross + (1.0 - np.cos(angle)) / angle**2 * (cross @ cross)
    return np.asarray(matrix, np.float64)


def rotation_vector(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `rotation_matrix`; the length of the result is in [0, pi]."""
    # Through the unit quaternion (its largest component first), which stays accurate near 0 and near pi.
    m = np.asarray(matrix, np.float64)
    trace = float(np.trace(m))
    squares = np.array((trace, m[0, 0], m[1, 1], m[2, 2]))
    largest = int(np.argmax(squares))
    if largest == 0:
        quaternion = np.array((1.0 + trace, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]))
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        quaternion = np.empty(4)
        quaternion[0] = m[k, j] - m[j, k]
        quaternion[1 + i] = 1.0 + m[i, i] - m[j, j] - m[k, k]
        quaternion[1 + j] = m[j, i] + m[i, j]
        quaternion[1 + k] = m[k, i] + m[i, k]
    quaternion /= np.linalg.norm(quaternion)
    if quaternion[0] < 0:
        quaternion = -quaternion
    sine = float(np.linalg.norm(quaternion[1:]))
    angle = 2.0 * float(np.arctan2(sine, quaternion[0]))
    return quaternion[1:] * (angle / sine if sine > 1e-12 else 2.0)


@dataclass(frozen=True, eq=False)
class HeadPose:
    """Where a head is and where it looks: a `FaceState` without the expression."""

    rotation: Array
    "(3,) as in `FaceState`, and so are the others."
    translation: Array
    scale: float
    gaze: Array

    @classmethod
    def of(cls, state: FaceState) -> HeadPose:
        """The pose of one state."""
        return cls(state.rotation, state.translation, state.scale, state.gaze)

    @classmethod
    def from_states(cls, states: Iterable[FaceState]) -> HeadPose:
        """The usual pose of a recording that is known whole: medians. Raises ValueError without a state."""
        states = list(states)
        if not states:
            raise ValueError("states: empty, no pose to take a median of")
        base = rotation_matrix(states[0].rotation)
        turns = [rotation_vector(base.T @ rotation_matrix(state.rotation)) for state in states]
        rotation = rotation_vector(base @ rotation_matrix(np.median(turns, axis=0)))
        return cls(
            rotation.astype(np.float32),
            np.median([state.translation for state in states], axis=0),
            float(np.median([state.scale for state in states])),
            np.median([state.gaze for state in states], axis=0),
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", as_array(self.rotation, (3,), "rotation"))
        object.__setattr__(self, "translation", as_array(self.translation, (2,), "translation"))
        object.__setattr__(self, "gaze", as_array(self.gaze, (2,), "gaze"))


def relative_pose(usual: HeadPose, state: FaceState) -> Array:
    """(6,) how far a head is turned, moved and grown from its usual pose: rotation vector, head units, logarithm."""
    turn = rotation_vector(rotation_matrix(usual.rotation).T @ rotation_matrix(state.rotation))
    place = (state.translation - usual.translation) / usual.scale
    return np.concatenate((turn, place, (np.log(state.scale / usual.scale),))).astype(np.float32)


@dataclass(frozen=True)
class ReferenceConfig:
    """How the habitual pose is estimated, and how slowly it may move: too slowly to be noticed."""

    sample_seconds: float = 0.2
    "A pose is kept for every so many seconds of a face in clear view (less clear ones count by their confidence)."
    history_seconds: float = 60.0
    "The habit is the median of the poses kept in so many seconds."
    first_seconds: float = 2.0
    "The first frame counts as if it had been held for so long."
    follow_seconds: float = 4.0
    "Time constant with which the reference follows the median."
    turn_speed: float = 0.035
    "Radians per second at most: 2 degrees."
    move_speed: float = 0.05
    "Head units per second at most, of the place; also of the logarithm of the scale and, in eye widths, of gaze."


class ReferencePose:
    """Estimates a driver's habitual pose while the driver moves, usable from the first frame: a running median.

    The first frame is the habit until more is known, so a picture of the driver, driven by that frame, stays as it is.
    """

    def __init__(self, config: ReferenceConfig = ReferenceConfig()) -> None:
        self._config = config
        self._pose: HeadPose | None = None
        self._kept: deque[NDArray[np.float64]] = deque(maxlen=round(config.history_seconds / config.sample_seconds))
        self._since_kept = 0.0
        self._time = 0.0

    @property
    def pose(self) -> HeadPose | None:
        """The habit as known now; None before the first frame."""
        return self._pose

    def update(self, state: FaceState) -> HeadPose:
        """The habit with the next frame taken into account by its time and confidence."""
        config = self._config
        if self._pose is None:
            self._pose, self._time = HeadPose.of(state), state.time
            self._base = rotation_matrix(state.rotation)
            self._unit = state.scale
            self._current = self._target = self._numbers(state)
            self._kept.extend([self._target] * round(config.first_seconds / config.sample_seconds))
            return self._pose
        # A gap counts as one slow frame: what the head did meanwhile is unknown.
        seconds = float(np.clip(state.time - self._time, 0.0, config.sample_seconds))
        self._time = state.time
        self._since_kept += seconds * state.confidence
        if self._since_kept >= config.sample_seconds:
            self._since_kept -= config.sample_seconds
            self._kept.append(self._numbers(state))
            self._target = np.median(self._kept, axis=0)
        step = (1.0 - np.exp(-seconds / config.follow_seconds)) * (self._target - self._current)
        step[:3] = _shortened(step[:3], config.turn_speed * seconds)
        step[3:] = np.clip(step[3:], -config.move_speed * seconds, config.move_speed * seconds)
        self._current = self._current + step
        turn, move, zoom, look = np.split(self._current, (3, 5, 6))
        self._pose = HeadPose(
            rotation_vector(self._base @ rotation_matrix(turn)).astype(np.float32),
            (self._unit * move).astype(np.float32),
            self._unit * float(np.exp(zoom[0])),
            look.astype(np.float32),
        )
        return self._pose

    def _numbers(self, state: FaceState) -> NDArray[np.float64]:
        """(8,) the state's turn away from the first frame, place, zoom and gaze, to take medians of."""
        turn = rotation_vector(self._base.T @ rotation_matrix(state.rotation))
        zoom = np.log(state.scale / self._unit)
        return np.concatenate((turn, state.translation / self._unit, (zoom,), state.gaze)).astype(np.float64)


def _shortened(vector: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector if length <= limit else vector * (limit / length)


def relative_motion(source: FaceState, reference: HeadPose, driving: FaceState) -> FaceState:
    """The source's head, moved by as much as the driver's is away from `reference`, its habitual pose.

    The head turns about its own axes, shifts in proportion to its size, grows by the same ratio and looks as far aside.
    The expression is the driver's: coefficients count from each person's own neutral face, so adding them to the
    source's would double a smile that the picture already shows. With `driving` in its habitual pose and with the
    source's expression, the result is the source. Raises ValueError where the two have different numbers of
    coefficients.
    """
    _check_same_model(source, driving)
    own = rotation_matrix(source.rotation)
    turn = rotation_matrix(reference.rotation).T @ rotation_matrix(driving.rotation)
    ratio = source.scale / reference.scale
    return replace(
        driving,
        rotation=rotation_vector(own @ turn).astype(np.float32),
        translation=source.translation + ratio * (driving.translation - reference.translation),
        scale=source.scale * (driving.scale / reference.scale),
        gaze=source.gaze + (driving.gaze - reference.gaze),
    )


def absolute_motion(source: FaceState, driving: FaceState) -> FaceState:
    """The driver's own pose and place, for a source that is meant to stand where the driver does.

    A clip driven by its own first frame so lines up with itself. Raises ValueError where the two have different numbers
    of coefficients.
    """
    _check_same_model(source, driving)
    return driving


def _check_same_model(source: FaceState, driving: FaceState) -> None:
    if source.expression.size != driving.expression.size:
        raise ValueError(
            f"driving: {driving.expression.size} expression coefficients, the source has {source.expression.size}; "
            "both have to be fitted with the same face model"
        )
