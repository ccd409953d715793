"""Lids close over the eyeball; the iris follows the gaze and keeps its shape."""

import cv2
import numpy as np
import pytest

from engine.face.regions import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from engine.generators.eyes import EYES, EyeConfig, close_lids, openness
from engine.generators.mesh import MeshGenerator
from engine.motion import to_pixels

SIZE = 256


@pytest.fixture(scope="module")
def generator():
    return MeshGenerator(SIZE)


def rendered(generator, frame, source, driving):
    identity = generator.encode(frame[None], source[None])
    return generator.render(identity, {"landmarks": driving[None]})[0]


def eye_pixels(frame, landmarks, grow=0):
    """Pixels within the contours of both eyes of these landmarks."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for contour in (RIGHT_EYE, LEFT_EYE):
        points = to_pixels(landmarks[list(contour), :2], SIZE, SIZE)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    if grow:
        mask = cv2.dilate(mask, np.ones((grow, grow), np.uint8))
    return frame[mask > 0].astype(int)


def whites(pixels):
    return (pixels.min(axis=1) > 200).sum()


def irises(pixels):
    return (pixels[:, 2] > pixels[:, 0] + 30).sum()


def test_closed_lids_cover_the_eyeball(generator, head, with_shut_eyes):
    closed = rendered(generator, head.frame, head.landmarks, with_shut_eyes(head.landmarks))
    assert whites(eye_pixels(head.frame, head.landmarks)) > 40
    # At the inner corners a dot of white may remain, as in life.
    assert whites(eye_pixels(closed, head.landmarks, grow=5)) <= 4
    assert irises(eye_pixels(closed, head.landmarks, grow=5)) == 0


def test_iris_follows_the_gaze_in_its_own_shape(generator, head, at_pose, model):
    def iris_places(gaze):
        driving = head.person.landmarks(at_pose(model, translation=(0.0, -0.02), gaze=gaze)).astype(np.float32)
        frame = rendered(generator, head.frame, head.landmarks, driving).astype(int)
        blue = frame[..., 2] > frame[..., 0] + 30
        places = []
        for iris in (RIGHT_IRIS, LEFT_IRIS):
            x, y = to_pixels(driving[iris[0], :2], SIZE, SIZE)
            window = blue[round(float(y)) - 6 : round(float(y)) + 6, round(float(x)) - 11 : round(float(x)) + 11]
            columns = np.nonzero(window)[1]
            places.append((columns.mean() + round(float(x)) - 11, columns.max() - columns.min()))
        return np.array(places)

    straight, aside = iris_places((0.0, 0.0)), iris_places((0.15, 0.0))
    eye_width = np.linalg.norm(head.points[RIGHT_EYE[0], :2] - head.points[RIGHT_EYE[8], :2])
    np.testing.assert_allclose(aside[:, 0] - straight[:, 0], 0.15 * eye_width, atol=1.2)
    np.testing.assert_allclose(aside[:, 1], straight[:, 1], atol=2)


def test_a_blinking_source_opens_plausible_eyes(generator, head, drawn, with_shut_eyes):
    blinking = drawn(head.person, head.state, closed_eyes=True)
    opened = rendered(generator, blinking, with_shut_eyes(head.landmarks), head.landmarks)
    pixels = eye_pixels(opened, head.landmarks)
    skin = np.array((205, 155, 130))
    light = pixels.mean(axis=1)
    assert (light < 90).mean() > 0.15  # iris, pupil
    assert (
        np.abs(pixels - pixels.mean(axis=1, keepdims=True)).max(axis=1) < 25
    ).mean() > 0.3  # a white is hardly coloured
    assert np.abs(pixels - skin).sum(axis=1).mean() > 60


def test_one_blinking_eye_is_taken_from_the_other(generator, head, drawn, with_shut_eyes):
    winking = head.landmarks.copy()
    winking[list(EYES[0].upper)] = with_shut_eyes(head.landmarks)[list(EYES[0].upper)]
    frame = head.frame.copy()
    right_eye = cv2.boundingRect(np.rint(head.points[list(RIGHT_EYE), :2]).astype(np.int32))
    x, y, width, height = right_eye
    frame[y - 2 : y + height + 2, x - 2 : x + width + 2] = (205, 155, 130)
    opened = rendered(generator, frame, winking, head.landmarks)
    window = opened[y : y + height, x : x + width].reshape(-1, 3).astype(int)
    assert irises(window) > 10
    assert whites(window) > 10


def test_lids_that_nearly_touch_are_made_to_touch(head, with_shut_eyes):
    config = EyeConfig()
    nearly = with_shut_eyes(head.landmarks) + 0.12 * (head.landmarks - with_shut_eyes(head.landmarks))
    assert 0 < openness(nearly, EYES[0]) < config.closed
    assert openness(close_lids(nearly, config), EYES[0]) == pytest.approx(0.0, abs=1e-3)
    assert np.array_equal(close_lids(head.landmarks, config), head.landmarks)
