"""Distances between landmarks."""

import numpy as np
import pytest

from engine.face.model import FaceModel
from engine.face.regions import FACE_OVAL
from engine.quality import average_keypoint_distance, normalised_mean_keypoint_error


def test_shifted_face():
    truth = FaceModel.load().mean
    eyes = np.linalg.norm(truth[33, :2] - truth[263, :2])
    shifted = truth + np.float32((0.03, 0.04, 7.0)) * eyes  # depth does not count
    assert average_keypoint_distance(shifted, truth) == pytest.approx(0.05, rel=1e-4)


def test_nmke_counts_in_sizes_of_the_true_face_and_leaves_out_what_is_not_on_a_contour():
    truth = FaceModel.load().mean[:, :2].copy()
    truth[:, 0] *= 4.0
    moved = truth + np.float32((0.03, 0.04))
    moved[[1, 4]] += 9.0  # the nose's tip
    width, height = np.ptp(truth[list(FACE_OVAL)], axis=0)  # the oval surrounds the other contours
    expected = 0.05 / np.sqrt(width * height)
    assert normalised_mean_keypoint_error(moved, truth) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("metric", [average_keypoint_distance, normalised_mean_keypoint_error])
def test_wrong_number_of_landmarks_is_refused(metric):
    with pytest.raises(ValueError, match="478"):
        metric(np.zeros((68, 2), np.float32), np.zeros((68, 2), np.float32))
