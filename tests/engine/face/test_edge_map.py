"""The face as curves."""

import cv2
import numpy as np
import pytest

from engine.face.contours68 import contours_68, mirrored_contours
from engine.face.edge_map import edge_map
from engine.face.model import FaceModel
from engine.motion import to_pixels


@pytest.fixture(scope="module")
def points():
    """The mean face, 180 pixels high, in the middle of 256."""
    landmarks = FaceModel.load().mean * np.float32(0.3)
    return contours_68(to_pixels(landmarks, 256, 256))[:, :2]


def on(canvas, x, y):
    """Whether there is a curve within a pixel of the place."""
    column, row = int(x), int(y)
    return canvas[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()


def test_curves_go_through_the_points(points):
    canvas = edge_map(points, 256)
    assert canvas.shape == (256, 256)
    assert set(np.unique(canvas)) == {0, 255}
    drawn = [k for k in range(68) if k not in (27, 29, 30)]  # of the nose's bridge only the ends of its triangle
    assert all(on(canvas, *points[k]) for k in drawn)
    assert 0.01 < (canvas > 0).mean() < 0.06


def test_nothing_else_is_drawn_but_a_forehead(points):
    """Between brows and the top of the picture lies one curve, as wide as the jaw and two thirds as high."""
    canvas = edge_map(points, 256)
    middle = int(points[8, 0])
    rows = np.flatnonzero(canvas[: int(points[19, 1]) - 4, middle])
    ends = points[[0, 16], 1].mean()
    assert rows.mean() == pytest.approx(ends - (points[8, 1] - ends) * 2 / 3, abs=2)
    assert not canvas[: rows.min()].any()
    assert not canvas[int(points[8, 1]) + 2 :].any()


def test_curves_are_two_pixels_wide_and_without_gaps(points):
    canvas = edge_map(points, 256)
    jaw = canvas[int(points[8, 1]) - 8 :, int(points[7, 0]) + 1 : int(points[9, 0]) - 1]
    thickness = (jaw > 0).sum(axis=0)
    assert thickness.min() == 2
    assert thickness.max() <= 3


def test_mirror_image_of_the_face_is_the_mirror_image_of_the_map(points):
    """Within a pixel, for squares of two pixels cannot be centred on one."""
    mirrored = mirrored_contours(points - np.float32((128, 0))) + np.float32((128, 0))
    one, other = edge_map(points, 256), edge_map(mirrored, 256)[:, ::-1]
    for a, b in ((one, other), (other, one)):
        assert not a[cv2.dilate(np.ascontiguousarray(b), np.ones((3, 3), np.uint8)) == 0].any()


def test_what_is_outside_is_cut_off(points):
    moved = edge_map(points + np.float32((100, -40)), 256)
    inside = edge_map(points, 256)[40:, :156]
    np.testing.assert_array_equal(moved[:216, 100:], inside)
    assert not edge_map(points + np.float32(1000), 256).any()


def test_accidents_are_not_drawn(points):
    """A parabola through three points nearly on top of one another would shoot across the picture."""
    bent = points.copy()
    bent[20] = bent[19] + np.float32((0.3, 9.0))
    bent[21] = bent[19] + np.float32((-0.2, -4.0))
    canvas = edge_map(bent, 256)
    assert canvas[:, : int(points[17, 0]) - 12].sum() <= edge_map(points, 256)[:, : int(points[17, 0]) - 12].sum()
    assert not canvas[int(points[8, 1]) + 2 :].any()


def test_other_points_are_refused(points):
    with pytest.raises(ValueError, match=r"expected \(68, 2\) finite, got \(67, 2\)"):
        edge_map(points[:67], 256)
    with pytest.raises(ValueError, match="finite"):
        edge_map(np.full_like(points, np.nan), 256)
