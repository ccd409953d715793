"""What drives a generator: the right kind of motion, and nothing else."""

import numpy as np
import pytest

from engine.driving import FaceDrive, KeypointDrive, drive_for
from engine.face.model import FaceModel
from engine.generators import FaceGenerator, Generator, GeneratorError
from engine.generators.keypoint_generator import KeypointGenerator
from engine.keypoint_motion import Transferred
from engine.motion import FaceState, Keypoints


class Faces(FaceGenerator):
    """Renders what drives it."""

    name = "faces"

    def encode(self, frames, landmarks):
        return {}

    def motion(self, person, driving):
        return {"rotation": driving.rotation[None]}

    def render(self, identity, motion):
        return motion["rotation"]


class Points(KeypointGenerator):
    """Its halves are not used here."""

    name = "points"
    keypoint_count = 3
    digest = b"12345678"

    def network_specs(self):
        return {}

    torch_module = graph_path = encode_with = render_with = None


POINTS = np.array(((-0.5, 0.0), (0.5, 0.0), (0.0, 0.5)), np.float32)
EYES = np.broadcast_to(np.eye(2, dtype=np.float32), (3, 2, 2))
IDENTITY = {"source_points": POINTS[None], "source_jacobians": EYES[None]}


def face(turn=0.0):
    model = FaceModel.load()
    return FaceState((0.0, turn, 0.0), (0, 0), 0.3, np.zeros(model.expression_size), (0, 0))


@pytest.fixture
def by_face():
    return drive_for(Faces(256), FaceModel.load().person(), face(), {})


@pytest.fixture
def by_points():
    return drive_for(Points(256), FaceModel.load().person(), face(), IDENTITY)


def test_each_generator_has_the_drive_of_its_kind(by_face, by_points):
    assert isinstance(by_face, FaceDrive)
    assert isinstance(by_points, KeypointDrive)

    class Neither(Generator):
        name = "neither"
        encode = render = None

    with pytest.raises(GeneratorError, match="neither is driven neither by face states nor by keypoints"):
        drive_for(Neither(256), FaceModel.load().person(), face(), {})


def test_a_face_moves_by_what_the_driver_moves_from_his_habit(by_face):
    by_face.transfer(face(0.3), "relative")
    posed = by_face.transfer(face(0.4), "relative")
    np.testing.assert_allclose(by_face.tensors(posed)["rotation"], [[0, 0.1, 0]], atol=5e-3)
    np.testing.assert_allclose(by_face.transfer(face(0.4), "absolute").rotation, [0, 0.4, 0], atol=1e-6)


def test_keypoints_move_by_what_the_drivers_have_moved_since_the_first_frame(by_points):
    shift = np.array((0.2, -0.1), np.float32)
    first = by_points.transfer(Keypoints(POINTS + shift, EYES), "relative")
    np.testing.assert_allclose(first.points, POINTS, atol=1e-6)
    moved = by_points.transfer(Keypoints(POINTS + 2 * shift, 2 * EYES), "relative")
    tensors = by_points.tensors(moved)
    np.testing.assert_allclose(tensors["points"], (POINTS + shift)[None], atol=1e-6)
    np.testing.assert_allclose(tensors["matrices"], EYES[None] / 2, atol=1e-6)
    absolute = by_points.transfer(Keypoints(POINTS + shift, EYES), "absolute")
    np.testing.assert_allclose(absolute.points, POINTS + shift, atol=1e-6)


def test_reset_forgets_the_first_frame(by_points):
    by_points.transfer(Keypoints(POINTS + 0.3, EYES), "relative")
    by_points.reset()
    np.testing.assert_allclose(by_points.transfer(Keypoints(POINTS, EYES), "relative").points, POINTS, atol=1e-6)


def test_the_other_kind_of_motion_is_refused_with_the_way_out(by_face, by_points):
    with pytest.raises(GeneratorError, match=r"faces is driven by face states, and got keypoints: .* same generator"):
        by_face.transfer(Keypoints(POINTS, EYES), "relative")
    with pytest.raises(GeneratorError, match="points is driven by keypoints, and got face states"):
        by_points.transfer(face(), "absolute")
    with pytest.raises(GeneratorError, match="got keypoints"):
        by_face.tensors(Transferred(POINTS, EYES))
    with pytest.raises(GeneratorError, match="got face states"):
        by_points.tensors(face())


def test_keypoints_of_other_weights_are_refused(by_points):
    with pytest.raises(GeneratorError, match="2 keypoints, the source has 3; both sides need the same weights"):
        by_points.transfer(Keypoints(POINTS[:2], EYES[:2]), "relative")
    # Those that fitted go on.
    assert by_points.transfer(Keypoints(POINTS, EYES), "relative").points.shape == (3, 2)
