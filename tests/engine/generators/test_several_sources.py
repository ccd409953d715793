"""Which of several pictures of a person a frame is made of."""

import numpy as np
import pytest

from engine.generators.several_sources import SharesConfig, blended, region_maps, source_shares
from engine.motion import to_pixels

SIZE = 256


@pytest.fixture(scope="module")
def faces(head, model, at_pose, with_open_mouth, with_shut_eyes):
    """Landmarks in pixels of the drawn head at rest, with an open mouth, with shut eyes, and turned."""
    turned = head.person.landmarks(at_pose(model, rotation=(0.0, 0.35, 0.0))).astype(np.float32)
    every = (head.landmarks, with_open_mouth(head.landmarks, 0.06), with_shut_eyes(head.landmarks), turned)
    return [to_pixels(landmarks, SIZE, SIZE) for landmarks in every]


def test_one_source_does_it_all(faces):
    assert (source_shares(np.stack(faces[:1]), faces[1]) == 1).all()


@pytest.mark.parametrize(("number", "region"), [(1, 2), (2, 1), (3, 0)])
def test_the_source_that_resembles_a_region_shows_it(faces, number, region):
    shares = source_shares(np.stack(faces), faces[number])
    assert shares[:, region].argmax() == number
    assert shares[number, region] > 0.7
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-5)


def test_place_and_size_do_not_matter(faces):
    elsewhere = faces[1] * np.float32(0.8) + np.float32(20)
    np.testing.assert_allclose(
        source_shares(np.stack(faces), elsewhere), source_shares(np.stack(faces), faces[1]), atol=0.02
    )


def test_the_principal_source_keeps_the_head_against_its_equal(faces):
    shares = source_shares(np.stack([faces[0], faces[0]]), faces[0])
    assert shares[0, 0] > shares[1, 0]
    assert shares[0, 2] == pytest.approx(0.5)


def test_shares_change_smoothly(faces):
    """From the closed to the open mouth in fifty steps: no step moves more than a tenth from one source to another."""
    shares = np.array(
        [
            source_shares(np.stack(faces), faces[0] + t * (faces[1] - faces[0]))
            for t in np.linspace(0, 1, 50, dtype=np.float32)
        ]
    )
    assert np.abs(np.diff(shares, axis=0)).max() < 0.1
    assert shares[0, 0, 2] > 0.3  # the other faces with a closed mouth have the rest
    assert shares[-1, 1, 2] > 0.7


def test_a_small_share_is_left_out(faces):
    shares = source_shares(np.stack(faces), faces[1], SharesConfig(least=0.2))
    assert (shares[:, 2] == 0).sum() >= 2


def test_regions_add_up_and_lie_where_they_should(faces):
    maps = region_maps(faces[0], SIZE)
    np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-5)
    assert maps.min() >= 0
    for region, point in ((2, 14), (1, 159), (0, 10)):
        x, y = (faces[0][point, :2] / 4).astype(int)
        assert maps[region, y, x] > 0.5


def test_a_blend_shows_each_drawing_in_its_region(faces):
    maps = region_maps(faces[0], SIZE)
    drawings = {0: np.full((SIZE, SIZE, 4), 10, np.uint8), 2: np.full((SIZE, SIZE, 4), 200, np.uint8)}
    shares = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], np.float32)
    picture, weight = blended(drawings, shares, maps)
    mouth, forehead = faces[0][14, 1::-1].astype(int), faces[0][10, 1::-1].astype(int)
    assert picture[tuple(mouth)].min() > 150
    assert (picture[tuple(forehead)] == 10).all()
    np.testing.assert_allclose(weight.sum(axis=0), 1, atol=1e-5)
    assert not weight[1].any()
