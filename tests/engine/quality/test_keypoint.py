"""Distances between landmarks."""

import numpy as np
import pytest

from engine.face.model import FaceModel
from engine.quality import average_keypoint_distance


def test_shifted_face():
    truth = FaceModel.load().mean
    eyes = np.linalg.norm(truth[33, :2] - truth[263, :2])
    shifted = truth + np.float32((0.03, 0.04, 7.0)) * eyes  # depth does not count
    assert average_keypoint_distance(shifted, truth) == pytest.approx(0.05, rel=1e-4)


def test_wrong_number_of_landmarks_is_refused():
    with pytest.raises(ValueError, match="478"):
        average_keypoint_distance(np.zeros((68, 2), np.float32), np.zeros((68, 2), np.float32))
