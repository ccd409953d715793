"""The generator around IP-LAP's renderer, with random weights of narrow widths."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from engine.export import export_generator  # noqa: E402
from engine.face.landmarks131 import POSE  # noqa: E402
from engine.generators.base import GeneratorError  # noqa: E402
from engine.generators.iplap import IPLAPGenerator  # noqa: E402
from engine.nets.iplap import IPLAPRenderer, References, RendererConfig  # noqa: E402
from engine.nets.iplap_weights import renderer_metadata, save_renderer  # noqa: E402
from engine.nets.stored_weights import save_state  # noqa: E402
from engine.runtime.onnx_runtime import OnnxRuntime  # noqa: E402
from engine.runtime.torch_runtime import TorchRuntime  # noqa: E402

SIZE = 256
CONFIG = RendererConfig(side=64, shallow=4, deep=8, hidden=2, head=3, audio=1, shared=5)
"So narrow that no SPADE layer is merged: their export takes time, and is tested with them."


@pytest.fixture(scope="module")
def network(random_network):
    return random_network(lambda: IPLAPRenderer(CONFIG))


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "iplap" / "iplap.safetensors"
    save_renderer(network, path)
    return path


@pytest.fixture(scope="module")
def generator(weights):
    return IPLAPGenerator(SIZE, weights)


@pytest.fixture
def identity(generator, head):
    return generator.encode(head.frame[None], head.landmarks[None])


@pytest.fixture
def opened(generator, head, drawn, with_open_mouth):
    """Identities of the same head with the mouth open by more and more."""
    return [
        generator.encode(drawn(head.person, head.state, opened=by)[None], with_open_mouth(head.landmarks, by)[None])
        for by in (0.02, 0.04, 0.06, 0.08)
    ]


def test_renders_what_the_network_makes_in_the_face_and_the_mesh_around(generator, identity, head, model, at_pose):
    motion = generator.motion(head.person, at_pose(model, rotation=(0.0, 0.2, 0.0)))
    rendered = generator.render(identity, motion)
    assert rendered.shape == (1, SIZE, SIZE, 3)
    assert rendered.dtype == np.uint8
    mesh = generator._mesh.render(
        {name.removeprefix("mesh_"): value for name, value in identity.items() if name.startswith("mesh_")}, motion
    )
    left, top, right, bottom = motion["boxes"][0, 2]
    outside = np.ones((SIZE, SIZE), bool)
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(rendered[0][outside], mesh[0][outside])
    assert np.abs(rendered.astype(int) - mesh)[0, top:bottom, left:right].mean() > 10


def test_the_made_face_is_the_networks(generator, identity, head, network):
    """In the middle of the face, by float pictures straight through the network."""
    motion = generator.motion(head.person, head.state)
    seen = {}

    def spy(inputs):
        seen.update(inputs)
        return {"made": np.full((1, 64, 64, 3), 200, np.uint8)}

    rendered = generator.render_with(spy, identity, motion)
    left, top, right, bottom = motion["boxes"][0, 2]
    assert (rendered[0, (top + bottom) // 2, (left + right) // 2] == 200).all()
    assert seen["sketches"].shape == (1, 5, 64, 64)
    assert (seen["sketches"][0] == seen["sketches"][0, 2]).all()
    tensors = {name: torch.from_numpy(value) for name, value in seen.items()}
    references = References(
        tensors["shallow"], tensors["deep"], tensors["normal"], tensors["pictures"].permute(0, 1, 4, 2, 3) / 255
    )
    with torch.no_grad():
        face = tensors["face"].permute(0, 3, 1, 2) / 255
        made, _ = network.render(references, face, tensors["sketches"], tensors["mel"])
    expected = 255 * made.permute(0, 2, 3, 1).numpy()
    found = generator._reference["render"](seen)["made"]
    assert np.abs(found - expected).max() <= 0.51


def test_template_of_a_video_is_taken_instead_of_the_mesh(generator, identity, head, drawn):
    motion = dict(generator.motion(head.person, head.state))
    video = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    rendered = generator.render(identity, {**motion, "template": video})
    assert (rendered[0, :8] == 90).all()
    with pytest.raises(GeneratorError, match=r"motion template: expected \(1, 256, 256, 3\) uint8"):
        generator.render(identity, {**motion, "template": video[:, :128]})


def test_batch_renders_as_one_by_one(generator, identity, head, model, at_pose):
    motions = [generator.motion(head.person, at_pose(model, rotation=(0.0, yaw, 0.0))) for yaw in (-0.2, 0.3)]
    both = generator.render(
        {name: np.concatenate([value, value]) for name, value in identity.items()},
        {name: np.concatenate([motion[name] for motion in motions]) for name in motions[0]},
    )
    for k, motion in enumerate(motions):
        assert np.abs(both[k].astype(int) - generator.render(identity, motion)[0]).max() <= 1


class TestReferences:
    def test_several_are_joined_and_the_first_one_is_moved(self, generator, identity, opened, head):
        joined = generator.merge([identity, *opened])
        assert joined["shallow"].shape == (1, 5, 4, 64, 64)
        assert joined["pictures"].shape == (1, 5, 64, 64, 3)
        for name in identity:
            if name.startswith("mesh_"):
                assert joined[name] is identity[name]
        motion = generator.motion(head.person, head.state)
        one, several = generator.render(identity, motion), generator.render(joined, motion)
        assert (one != several).any()

    def test_of_too_many_the_first_and_the_most_different_mouths_are_kept(self, weights, identity, opened):
        generator = IPLAPGenerator(SIZE, weights, references=3)
        joined = generator.merge([opened[1], *opened, identity, opened[2]])
        assert joined["openings"].shape == (1, 3)
        kept, all_of_them = joined["openings"][0], [float(one["openings"][0, 0]) for one in (identity, *opened)]
        assert kept[0] == opened[1]["openings"][0, 0]
        assert kept.min() == min(all_of_them)
        assert kept.max() == max(all_of_them)
        assert IPLAPGenerator(SIZE, weights, references=1).merge([identity, *opened])["shallow"].shape[1] == 1

    def test_none_is_refused(self, generator):
        with pytest.raises(GeneratorError, match="at least one picture"):
            generator.merge([])


class TestMotion:
    def test_windows_of_states_are_drawn_in_their_order(self, generator, head, model, at_pose):
        states = [at_pose(model, rotation=(0.0, 0.1 * k, 0.0)) for k in range(5)]
        motion = generator.motion_of(head.person, states)
        alone = [generator.motion(head.person, state) for state in states]
        for k in range(5):
            np.testing.assert_array_equal(motion["points"][0, k], alone[k]["points"][0, 0])
        np.testing.assert_array_equal(motion["landmarks"], alone[2]["landmarks"])
        with pytest.raises(GeneratorError, match="5 frames, got 4"):
            generator.motion_of(head.person, states[1:])

    def test_contents_take_the_place_of_jaw_and_lips(self, generator, head):
        contents = np.random.default_rng(0).random((5, 57, 2), np.float32)
        motion = generator.motion_of(head.person, [head.state] * 5, contents=contents)
        plain = generator.motion(head.person, head.state)
        np.testing.assert_array_equal(motion["points"][0, :, len(POSE) :], contents)
        np.testing.assert_array_equal(motion["points"][0, :, : len(POSE)], plain["points"][0, :, : len(POSE)])
        with pytest.raises(GeneratorError, match=r"contents: expected \(5, 57, 2\)"):
            generator.motion_of(head.person, [head.state] * 5, contents=contents[0])

    def test_no_voice_is_silence_and_a_voice_matters(self, generator, identity, head):
        mel = np.random.default_rng(0).uniform(-4, 4, (80, 16)).astype(np.float32)
        silent = generator.motion(head.person, head.state)
        assert (silent["mel"] == -4).all()
        heard = generator.motion_of(head.person, [head.state] * 5, mel)
        assert (generator.render(identity, silent) != generator.render(identity, heard)).any()
        for wrong in (mel[:, :8], np.full_like(mel, np.nan)):
            with pytest.raises(GeneratorError, match=r"motion mel: expected \(80, 16\) finite"):
                generator.motion_of(head.person, [head.state] * 5, wrong)

    def test_causal_weights_make_the_last_frame_and_deaf_ones_hear_nothing(
        self, network, head, model, at_pose, tmp_path
    ):
        about = {**renderer_metadata(CONFIG), "seen": "causal", "voice": "no", "smooth": "yes", "margin": "0.1"}
        save_state(network.state_dict(), tmp_path / "iplap.safetensors", about)
        generator = IPLAPGenerator(SIZE, tmp_path / "iplap.safetensors")
        states = [at_pose(model, rotation=(0.0, 0.1 * k, 0.0)) for k in range(5)]
        motion = generator.motion_of(head.person, states, np.zeros((80, 16), np.float32))
        np.testing.assert_array_equal(motion["landmarks"], generator.motion(head.person, states[4])["landmarks"])
        assert (motion["mel"] == -4).all()


def test_wrong_input_is_named(generator, identity, head):
    with pytest.raises(GeneratorError, match=r"frames: expected \(B, 256, 256, 3\) uint8"):
        generator.encode(head.frame[None, :128], head.landmarks[None])
    with pytest.raises(GeneratorError, match="landmarks: expected"):
        generator.encode(head.frame[None], head.landmarks[None, :68])
    with pytest.raises(GeneratorError, match="landmarks: expected"):
        generator.encode(head.frame[None], np.full_like(head.landmarks[None], np.nan))
    with pytest.raises(GeneratorError, match="face is outside or only 1 pixels wide, 24 are needed"):
        generator.encode(head.frame[None], head.landmarks[None] + np.float32((2, 0, 0)))
    with pytest.raises(GeneratorError, match=r"motion points: expected \(1, 5, 131, 2\)"):
        generator.render(identity, {**generator.motion(head.person, head.state), "points": np.zeros((1, 5, 68, 2))})
    with pytest.raises(GeneratorError, match="no size 128; it renders 256, 512"):
        IPLAPGenerator(128)


class TestWeights:
    def test_are_found_by_the_environment(self, weights, monkeypatch):
        monkeypatch.setenv("VISAVIS_WEIGHTS", str(weights.parent.parent))
        generator = IPLAPGenerator(512)
        assert generator.network_specs()["render"].inputs[3].shape == ("references", 4, 64, 64)
        with pytest.raises(GeneratorError, match="visavis export"):
            generator.graph_path("render")

    def test_of_another_system_are_refused(self, tmp_path):
        path = tmp_path / "weights.safetensors"
        for about, said in (({"task": "fomm"}, "weights of fomm, not iplap"), ({"task": "iplap"}, "does not describe")):
            header = json.dumps({"__metadata__": about}).encode()
            path.write_bytes(len(header).to_bytes(8, "little") + header)
            with pytest.raises(GeneratorError, match=said):
                IPLAPGenerator(SIZE, path)


@pytest.mark.slow
def test_exported_networks_agree_with_torch(generator, weights, head, model, at_pose):
    """Also for several references, by one file; with what TensorRT has: maps of rank 4 are sampled."""
    onnx = pytest.importorskip("onnx", reason="networks are exported with onnx (extra: export)")
    poses = ((0.0, 0.0, 0.0), (0.1, -0.3, 0.1))
    motions = [generator.motion(head.person, at_pose(model, rotation=pose)) for pose in poses]
    export_generator(generator, head.frame[None], head.landmarks[None], motions, weights.parent)
    by_graph, by_torch = OnnxRuntime().compile(generator), TorchRuntime().compile(generator)
    one = by_graph.encode(head.frame[None], head.landmarks[None])
    for count in (1, 4):
        identity = generator.merge([one] * count)
        difference = by_graph.render(identity, motions[1]).astype(int) - by_torch.render(identity, motions[1])
        assert np.abs(difference).max() <= 1
    for half in ("encode", "render"):
        graph = onnx.shape_inference.infer_shapes(onnx.load(generator.graph_path(half))).graph
        kinds = {node.op_type for node in graph.node}
        assert not kinds & {"Loop", "If", "Scan", "NonZero", "ScatterND", "SequenceInsert", "Einsum"}
        ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
        assert {ranks[node.input[0]] for node in graph.node if node.op_type == "GridSample"} <= {4}
