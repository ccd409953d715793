"""The generator around LSR's networks, with random weights of a small width."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.export import export_generator
from engine.face.contours68 import contours_68
from engine.generators.base import GeneratorError
from engine.generators.lsr import LSRGenerator
from engine.generators.lsr_drawing import draw_contours
from engine.nets.lsr import Codes, LSRConfig, LSRNetwork
from engine.nets.lsr_halves import signed
from engine.nets.lsr_weights import save_network
from engine.runtime.onnx_runtime import OnnxRuntime
from engine.runtime.torch_runtime import TorchRuntime

SIZE = 256
CONFIG = LSRConfig(size=64, width=4, limit=16, latent=12, hidden=8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LSRNetwork(CONFIG).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lsr" / "lsr.safetensors"
    save_network(network, path)
    return path


@pytest.fixture(scope="module")
def generator(weights):
    return LSRGenerator(SIZE, weights)


@pytest.fixture(scope="module")
def identities(generator, head):
    """Of a picture, and of the same in other light."""
    darker = (head.frame * 0.5).astype(np.uint8)
    return [generator.encode(frame[None], head.landmarks[None]) for frame in (head.frame, darker)]


def reduced(frame):
    """(256, 256, 3) to (64, 64, 3), by averages."""
    return np.rint(frame.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))).astype(np.uint8)


def test_renders_what_the_network_draws_from_the_mean_of_the_codes(
    network, weights, identities, generator, head, model, at_pose
):
    motion = generator.motion(head.person, at_pose(model, rotation=(0.0, 0.3, 0.1), translation=(0.02, 0.0)))
    assert motion["landmarks"].shape == (1, 68, 2)
    merged = generator.merge(identities)
    small = generator.torch_module("render")(
        *(torch.from_numpy(merged[name]) for name in ("modulation", "start")),
        torch.from_numpy(draw_contours(motion["landmarks"][0], 64)[None]),
    )
    rendered = generator.render(merged, motion)
    assert rendered.shape == (1, SIZE, SIZE, 3)
    assert rendered.dtype == np.uint8
    assert np.abs(reduced(rendered[0]).astype(float) - small[0].numpy()).mean() < 12  # enlarged and made small again

    frames = [reduced(frame) for frame in (head.frame, (head.frame * 0.5).astype(np.uint8))]
    own = draw_contours(contours_68(head.landmarks)[:, :2], 64)
    with torch.no_grad():
        codes = network.encode(
            signed(torch.from_numpy(np.stack(frames))), signed(torch.from_numpy(np.stack([own] * 2)))
        )
        means = Codes(*(code.mean(dim=0, keepdim=True) for code in codes))
        contours = signed(torch.from_numpy(draw_contours(motion["landmarks"][0], 64)[None]))
        picture = network.render(network.prepare(means), contours).picture
    expected = (127.5 + 127.5 * picture).clamp(0, 255).permute(0, 2, 3, 1)
    assert (small.float() - expected).abs().max() <= 2


def test_motion_and_identity_show(generator, identities, head, model, at_pose):
    rest, turned = (generator.motion(head.person, at_pose(model, rotation=(0.0, yaw, 0.0))) for yaw in (0.0, 0.4))
    frames = [generator.render(identities[0], motion).astype(int) for motion in (rest, turned)]
    assert np.abs(frames[0] - frames[1]).max() > 9
    assert np.abs(frames[0] - generator.render(identities[1], rest)).max() > 9


def test_batch_renders_as_one_by_one(generator, identities, head, model, at_pose):
    motions = [generator.motion(head.person, at_pose(model, rotation=(0.0, yaw, 0.0))) for yaw in (-0.2, 0.3)]
    both = generator.render(
        {name: np.concatenate([one[name] for one in identities]) for name in identities[0]},
        {name: np.concatenate([motion[name] for motion in motions]) for name in motions[0]},
    )
    for k, (identity, motion) in enumerate(zip(identities, motions, strict=True)):
        assert np.abs(both[k].astype(int) - generator.render(identity, motion)[0]).max() <= 2


def test_identity_of_one_picture_is_its_own(generator, identities):
    merged = generator.merge(identities[:1])
    for name, value in identities[0].items():
        np.testing.assert_array_equal(merged[name], value)
    with pytest.raises(GeneratorError, match="at least one source picture"):
        generator.merge([])


def test_wrong_input_is_named(generator, identities, head, weights):
    with pytest.raises(GeneratorError, match=r"frames: expected \(B, 256, 256, 3\) uint8"):
        generator.encode(head.frame[None, :128], head.landmarks[None])
    with pytest.raises(GeneratorError, match="landmarks: expected"):
        generator.encode(head.frame[None], np.full((1, 478, 3), np.nan, np.float32))
    with pytest.raises(GeneratorError, match=r"motion landmarks: expected \(1, 68, 2\)"):
        generator.render(identities[0], {"landmarks": np.zeros((1, 478, 3), np.float32)})
    with pytest.raises(GeneratorError, match="no size 64; it renders 128, 256, 512"):
        LSRGenerator(64, weights)


class TestWeights:
    def test_are_found_by_the_environment(self, weights, monkeypatch):
        monkeypatch.setenv("VISAVIS_WEIGHTS", str(weights.parent.parent))
        specs = LSRGenerator(512).network_specs()
        assert specs["render"].inputs[2].shape == (64, 64, 3)
        assert specs["encode"].outputs[1].shape == (16, 2, 2)

    def test_of_something_else_are_refused(self, tmp_path, network):
        path = tmp_path / "lsr.safetensors"
        save_file({"weight": torch.zeros(2)}, path)
        with pytest.raises(GeneratorError, match="not weights of LSR"):
            LSRGenerator(SIZE, path)
        save_file({"weight": torch.zeros(2)}, path, metadata={"lsr_config": '{"size": 64}'})
        with pytest.raises(GeneratorError, match="does not describe an LSR"):
            LSRGenerator(SIZE, path)
        state = {key: value for key, value in network.state_dict().items() if key != "image_generator.out.bias"}
        save_file(
            state, path, metadata={"lsr_config": '{"size": 64, "width": 4, "limit": 16, "latent": 12, "hidden": 8}'}
        )
        with pytest.raises(GeneratorError, match=r"1 missing keys: image_generator\.out\.bias"):
            LSRGenerator(SIZE, path).torch_module("render")


@pytest.mark.slow
def test_exported_networks_agree_with_torch(generator, weights, head, model, at_pose):
    onnx = pytest.importorskip("onnx", reason="networks are exported with onnx (extra: export)")
    with pytest.raises(GeneratorError, match="no exported network"):
        generator.graph_path("encode")
    motions = [
        generator.motion(head.person, at_pose(model, rotation=pose)) for pose in ((0.0, 0.0, 0.0), (0.1, -0.3, 0.1))
    ]
    export_generator(generator, head.frame[None], head.landmarks[None], motions, weights.parent)
    by_graph, by_torch = OnnxRuntime().compile(generator), TorchRuntime().compile(generator)
    identity = by_graph.encode(head.frame[None], head.landmarks[None])
    difference = by_graph.render(identity, motions[1]).astype(int) - by_torch.render(identity, motions[1])
    assert np.abs(difference).max() <= 2
    used = {node.op_type for half in ("encode", "render") for node in onnx.load(generator.graph_path(half)).graph.node}
    # What every runtime knows; of shapes nothing is computed but the batch.
    assert used <= {
        *("Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "Expand", "Flatten", "Gemm", "InstanceNormalization"),
        *("LeakyRelu", "MatMul", "Mul", "Pad", "Relu", "Reshape", "Resize", "Round", "Shape", "Slice", "Softmax"),
        *("Split", "Sub", "Transpose", "Unsqueeze"),
    }
