"""Filling what is not known."""

import numpy as np

from engine.generators.inpainting import fill


def test_known_pixels_stay_and_holes_take_colours_from_around():
    image = np.zeros((40, 60, 3), np.float32)
    image[:, :30] = (200, 10, 10)
    image[:, 30:] = (10, 200, 10)
    known = np.ones((40, 60), np.float32)
    known[10:30, 5:25] = 0
    damaged = image.copy()
    damaged[known == 0] = (0, 0, 255)
    filled = fill(damaged, known)
    np.testing.assert_allclose(filled[known == 1], image[known == 1], atol=1e-3)
    assert np.abs(filled[known == 0] - (200, 10, 10)).max() < 40  # a little of the green side, nothing of the blue
    assert filled[known == 0][:, 2].max() < 11


def test_without_anything_known_the_result_is_black():
    assert (fill(np.full((9, 7, 3), 99.0, np.float32), np.zeros((9, 7), np.float32)) == 0).all()
