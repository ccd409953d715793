"""How hair, neck and shoulders follow the head."""

import numpy as np
import pytest

from engine.face.regions import MESH_POINTS
from engine.generators.head_shape import HeadShapeConfig, moved_vertices, revealed, skull_motion, source_vertices
from engine.generators.mesh_topology import OUTLINE, RINGS
from engine.motion import rotation_matrix, to_pixels

CONFIG = HeadShapeConfig()


@pytest.fixture(scope="module")
def points(head):
    return head.points


def turned(points, rotation, shift=(0.0, 0.0, 0.0), scale=1.0):
    middle = points[[234, 454]].mean(axis=0)
    matrix = scale * rotation_matrix(np.array(rotation, np.float32))
    return ((points - middle) @ matrix.T + middle + shift).astype(np.float32)


def test_skull_motion_is_recovered_whatever_the_mouth_does(points):
    driving = turned(points, (0.1, 0.4, -0.2), (12, -7, 3), 1.2)
    expected = skull_motion(points, driving)
    np.testing.assert_allclose(points @ expected[:, :3].T + expected[:, 3], driving, atol=0.05)
    driving[[152, 14, 17, 13]] += (0, 25, 0)
    np.testing.assert_allclose(skull_motion(points, driving), expected, atol=1e-4)


def test_own_motion_moves_nothing(points):
    vertices, weights = source_vertices(points, True, CONFIG)
    moved, _ = moved_vertices(vertices, weights, points, points, CONFIG)
    np.testing.assert_allclose(moved, vertices, atol=0.02)


def test_hair_goes_with_the_head_and_the_torso_stays(points):
    vertices, weights = source_vertices(points, True, CONFIG)
    driving = turned(points, (0.0, 0.0, 0.0), (20, 0, 0))
    moved, _ = moved_vertices(vertices, weights, points, driving, CONFIG)
    shift = (moved - vertices)[MESH_POINTS:].reshape(RINGS, OUTLINE, 3)
    np.testing.assert_allclose(shift[:6, 0, 0], 20, atol=0.1)  # above the forehead
    assert shift[-1, OUTLINE // 2, 0] == pytest.approx(0.0, abs=0.1)  # far below the chin
    assert (np.diff(shift[:, OUTLINE // 2, 0]) < 0.01).all()  # and softly in between


def test_the_silhouette_of_the_skull_keeps_its_width_in_a_turn(points):
    vertices, weights = source_vertices(points, True, CONFIG)
    for yaw in (-0.6, 0.6):
        moved, _ = moved_vertices(vertices, weights, points, turned(points, (0.0, yaw, 0.0)), CONFIG)
        ring = slice(MESH_POINTS + 4 * OUTLINE, MESH_POINTS + 5 * OUTLINE)
        upper = vertices[ring, 1] < points[168, 1]
        assert np.ptp(moved[ring, 0][upper]) == pytest.approx(np.ptp(vertices[ring, 0][upper]), rel=0.03)


def test_rings_do_not_cross_in_the_source_even_when_it_looks_aside(head, at_pose, model):
    for yaw in (-0.6, 0.0, 0.6):
        landmarks = to_pixels(head.person.landmarks(at_pose(model, (0.0, yaw, 0.0))), 256, 256)
        vertices, _ = source_vertices(landmarks, True, CONFIG)
        rings = vertices[MESH_POINTS:].reshape(RINGS, OUTLINE, 3)[..., :2]
        middle = rings[-1].mean(axis=0)
        angles = np.unwrap(np.arctan2(*np.moveaxis(rings - middle, -1, 0)[::-1]), axis=1)
        assert (np.abs(np.sign(np.diff(angles[2:], axis=1)).sum(axis=1)) == OUTLINE - 1).all()


def test_a_turn_reveals_one_side(points):
    vertices, _ = source_vertices(points, True, CONFIG)
    amount = revealed(vertices, skull_motion(points, turned(points, (0.0, 0.5, 0.0))))
    sides = amount[[234, 454]]
    assert sides.max() == pytest.approx(np.sin(0.5), rel=0.1)
    assert sides.min() == 0
    assert revealed(vertices, skull_motion(points, points)).max() == pytest.approx(0.0, abs=1e-3)


def test_configuration_with_another_number_of_rings_is_refused():
    with pytest.raises(ValueError, match="ring_radii: 2 values, the mesh has 9 rings"):
        HeadShapeConfig(ring_radii=(1.1, 1.2))
