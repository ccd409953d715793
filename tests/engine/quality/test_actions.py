"""Facial actions."""

import numpy as np
import pytest

from engine.face.fit import FitError, fit_person, fit_state
from engine.face.model import FaceModel, Person
from engine.face.regions import (
    INNER_LOWER_LIP,
    LEFT_BROW,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    RIGHT_BROW,
)
from engine.motion import FaceState, from_pixels
from engine.quality import action_agreement, facial_actions
from engine.quality.actions import ACTIONS, LEFT_CORNER, RIGHT_CORNER


@pytest.fixture(scope="module")
def person() -> Person:
    return FaceModel.load().person()


def shown(person: Person, change) -> set[str]:
    """The actions of the neutral face, turned and small in the frame, after `change` of its head coordinates."""
    size = person.model.expression_size
    state = FaceState(np.array((0.1, -0.2, 0.05)), np.array((0.1, 0.0)), 0.3, np.zeros(size), np.zeros(2))
    face = person.neutral.copy()
    change(face)
    landmarks = Person(person.model, face).landmarks(state)
    return {name for name, on in zip(ACTIONS, facial_actions(person, state, landmarks), strict=True) if on}


def close_left_eye(face):
    face[list(LEFT_LOWER_LID)] = face[list(LEFT_UPPER_LID)]


def drop_jaw(face):
    face[list(INNER_LOWER_LIP), 1] += 0.3


def pucker(face):
    face[RIGHT_CORNER, 0] += 0.05
    face[LEFT_CORNER, 0] -= 0.05


def raise_corners(face):
    face[[RIGHT_CORNER, LEFT_CORNER], 1] -= 0.05


def raise_brows(face):
    face[[*RIGHT_BROW, *LEFT_BROW], 1] -= 0.05


def lower_brows(face):
    face[[*RIGHT_BROW, *LEFT_BROW], 1] += 0.04


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda face: None, set()),
        (close_left_eye, {"left eye closed"}),
        (drop_jaw, {"lips parted", "mouth open", "mouth corners raised"}),  # the lips' middle goes down
        (pucker, {"lips puckered"}),
        (raise_corners, {"mouth corners raised"}),
        (raise_brows, {"brows raised"}),
        (lower_brows, {"brows lowered"}),
    ],
    ids=["neutral", "wink", "jaw", "pucker", "corners", "brows up", "brows down"],
)
def test_each_action_shows_by_its_own_points(person, change, expected):
    assert shown(person, change) == expected


def test_agreement_counts_what_is_shown_in_neither():
    one, other = np.zeros(10, np.bool_), np.zeros(10, np.bool_)
    other[3] = True
    assert action_agreement(one, one) == 1.0
    assert action_agreement(one, other) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="actions beside"):
        action_agreement(one, other[:4])


def test_landmarks_that_are_none_are_refused(person):
    state = FaceState(np.zeros(3), np.zeros(2), 0.3, np.zeros(person.model.expression_size), np.zeros(2))
    with pytest.raises(FitError, match="478"):
        facial_actions(person, state, np.zeros((68, 3)))


@pytest.mark.data
def test_actions_of_a_real_clip_follow_its_measured_mouth_and_lids(data_pack):
    model = FaceModel.load()
    points = [from_pixels(frame * 256, 256, 256) for frame in data_pack.landmarks("p97_01")[::6]]
    with np.load(data_pack.root / "landmarks" / "p97_01.npz") as archive:
        mouth, eyes = archive["mouth"][::6].astype(float), archive["eyes"][::6].astype(float)
    person = fit_person(model, points)
    actions = np.array([facial_actions(person, fit_state(model, person, frame), frame) for frame in points])
    on = dict(zip(ACTIONS, actions.T, strict=True))
    assert 0 < on["mouth open"].sum() < len(points)
    assert mouth[on["mouth open"]].min() > mouth[~on["mouth open"]].mean()
    for name, gap in (("right eye closed", eyes[:, 0]), ("left eye closed", eyes[:, 1])):
        if on[name].any():
            assert gap[on[name]].mean() < gap[~on[name]].mean()
