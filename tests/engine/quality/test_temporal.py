"""Flicker."""

import numpy as np
import pytest

from engine.quality import flicker


def grey(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def test_a_constant_error_does_not_flicker():
    assert flicker(grey(30), grey(50), grey(100), grey(120)) == 0.0


def test_known_changes():
    assert flicker(grey(100), grey(100), grey(100), grey(151)) == pytest.approx(0.2)  # misses the motion
    assert flicker(grey(200), grey(149), grey(100), grey(151)) == pytest.approx(0.4)  # the opposite of it: no wrap


def test_pictures_of_different_size_are_refused():
    with pytest.raises(ValueError, match="one size"):
        flicker(grey(0), grey(0), grey(0), np.zeros((4, 4, 3), np.uint8))
