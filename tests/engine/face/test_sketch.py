"""What is drawn of 131 points."""

import cv2
import numpy as np
import pytest

from engine.face.landmarks131 import LANDMARKS_131, POSE, face_boxes, in_box
from engine.face.model import FaceModel
from engine.face.sketch import CONNECTIONS, SketchConfig, draw_sketch

SQUARE = np.array((0, 0, 100, 100), np.int32)
LEVEL = np.float32(224 / 255)


@pytest.fixture(scope="module")
def face():
    landmarks = 0.3 * FaceModel.load().mean
    box = face_boxes(landmarks, 256, 256)
    return in_box(landmarks, box, 256, 256), box


def only(*shown):
    """Points of which all but these (index, x, y) are outside."""
    points = np.full((131, 2), -1.0, np.float32)
    for index, x, y in shown:
        points[LANDMARKS_131.index(index)] = x, y
    return points


def test_125_lines_of_which_rings_are_closed():
    assert len(CONNECTIONS) == len({frozenset(line) for line in CONNECTIONS}) == 125
    ends = np.bincount(np.array(CONNECTIONS).ravel(), minlength=131)
    assert (ends[len(POSE) + 17 :] == 2).all()  # lips
    assert (ends[42:74] == 2).all()  # eyes
    outline = (*range(4), *range(74, 91), *range(4, 8))
    assert [int(ends[k]) for k in outline] == [1, *[2] * 23, 1]
    assert ends[LANDMARKS_131.index(4)] == 3  # the tip of the nose
    assert ends.min() == 1


def test_a_line_is_one_pixel_wide_from_pixel_to_pixel():
    drawn = draw_sketch(only((61, 0.10, 0.5), (185, 0.299, 0.5)), SQUARE, 128)
    assert drawn.dtype == np.float32
    rows, columns = np.nonzero(drawn)
    assert set(rows) == {64}
    assert (columns.min(), columns.max()) == (12, 38)  # floor(0.1 * 128), floor(0.299 * 128)
    np.testing.assert_allclose(np.unique(drawn), (0.0, LEVEL), atol=1e-7)


def test_points_outside_vanish_with_their_lines_and_edges_are_inside():
    assert not draw_sketch(only((61, 0.5, 0.5), (185, 1.001, 0.5)), SQUARE, 128).any()
    drawn = draw_sketch(only((61, 0.5, 0.5), (185, 1.0, 0.5)), SQUARE, 128)
    assert np.nonzero(drawn[64])[0].max() == 127
    assert not draw_sketch(only((61, 0.5, 0.5), (185, np.nan, 0.5)), SQUARE, 128).any()


def test_drawn_in_the_shape_of_the_box_then_made_square():
    box = np.array((0, 0, 50, 100), np.int32)
    points = only((61, 0.5, 0.25), (185, 0.5, 0.75))
    canvas = np.zeros((256, 128), np.float32)
    canvas[64:193, 64] = 224
    expected = cv2.resize(canvas, (128, 128)) / 255
    np.testing.assert_allclose(draw_sketch(points, box, 128), expected, atol=1e-6)


def test_smooth_lines_show_a_tenth_of_a_pixel(face):
    points, box = face
    moved = points + np.float32(0.1 / 96)
    plain, smooth = SketchConfig(), SketchConfig(smooth=True)
    change = {
        config: np.abs(draw_sketch(moved, box, 96, config) - draw_sketch(points, box, 96, config)).mean()
        for config in (plain, smooth)
    }
    assert change[smooth] > 0
    first, second = (draw_sketch(points, box, 96, config) for config in (plain, smooth))
    assert 0.5 < first.sum() / second.sum() < 2
    assert second.max() == pytest.approx(LEVEL, abs=0.01)
    # About where the plain lines are.
    near = cv2.dilate(first, np.ones((5, 5)))
    assert second[near == 0].max() < 0.05


def test_wrong_points_are_named(face):
    with pytest.raises(ValueError, match=r"expected \(131, 2\)"):
        draw_sketch(np.zeros((68, 2), np.float32), SQUARE, 128)
