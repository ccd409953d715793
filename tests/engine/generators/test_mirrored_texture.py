"""What a turned source hides comes from its other side."""

import numpy as np
import pytest

from engine.face.regions import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from engine.generators.head_shape import HeadShapeConfig, source_vertices
from engine.generators.mesh_topology import VERTICES
from engine.generators.mirrored_texture import MirrorConfig, mirror_gains, mirror_image, mirror_weights
from engine.motion import to_pixels


def vertices_at(head, at_pose, model, yaw):
    points = to_pixels(head.person.landmarks(at_pose(model, (0.0, yaw, 0.0))), 256, 256)
    return source_vertices(points, True, HeadShapeConfig())[0]


def test_the_mirror_image_of_the_mirror_image_is_the_vertex():
    mirror = mirror_image()
    assert np.array_equal(mirror[mirror], np.arange(VERTICES))
    assert mirror[RIGHT_EYE_OUTER] == LEFT_EYE_OUTER


def test_only_the_far_side_of_a_turned_source_is_mirrored(head, at_pose, model):
    config = MirrorConfig()
    assert mirror_weights(vertices_at(head, at_pose, model, 0.0), config).max() < 0.05
    weights = mirror_weights(vertices_at(head, at_pose, model, 0.5), config)
    assert weights.max() == pytest.approx(1.0, abs=0.05)
    assert weights[4] == 0  # the tip of the nose
    assert (np.minimum(weights, weights[mirror_image()]) == 0).all()  # one side only


def test_gains_make_up_for_light_from_one_side(head, at_pose, model):
    """A face half as bright on one side: what is mirrored over is darkened by about half."""
    vertices = vertices_at(head, at_pose, model, 0.0)
    frame = np.full((256, 256, 3), 160, np.uint8)
    frame[:, : round(float(vertices[4, 0]))] = 80
    gains = mirror_gains(frame, vertices, MirrorConfig())
    dark, bright = sorted(gains[[234, 454]].mean(axis=1))
    assert dark == pytest.approx(0.52, abs=0.1)
    assert bright == pytest.approx(1 / 0.52, abs=0.3)
