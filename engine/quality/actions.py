"""Which facial actions a face shows, by measures of its landmarks against the person's neutral face (for AUCON)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.fit import check_landmarks, lid_gaps, observed_face, pose_of
from engine.face.model import Person
from engine.face.regions import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_BROW,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    RIGHT_BROW,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)
from engine.motion import FaceState

RIGHT_CORNER, LEFT_CORNER = 61, 291
"Of the mouth."
_LIP_MIDDLE = (*INNER_UPPER_LIP[3:8], *INNER_LOWER_LIP[2:7])
_EYE_CORNERS = (RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER)


@dataclass(frozen=True)
class ActionThresholds:
    """From where on an action counts as shown."""

    eye_closed: float = 0.5
    "Lid gap as a share of the neutral one, below."
    lips_parted: float = 0.07
    "Gap of the inner lips, head units, above."
    mouth_open: float = 0.15
    "The same."
    corners_apart: float = 1.08
    "Distance of the mouth's corners as a share of the neutral one, above."
    corners_together: float = 0.94
    "The same, below."
    corners_moved: float = 0.02
    "How far the corners are above or below where they are in the neutral face, relative to the lips' middle."
    brows_moved: float = 0.025
    "How far the brows are above or below where they are in the neutral face, head units."


ACTIONS = (
    "right eye closed",
    "left eye closed",
    "lips parted",
    "mouth open",
    "lips stretched",
    "lips puckered",
    "mouth corners raised",
    "mouth corners lowered",
    "brows raised",
    "brows lowered",
)
"What `facial_actions` tells, in this order; they resemble FACS 45, 45, 25, 26, 20, 18, 12, 15, 1+2 and 4."


def facial_actions(
    person: Person,
    state: FaceState,
    landmarks: NDArray[np.floating],
    thresholds: ActionThresholds = ActionThresholds(),
) -> NDArray[np.bool_]:
    """(10,) which of ACTIONS are shown.

    person, state: the fit of `landmarks`, (478, 3) frame coordinates. Raises FitError for other landmarks.
    """
    points = check_landmarks(landmarks)
    expression = state.expression.astype(np.float64)
    # Depth from the fit alone: the detector's is the weaker guess, and has another origin than the state.
    face = observed_face(person.neutral, person.model, pose_of(state), expression, points, depth_trust=0.0)
    neutral = person.neutral.astype(np.float64)
    lids = lid_gaps(face[:, :2]) / np.maximum(lid_gaps(neutral[:, :2]), 1e-3)
    gap = _lip_gap(face)
    width = _corner_distance(face) / _corner_distance(neutral)
    corners = _corner_height(face) - _corner_height(neutral)
    brows = _brow_height(face) - _brow_height(neutral)
    limit = thresholds
    return np.array(
        (
            lids[0] < limit.eye_closed,
            lids[1] < limit.eye_closed,
            gap > limit.lips_parted,
            gap > limit.mouth_open,
            width > limit.corners_apart,
            width < limit.corners_together,
            corners > limit.corners_moved,
            corners < -limit.corners_moved,
            brows > limit.brows_moved,
            brows < -limit.brows_moved,
        ),
        np.bool_,
    )


def action_agreement(rendered: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """AUCON of one frame: share of the actions that are shown in both or in neither, 0 to 1.

    Papers compare the action units that OpenFace reports; these are our own ten, so the figures are not comparable.
    """
    if rendered.shape != truth.shape:
        raise ValueError(f"{rendered.shape} actions beside {truth.shape}")
    return float((rendered == truth).mean())


def _lip_gap(face: NDArray[np.float64]) -> float:
    lower, upper = list(INNER_LOWER_LIP[3:6]), list(INNER_UPPER_LIP[4:7])
    return float(np.mean(face[lower, 1] - face[upper, 1]))


def _corner_distance(face: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(face[LEFT_CORNER] - face[RIGHT_CORNER]))


def _corner_height(face: NDArray[np.float64]) -> float:
    """Of the mouth's corners above the middle of the lips, head units."""
    return float(face[list(_LIP_MIDDLE), 1].mean() - face[[RIGHT_CORNER, LEFT_CORNER], 1].mean())


def _brow_height(face: NDArray[np.float64]) -> float:
    """Of the brows above the eyes' corners, head units."""
    return float(face[list(_EYE_CORNERS), 1].mean() - face[[*RIGHT_BROW, *LEFT_BROW], 1].mean())
