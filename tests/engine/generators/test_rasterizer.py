"""Scan conversion against a test of every pixel against every triangle."""

import numpy as np
import pytest

from engine.generators.rasterizer import Rasterized, rasterize


def inside_last(points: np.ndarray, triangles: np.ndarray, width: int, height: int) -> np.ndarray:
    """The reference: edge functions at each pixel's centre, strictly inside, the last triangle wins."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    shown = np.full((height, width), -1)
    for number, triangle in enumerate(triangles):
        a, b, c = points[triangle].astype(np.float64)
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        shown[(np.min(sides, axis=0) > 0) | (np.max(sides, axis=0) < 0)] = number
    return shown


@pytest.mark.parametrize("size", [(17, 31), (64, 40)], ids=str)
def test_equals_brute_force(size):
    width, height = size
    rng = np.random.default_rng(width)
    # Both windings, slivers, and triangles that reach far beyond the frame.
    points = rng.uniform(-0.5, 1.5, (60, 2)).astype(np.float32) * size
    triangles = rng.integers(0, 60, (80, 3)).astype(np.int32)
    triangles = triangles[[len(set(t)) == 3 for t in triangles.tolist()]]
    assert np.array_equal(rasterize(points, triangles, width, height), inside_last(points, triangles, width, height))


def test_later_triangles_hide_earlier_ones():
    points = np.array(((0, 0), (20, 0), (0, 20), (10, 10)), np.float32)
    triangles = np.array(((0, 1, 2), (0, 1, 3)), np.int32)
    assert rasterize(points, triangles, 20, 20)[1, 10] == 1
    assert rasterize(points, triangles[::-1], 20, 20)[1, 10] == 1  # what was first is number 1 now, and painted last
    assert rasterize(points, triangles, 20, 20)[15, 2] == 0


def test_neighbours_share_no_pixel_and_leave_none():
    """A grid of triangles with corners exactly on pixel centres covers a rectangle once."""
    x, y = np.meshgrid(np.linspace(2.5, 28.5, 9), np.linspace(1.5, 21.5, 7))
    points = np.stack((x.ravel(), y.ravel()), axis=1).astype(np.float32)
    quads = [(r * 9 + c, r * 9 + c + 1, r * 9 + c + 9, r * 9 + c + 10) for r in range(6) for c in range(8)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (b, d, c))], np.int32)
    each = [rasterize(points, triangle[None], 32, 24) >= 0 for triangle in triangles]
    covered = np.sum(each, axis=0)
    assert covered.max() == 1
    assert covered[1:21, 2:28].min() == 1
    assert covered.sum() == 20 * 26


def test_degenerate_and_empty_meshes_show_nothing():
    points = np.array(((1, 1), (9, 9), (5, 5)), np.float32)
    assert (rasterize(points, np.array(((0, 1, 2),), np.int32), 10, 10) == -1).all()
    assert (rasterize(points, np.zeros((0, 3), np.int32), 10, 10) == -1).all()


def test_values_are_linear_over_the_mesh():
    rng = np.random.default_rng(0)
    points = np.array(((-5, -5), (45, -5), (-5, 45), (45, 45), (20, 18)), np.float32)
    triangles = np.array(((0, 1, 4), (1, 3, 4), (3, 2, 4), (2, 0, 4)), np.int32)
    slopes = rng.normal(size=(2, 3)).astype(np.float32)
    drawn = Rasterized(points, triangles, rng.permutation(4), 40, 32)
    x, y = np.meshgrid(np.arange(40) + 0.5, np.arange(32) + 0.5)
    expected = [x * slopes[0, c] + y * slopes[1, c] + c for c in range(3)]
    values = points @ slopes + np.arange(3, dtype=np.float32)
    np.testing.assert_allclose(drawn.everywhere(values, outside=-1.0), expected, atol=1e-3)
    rows, columns = np.array((0, 9, 31)), np.array((3, 39, 20))
    np.testing.assert_allclose(drawn.at(values, rows, columns).T, [e[rows, columns] for e in expected], atol=1e-3)


def test_pixels_without_a_triangle_get_the_outside_value():
    drawn = Rasterized(
        np.array(((0, 0), (4, 0), (0, 4)), np.float32), np.array(((0, 1, 2),), np.int32), np.arange(1), 8, 8
    )
    (plane,) = drawn.everywhere(np.ones((3, 1), np.float32), outside=-9.0)
    assert plane[0, 0] == pytest.approx(1.0)
    assert plane[7, 7] == -9.0
