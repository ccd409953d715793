"""Teeth keep their shape, lips meet over them, and a closed source opens over a dark inside."""

import cv2
import numpy as np
import pytest

from engine.face.regions import INNER_LOWER_LIP, INNER_UPPER_LIP
from engine.generators.mesh import MeshGenerator
from engine.generators.mouth import CONTOUR, close_lips, lip_gap
from engine.motion import to_pixels

SIZE = 256
OPEN, WIDE = 0.07, 0.12


@pytest.fixture(scope="module")
def generator():
    return MeshGenerator(SIZE)


@pytest.fixture(scope="module")
def smiling(generator, head, drawn, with_open_mouth):
    """Identity of a source whose mouth is open and shows its upper teeth."""
    frame = drawn(head.person, head.state, opened=OPEN)
    return generator.encode(frame[None], with_open_mouth(head.landmarks, OPEN)[None])


def mouth(frame, landmarks):
    """Pixels and mask within the inner contour of the lips."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, [np.rint(to_pixels(landmarks[list(CONTOUR), :2], SIZE, SIZE)).astype(np.int32)], 1)
    return frame.astype(int), mask > 0


def enamel_rows(frame, landmarks):
    """Height of the teeth in the middle column of the mouth, in pixels."""
    x = round(float(to_pixels(landmarks[13, :2], SIZE, SIZE)[0]))
    pixels, mask = mouth(frame, landmarks)
    return int(((pixels[:, x].min(axis=1) > 170) & mask[:, x]).sum())


def test_teeth_do_not_stretch_when_the_mouth_opens(generator, smiling, head, with_open_mouth):
    heights = []
    for opened in (OPEN, WIDE):
        driving = with_open_mouth(head.landmarks, opened)
        heights.append(enamel_rows(generator.render(smiling, {"landmarks": driving[None]})[0], driving))
    assert heights[0] >= 3
    assert abs(heights[1] - heights[0]) <= 1


def test_lips_close_over_the_teeth(generator, smiling, head, with_open_mouth):
    driving = head.landmarks.copy()
    driving[list(INNER_LOWER_LIP)] = driving[list(INNER_UPPER_LIP[1:-1])]
    closed = generator.render(smiling, {"landmarks": driving[None]})[0]
    opened = generator.render(smiling, {"landmarks": with_open_mouth(head.landmarks, OPEN)[None]})[0]
    x, y = np.rint(to_pixels(driving[13, :2], SIZE, SIZE)).astype(int)

    def enamel(frame):
        return int((frame[y - 5 : y + 12, x - 22 : x + 23].min(axis=2) > 170).sum())

    assert enamel(opened) > 80
    assert enamel(closed) < 0.1 * enamel(opened)  # specks in the corners


def test_a_closed_source_opens_over_a_dark_inside(generator, head, with_open_mouth):
    identity = generator.encode(head.frame[None], head.landmarks[None])
    driving = with_open_mouth(head.landmarks, WIDE)
    pixels, mask = mouth(generator.render(identity, {"landmarks": driving[None]})[0], driving)
    lips = np.array((170, 80, 80))
    inside = pixels[cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0]
    assert (inside.mean(axis=1) < 0.75 * lips.mean()).mean() > 0.3
    # It has structure: teeth above are lighter than the cavity.
    light = inside.mean(axis=1)
    assert np.percentile(light, 95) > np.percentile(light, 20) + 25


def test_overlapping_lips_are_made_to_meet(head):
    overlapping = head.landmarks.copy()
    overlapping[list(INNER_UPPER_LIP[1:-1]), 1] += 0.02
    assert lip_gap(overlapping) < 0
    met = close_lips(overlapping)
    np.testing.assert_allclose(met[list(INNER_UPPER_LIP[1:-1]), :2], met[list(INNER_LOWER_LIP), :2], atol=2e-3)


def test_gap_of_the_lips_grows_with_the_opening(head, with_open_mouth):
    gaps = [lip_gap(with_open_mouth(head.landmarks, by)) for by in (0.0, 0.03, 0.06)]
    assert gaps[0] == pytest.approx(0.0, abs=0.02)
    assert gaps[0] < gaps[1] < gaps[2]
