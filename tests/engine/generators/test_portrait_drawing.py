"""What the networks of `portrait` see of a drawing."""

import numpy as np
import pytest

from engine.generators.mesh import MeshGenerator
from engine.generators.portrait_drawing import EYE, FACE, MOUTH, PERSON, PLATE, labelled, place_grid
from engine.motion import to_pixels

SIZE = 256


@pytest.fixture(scope="module")
def mesh():
    return MeshGenerator(SIZE)


@pytest.fixture(scope="module")
def identity(mesh, head):
    return {name: value[0] for name, value in mesh.encode(head.frame[None], head.landmarks[None]).items()}


def test_the_label_says_what_a_pixel_shows(mesh, identity, head, with_open_mouth):
    landmarks = with_open_mouth(head.landmarks, 0.05)
    picture = labelled(mesh.draw(identity, landmarks))
    points = to_pixels(landmarks, SIZE, SIZE)[:, :2]
    assert picture.shape == (SIZE, SIZE, 4)

    def label_at(x, y):
        return picture[int(y), int(x), 3]

    assert label_at(*(points[13] + points[14]) / 2) == MOUTH
    assert label_at(*(points[159] + points[145]) / 2) == EYE
    assert label_at(*points[1]) == FACE  # tip of the nose
    assert label_at(points[10, 0], points[10, 1] - 12) == PERSON  # hair
    assert label_at(3, 3) in (PLATE, PERSON)
    assert (picture[..., :3] == mesh.draw(identity, landmarks).frame).all()


def test_places_are_where_the_source_shows_it(mesh, identity, head):
    """A face that moves by eight pixels comes from eight pixels away; the plate has not moved."""
    shift = np.array((8 / SIZE, -4 / SIZE, 0), np.float32)
    still = place_grid(mesh.draw(identity, head.landmarks))
    moved = place_grid(mesh.draw(identity, head.landmarks + shift))
    steps = (2 * np.arange(64, dtype=np.float32) + 1) / 64 - 1
    own = np.stack(np.meshgrid(steps, steps), axis=-1)
    nose = tuple(np.floor(to_pixels(head.landmarks, SIZE, SIZE)[1, 1::-1] / 4).astype(int))
    np.testing.assert_allclose(still[nose], own[nose], atol=0.01)
    np.testing.assert_allclose((own - moved)[nose], (16 / SIZE, -8 / SIZE), atol=0.01)


def test_lids_that_meet_leave_no_eye(mesh, identity, head, with_shut_eyes):
    open_eyes = (labelled(mesh.draw(identity, head.landmarks))[..., 3] == EYE).sum()
    shut_eyes = (labelled(mesh.draw(identity, with_shut_eyes(head.landmarks)))[..., 3] == EYE).sum()
    assert open_eyes > 100
    assert shut_eyes < 0.1 * open_eyes
