"""Faces to test with: known states of the shipped model, and the public-domain portrait that scikit-image carries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.face.model import FaceModel
from engine.motion import FaceState


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """(512, 512, 3) RGB, one face."""
    data = pytest.importorskip("skimage.data", reason="the portrait comes with scikit-image (extra: bench)")
    image: NDArray[np.uint8] = data.astronaut()
    return image


@pytest.fixture
def make_state(model):
    """A state of the model from what matters to a test."""

    def make(rotation=(0, 0, 0), expression=None, gaze=(0, 0), translation=(0, 0), scale=0.3, time=0.0) -> FaceState:
        if expression is None:
            expression = np.zeros(model.expression_size)
        return FaceState(
            np.asarray(rotation, np.float32),
            np.asarray(translation, np.float32),
            scale,
            np.asarray(expression, np.float32),
            np.asarray(gaze, np.float32),
            time,
        )

    return make
