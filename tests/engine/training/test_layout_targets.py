"""Layouts of a drawn head."""

import numpy as np
import pytest

from engine.face.model import FaceModel
from engine.motion import FaceState, to_pixels
from engine.training.layout_targets import (
    BACKGROUND,
    CLOTH,
    COUNT,
    HAIR,
    LEFT_EYE_CLASS,
    MOUTH,
    NECK,
    NOSE,
    RIGHT_BROW_CLASS,
    RIGHT_EYE_CLASS,
    SKIN,
    layout_target,
    mirrored_layout,
)

SIZE = 128


@pytest.fixture(scope="module")
def landmarks():
    model = FaceModel.load()
    state = FaceState(np.zeros(3), np.zeros(2), 0.28, np.zeros(model.expression_size), np.zeros(2))
    points = model.person().landmarks(state).astype(np.float32)
    points[[14, 87, 317, 178, 402, 88, 318, 95, 324], 1] += 0.05  # an open mouth
    return points


def at(classes, landmarks, *numbers):
    """The class in the middle between some points."""
    x, y = to_pixels(landmarks, SIZE, SIZE)[list(numbers), :2].mean(axis=0)
    return classes[int(y), int(x)]


def test_parts_are_where_their_landmarks_are(landmarks):
    classes = layout_target(landmarks, None, SIZE)
    assert classes.shape == (SIZE, SIZE)
    assert classes.max() < COUNT
    assert at(classes, landmarks, 159, 145) == RIGHT_EYE_CLASS
    assert at(classes, landmarks, 386, 374) == LEFT_EYE_CLASS
    assert at(classes, landmarks, 105, 52) == RIGHT_BROW_CLASS
    assert at(classes, landmarks, 4) == NOSE
    assert at(classes, landmarks, 13, 14) == MOUTH
    assert at(classes, landmarks, 205) == SKIN
    assert classes[0, 0] == classes[-1, -1] == classes[-1, 64] == BACKGROUND


def test_the_rest_of_the_person_is_hair_neck_and_cloth(landmarks):
    matte = np.zeros((SIZE, SIZE), np.float32)
    matte[20:, 30:98] = 1.0
    classes = layout_target(landmarks, matte, SIZE)
    assert classes[22, 64] == HAIR
    assert classes[-1, 32] == CLOTH
    x, y = to_pixels(landmarks, SIZE, SIZE)[152, :2]
    assert classes[int(y) + 4, int(x)] == NECK
    assert classes[0, 64] == BACKGROUND
    assert at(classes, landmarks, 205) == SKIN


def test_the_mirror_image_has_its_own_left_and_right(landmarks):
    classes = layout_target(landmarks, None, SIZE)
    mirrored = mirrored_layout(classes)
    x, y = to_pixels(landmarks, SIZE, SIZE)[[159, 145], :2].mean(axis=0)
    assert mirrored[int(y), SIZE - 1 - int(x)] == LEFT_EYE_CLASS
    np.testing.assert_array_equal(mirrored_layout(mirrored), classes)
    np.testing.assert_array_equal(mirrored == SKIN, (classes == SKIN)[:, ::-1])
