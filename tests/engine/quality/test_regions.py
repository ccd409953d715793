"""Boxes around mouth and eyes, and the rest."""

import numpy as np
import pytest

from engine.face.model import FaceModel
from engine.face.regions import LIPS, RIGHT_EYE
from engine.motion import to_pixels
from engine.quality import FaceRegions, l1

SIZE = 128


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    return FaceModel.load().mean * np.float32(0.3)


def inside(box: tuple[slice, slice], points_px: np.ndarray) -> bool:
    rows, columns = box
    return bool(
        (points_px[:, 0] > columns.start).all()
        and (points_px[:, 0] < columns.stop).all()
        and (points_px[:, 1] > rows.start).all()
        and (points_px[:, 1] < rows.stop).all()
    )


def test_boxes_surround_what_they_are_named_for(landmarks):
    regions, points = FaceRegions.of(landmarks, SIZE), to_pixels(landmarks[:, :2], SIZE, SIZE)
    assert inside(regions.mouth, points[list(LIPS)])
    assert inside(regions.eyes, points[list(RIGHT_EYE)])
    assert regions.eyes[0].stop < regions.mouth[0].start  # the eyes are above


def test_an_error_counts_where_it_is(landmarks):
    regions = FaceRegions.of(landmarks, SIZE)
    truth = np.zeros((SIZE, SIZE, 3), np.uint8)
    in_mouth, outside = truth.copy(), truth.copy()
    in_mouth[regions.mouth] = 51
    outside[0, 0] = 255
    assert regions.l1(in_mouth, truth) == {"mouth": pytest.approx(0.2), "eyes": 0.0, "rest": 0.0}
    found = regions.l1(outside, truth)
    assert (found["mouth"], found["eyes"]) == (0.0, 0.0)
    areas = [np.zeros((SIZE, SIZE))[box].size for box in (regions.mouth, regions.eyes)]
    assert found["rest"] * (SIZE**2 - sum(areas)) == pytest.approx(l1(outside, truth) * SIZE**2)


def test_box_of_a_face_at_the_edge_stays_in_the_frame(landmarks):
    regions = FaceRegions.of(landmarks + np.float32((2.0, 0.0, 0.0)), SIZE)
    found = regions.l1(np.full((SIZE, SIZE, 3), 51, np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8))
    assert found == {name: pytest.approx(0.2) for name in ("mouth", "eyes", "rest")}
