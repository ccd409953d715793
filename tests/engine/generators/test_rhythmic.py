"""The generator around Rhythmic Head Motion's networks, with random weights of a sixteenth of the width."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from engine.face.contours68 import contours_68  # noqa: E402
from engine.face.edge_map import edge_map  # noqa: E402
from engine.generators.base import GeneratorError  # noqa: E402
from engine.generators.rhythmic import RhythmicGenerator  # noqa: E402
from engine.generators.rhythmic_drawing import ReferencePicture, frame_inputs  # noqa: E402
from engine.motion import to_pixels  # noqa: E402
from engine.nets.pictures import planes  # noqa: E402
from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork, signed  # noqa: E402
from engine.nets.rhythmic_weights import save_network  # noqa: E402
from engine.nets.stored_weights import save_state  # noqa: E402

SIZE = 128
CONFIG = RhythmicConfig(width=2, references=3, spare=False)
ABOUT = {"size": str(SIZE)}


@pytest.fixture(scope="module")
def network(random_network):
    network = random_network(lambda: RhythmicNetwork(CONFIG), 0)
    with torch.no_grad():
        for parameter in network.netG.weight_gen.parameters():
            parameter *= 0.3
        network.netG.conv_img.weight *= 0.01
    return network


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "rhythmic" / "rhythmic.safetensors"
    save_network(network, path, ABOUT)
    return path


@pytest.fixture(scope="module")
def generator(weights):
    return RhythmicGenerator(SIZE, weights)


@pytest.fixture(scope="module")
def sources(head, model, at_pose, drawn):
    """Three pictures of the head, at half the size, with their landmarks: from the front, from each side."""
    states = [head.state, at_pose(model, rotation=(0.0, 0.35, 0.0)), at_pose(model, rotation=(0.1, -0.3, 0.0))]
    frames = [np.ascontiguousarray(drawn(head.person, state)[::2, ::2]) for state in states]
    return [
        (frame, head.person.landmarks(state).astype(np.float32)) for frame, state in zip(frames, states, strict=True)
    ]


@pytest.fixture(scope="module")
def identities(generator, sources):
    return [generator.encode(frame[None], landmarks[None]) for frame, landmarks in sources]


def motion_at(generator, head, model, at_pose, yaw):
    return generator.motion(head.person, at_pose(model, rotation=(0.0, yaw, 0.0)))


def test_renders_what_the_network_makes_of_the_drawings(generator, network, identities, sources, head, model, at_pose):
    """Three pictures, each the warped one when its pose is the nearest; the most frontal one is turned."""
    identity = generator.merge(identities)
    for yaw, nearest in ((0.02, 0), (0.4, 1), (-0.35, 2)):
        motion = motion_at(generator, head, model, at_pose, yaw)
        rendered = generator.render(identity, motion)
        assert rendered.shape == (1, SIZE, SIZE, 3)
        assert rendered.dtype == np.uint8
        pictures = [ReferencePicture.of(frame, to_pixels(points, SIZE, SIZE)) for frame, points in sources]
        drawn = frame_inputs(pictures, to_pixels(motion["landmarks"][0], SIZE, SIZE))
        np.testing.assert_array_equal(drawn["reference_edges"], pictures[nearest].edges)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value))[None] for name, value in drawn.items()}
        frames = torch.from_numpy(np.stack([frame for frame, _ in sources]))
        edges = torch.from_numpy(np.stack([one.edges for one in pictures]))
        with torch.no_grad():
            references = network.netG.encode(signed(frames)[None], planes(edges)[None])
            composed = network.compose(
                references,
                planes(tensors["edges"]),
                signed(tensors["reference"]),
                planes(tensors["reference_edges"]),
                signed(tensors["rendering"]),
                planes(tensors["rendering_edges"]),
            )
        expected = (127.5 + 127.5 * composed.frame).permute(0, 2, 3, 1).numpy()
        assert np.abs(rendered - expected).max() <= 1.0


def test_target_edges_are_those_of_the_person_in_the_driving_state(generator, identities, head, model, at_pose):
    motion = motion_at(generator, head, model, at_pose, 0.2)
    seen = {}

    def watching(inputs):
        seen.update(inputs)
        return {"frame": np.zeros((1, SIZE, SIZE, 3), np.uint8)}

    generator.render_with(watching, identities[0], motion)
    points = to_pixels(head.person.landmarks(at_pose(model, rotation=(0.0, 0.2, 0.0))).astype(np.float32), SIZE, SIZE)
    np.testing.assert_array_equal(seen["edges"][0, ..., 0], edge_map(contours_68(points)[:, :2], SIZE))
    assert list(seen) == [entry.name for entry in generator.network_specs()["render"].inputs]
    for entry in generator.network_specs()["render"].inputs:
        assert seen[entry.name].shape == (1, *entry.shape)
        assert seen[entry.name].dtype == entry.dtype


def test_fewer_pictures_than_references_are_repeated(generator, identities, head, model, at_pose):
    motion = motion_at(generator, head, model, at_pose, 0.2)
    alone = generator.render(identities[0], motion)
    for same in ([identities[0]], [identities[0]] * 2, [identities[0]] * 3):
        assert np.abs(generator.render(generator.merge(same), motion).astype(int) - alone).max() <= 1
    two = generator.render(generator.merge(identities[:2]), motion)
    assert np.abs(two.astype(int) - alone).max() > 3


def test_batch_renders_as_one_by_one(generator, identities, head, model, at_pose):
    motions = [motion_at(generator, head, model, at_pose, yaw) for yaw in (-0.2, 0.3)]
    identity = generator.merge(identities)
    both = generator.render(
        {name: np.concatenate([value, value]) for name, value in identity.items()},
        {name: np.concatenate([motion[name] for motion in motions]) for name in motions[0]},
    )
    for k, motion in enumerate(motions):
        assert np.abs(both[k].astype(int) - generator.render(identity, motion)[0]).max() <= 1


def test_wrong_input_is_named(generator, identities, sources, head):
    frame, landmarks = sources[0]
    with pytest.raises(GeneratorError, match=r"frames: expected \(B, 128, 128, 3\) uint8"):
        generator.encode(head.frame[None], landmarks[None])
    with pytest.raises(GeneratorError, match="landmarks: expected"):
        generator.encode(frame[None], np.full_like(landmarks, np.nan)[None])
    with pytest.raises(GeneratorError, match=r"motion landmarks: expected \(1, 478, 3\)"):
        generator.render(identities[0], {"landmarks": landmarks[None, :68]})
    with pytest.raises(GeneratorError, match="take 1 to 3 pictures of a person, not 4"):
        generator.merge(identities + identities[:1])
    with pytest.raises(GeneratorError, match="cannot be merged once more"):
        generator.merge([generator.merge(identities), identities[0]])


class TestWeights:
    def test_are_for_one_size(self, weights):
        with pytest.raises(GeneratorError, match="trained at 128 pixels, cannot render 256"):
            RhythmicGenerator(256, weights)
        with pytest.raises(GeneratorError, match="no size 512; it renders 128, 256"):
            RhythmicGenerator(512, weights)

    def test_are_found_by_the_environment(self, weights, monkeypatch):
        monkeypatch.setenv("VISAVIS_WEIGHTS", str(weights.parent.parent))
        generator = RhythmicGenerator(SIZE)
        assert generator.network_specs()["encode"].outputs[0].shape == (8, SIZE // 4, SIZE // 4)
        with pytest.raises(GeneratorError, match="visavis export"):
            generator.graph_path("render")

    def test_of_another_system_or_damaged_are_refused(self, tmp_path, network):
        path = tmp_path / "weights.safetensors"
        save_state(network.state_dict(), path, {"task": "fomm"})
        with pytest.raises(GeneratorError, match="weights of fomm, not rhythmic"):
            RhythmicGenerator(SIZE, path)
        save_state(network.state_dict(), path, {"task": "rhythmic", "config": json.dumps({"width": 2})})
        with pytest.raises(GeneratorError, match="does not describe a rhythmic"):
            RhythmicGenerator(SIZE, path)
        state = network.state_dict()
        del state["netG.conv_img.bias"]
        config = json.dumps({**CONFIG.__dict__})
        save_state(state, path, {"task": "rhythmic", "config": config, **ABOUT})
        with pytest.raises(GeneratorError, match=r"missing keys: netG\.conv_img\.bias"):
            RhythmicGenerator(SIZE, path).torch_module("render")


def test_all_that_is_between_network_and_drawing_is_fixed(generator):
    """TensorRT wants static shapes: no axis but the batch's is of any length."""
    for spec in generator.network_specs().values():
        assert all(isinstance(axis, int) for entry in (*spec.inputs, *spec.outputs) for axis in entry.shape)
