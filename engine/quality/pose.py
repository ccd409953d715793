"""How far the rendered head's direction and expression are from what they should be, by fits of the face model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from engine.motion import FaceState, rotation_matrix, rotation_vector


def head_angles(state: FaceState) -> NDArray[np.float64]:
    """(3,) pitch, yaw and roll in degrees: the head turned by roll, then pitch, then yaw about the fixed axes.

    Positive pitch lowers the nose, positive yaw turns it to the picture's right, positive roll turns the head
    counter-clockwise as seen.
    """
    m = rotation_matrix(state.rotation)
    # R = Ry(-yaw) Rx(pitch) Rz(-roll), with x right, y down and z away from the camera.
    forward = -m[:, 2]
    yaw = np.arctan2(forward[0], -forward[2])
    pitch = np.arcsin(np.clip(forward[1], -1.0, 1.0))
    roll = -np.arctan2(m[1, 0], m[1, 1])
    return np.asarray(np.degrees((pitch, yaw, roll)), np.float64)


def head_angle_error(rendered: FaceState, truth: FaceState) -> float:
    """Mean square difference of the three head angles in one frame, square degrees."""
    difference = (head_angles(rendered) - head_angles(truth) + 180.0) % 360.0 - 180.0
    return float(np.square(difference).mean())


def head_pose_rmse(pairs: Iterable[tuple[FaceState, FaceState]]) -> float:
    """PRMSE: root mean square difference of the head angles over frames, degrees; NaN without a frame.

    pairs: rendered and true state. Papers take the angles from OpenFace, we from fits of our face model.
    """
    squares = [head_angle_error(rendered, truth) for rendered, truth in pairs]
    return float(np.sqrt(np.mean(squares))) if squares else float("nan")


def expression_distance(rendered: FaceState, intended: FaceState) -> float:
    """How far two expressions move the face apart: weighted RMS over the landmarks, in eye corners' distances.

    Both states are fits of the same person or of what that person was meant to do; the expression basis is orthonormal
    under the face model's metric, so this is the distance of the coefficients. Raises ValueError for two models.
    """
    if rendered.expression.size != intended.expression.size:
        raise ValueError(f"{rendered.expression.size} expression coefficients beside {intended.expression.size}")
    return float(np.linalg.norm(rendered.expression.astype(np.float64) - intended.expression))


def turn_between(state: FaceState, other: FaceState) -> float:
    """The angle by which one head is turned away from the other, about whatever axis, degrees."""
    relative = rotation_matrix(state.rotation).T @ rotation_matrix(other.rotation)
    return float(np.degrees(np.linalg.norm(rotation_vector(relative))))
