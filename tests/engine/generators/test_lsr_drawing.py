"""What LSR's networks see of a face."""

import numpy as np
import pytest

from engine.generators.lsr_drawing import LINES, draw_contours


def test_every_point_is_on_a_line_once():
    assert [number for numbers, _ in LINES for number in numbers] == list(range(68))


@pytest.mark.parametrize("size", [128, 224])
def test_a_line_has_its_colour_and_width_where_its_points_are(size):
    points = np.full((68, 2), 5.0, np.float32)  # outside
    points[:17] = np.linspace((-0.4, 0.2), (0.4, 0.2), 17)
    drawn = draw_contours(points, size).astype(float)
    assert drawn.shape == (size, size, 3)
    row, middle = int(0.7 * size), size // 2
    assert drawn[row, middle].tolist() == pytest.approx([0, 128, 0], abs=40)
    # 2 points at 100 dots an inch, on 224 pixels.
    assert drawn[:, middle, 1].sum() / 128 == pytest.approx(2.78 * size / 224, rel=0.12)
    assert not drawn[:, :, (0, 2)].any()
    lit = np.flatnonzero(drawn[row, :, 1] > 60)
    assert (lit[0], lit[-1]) == pytest.approx((0.1 * size, 0.9 * size), abs=2)


def test_eyes_and_lips_are_open():
    points = np.full((68, 2), 5.0, np.float32)
    points[36:42] = ((-0.3, 0.0), (-0.2, -0.1), (-0.1, -0.1), (0.0, 0.0), (-0.1, 0.3), (-0.2, 0.3))
    drawn = draw_contours(points, 128)
    assert drawn[..., 0].max() == 255
    assert not drawn[80:96, 26:36].any()  # from the last point back to the first there is nothing


def test_points_far_outside_do_no_harm():
    points = np.full((68, 2), 1e9, np.float32)
    points[::2] = -1e9
    assert draw_contours(points, 64).shape == (64, 64, 3)
