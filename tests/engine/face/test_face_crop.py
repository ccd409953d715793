"""The face out of a frame, and back."""

import numpy as np
import pytest

from engine.face.face_crop import PasteConfig, cut_face, paste_face
from engine.face.landmarks131 import face_boxes, in_box
from engine.face.model import FaceModel

SIZE = 256


@pytest.fixture(scope="module")
def place():
    landmarks = 0.3 * FaceModel.load().mean
    box = face_boxes(landmarks, SIZE, SIZE)
    return in_box(landmarks, box, SIZE, SIZE), box


@pytest.fixture(scope="module")
def frame():
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def test_what_was_cut_at_its_own_size_is_pasted_as_it_was(frame, place):
    points, _ = place
    box = np.array((60, 80, 188, 208), np.int32)
    face = cut_face(frame, box, 128)
    np.testing.assert_array_equal(face, frame[80:208, 60:188])
    np.testing.assert_array_equal(paste_face(frame, face, points, box), frame)


def test_pasted_inside_the_hull_alone_with_a_soft_border(frame, place):
    points, box = place
    white = np.full((128, 128, 3), 255, np.uint8)
    black = np.zeros_like(frame)
    alpha = paste_face(black, white, points, box)[..., 0]
    left, top, right, bottom = box
    assert not alpha[:top].any()
    assert not alpha[:, right:].any()
    assert alpha[(top + bottom) // 2, (left + right) // 2] == 255
    assert alpha[top, left] < 10
    row = alpha[(top + bottom) // 2].astype(int)
    assert np.abs(np.diff(row)).max() < 60
    hard = paste_face(black, white, points, box, PasteConfig(feather=0.0))[..., 0]
    assert set(np.unique(hard[(top + bottom) // 2]).tolist()) <= {0, *range(1, 256)}
    assert (hard > 0).sum() == pytest.approx((alpha > 127).sum(), rel=0.1)
    assert not black.any()


def test_faces_need_not_be_square(frame):
    box = np.array((10, 20, 60, 120), np.int32)
    assert cut_face(frame, box, 96).shape == (96, 96, 3)
