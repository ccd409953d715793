"""What crosses the wire: the motion of a face in one frame.

Conventions that hold everywhere in the project:

- *Frame coordinates*: x to the right, y down, z away from the camera. The origin is the centre of the frame and the unit
  is the frame's shorter side, so that a square frame spans [-0.5, 0.5] in x and y (`to_pixels`, `from_pixels`).
- *Head coordinates*: those of the linear face model (`engine.face.model`): the same axes for a head that looks straight
  into the camera, origin inside the head, unit = the distance between the outer eye corners of the mean face.
- *Times* are seconds on the sender's media clock (the clock of the audio samples where there is a voice).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

EXPRESSION_SIZE_LIMIT = 128
"More coefficients than any face model of ours has: the bound for what is accepted from outside."


def as_vector(values: Any, size: int | None, name: str) -> Array:
    """A private, read-only float32 copy of a 1-D array; ValueError says which field is not finite or has the wrong length."""
    vector = np.array(values, dtype=np.float32)
    if vector.ndim != 1 or (size is not None and vector.size != size):
        raise ValueError(f"{name}: expected {size if size is not None else 'a vector of'} numbers, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name}: holds values that are not finite")
    vector.flags.writeable = False
    return vector


@dataclass(frozen=True, eq=False)
class FaceState:
    """Pose and expression of one face in one frame, under scaled orthographic projection.

    A model vertex v (head coordinates, expression applied) appears at `scale * (R v)[:2] + translation` in frame coordinates.
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
        object.__setattr__(self, "rotation", as_vector(self.rotation, 3, "rotation"))
        object.__setattr__(self, "translation", as_vector(self.translation, 2, "translation"))
        object.__setattr__(self, "expression", as_vector(self.expression, None, "expression"))
        object.__setattr__(self, "gaze", as_vector(self.gaze, 2, "gaze"))
        if self.expression.size > EXPRESSION_SIZE_LIMIT:
            raise ValueError(f"expression: {self.expression.size} coefficients, at most {EXPRESSION_SIZE_LIMIT} are accepted")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: expected a positive number, got {self.scale}")
        if not np.isfinite(self.time):
            raise ValueError("time: not finite")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence: expected 0 to 1, got {self.confidence}")


def from_pixels(points_px: Array, width: int, height: int) -> Array:
    """(..., 2 or 3) pixel positions (0, 0 at the outer corner of the first pixel) to frame coordinates. z has the scale of x."""
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
