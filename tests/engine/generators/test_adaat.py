"""The generator around the published networks, with random weights of an eighth of the width and less."""

import json

import numpy as np
import pytest
import torch

from engine.export import export_generator
from engine.generators.adaat import AdaATGenerator, network_landmarks
from engine.generators.base import GeneratorError
from engine.nets.adaat import AdaATConfig
from engine.nets.adaat_weights import save_network
from engine.runtime.onnx_runtime import OnnxRuntime
from engine.runtime.torch_runtime import TorchRuntime

SIZE = 256
CONFIG = AdaATConfig(divisor=32)


@pytest.fixture(scope="module")
def weights(random_adaat, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "adaat" / "adaat.safetensors"
    save_network(random_adaat(CONFIG, 0), path)
    return path


@pytest.fixture(scope="module")
def generator(weights):
    return AdaATGenerator(SIZE, weights)


@pytest.fixture(scope="module")
def identity(generator, head):
    return generator.encode(head.frame[None], head.landmarks[None])


def test_landmarks_are_minus_one_and_one_at_the_edges_of_the_frame():
    landmarks = np.zeros((1, 478, 3), np.float32)
    landmarks[..., 0], landmarks[..., 1], landmarks[..., 2] = -0.5, 0.25, 9.0
    converted = network_landmarks(landmarks)
    assert converted.shape == (1, 68, 2)
    assert np.unique(converted.reshape(-1, 2), axis=0).tolist() == [[-1.0, 0.5]]


def test_renders_what_the_network_predicts(generator, identity, head, model, at_pose, random_adaat):
    driving = at_pose(model, rotation=(0.0, 0.3, 0.1), translation=(0.02, 0.0))
    motion = generator.motion(head.person, driving)
    rendered = generator.render(identity, motion)
    source = torch.from_numpy(head.frame[None]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        own = torch.from_numpy(network_landmarks(head.landmarks[None]))
        predicted = random_adaat(CONFIG, 0)(source, own, torch.from_numpy(motion["landmarks"]))
    expected = (255 * predicted).permute(0, 2, 3, 1).numpy()
    assert rendered.shape == (1, SIZE, SIZE, 3)
    assert rendered.dtype == np.uint8
    assert np.abs(rendered - expected).max() <= 1.0
    assert (
        np.abs(rendered.astype(int) - generator.render(identity, generator.motion(head.person, head.state))).max() > 9
    )


def test_the_driver_gives_expression_and_pose_the_source_its_shape(generator, head, model):
    wide = model.person()
    broader = type(wide)(model, wide.neutral * np.float32((1.2, 1.0, 1.0)))
    ours, theirs = (generator.motion(person, head.state)["landmarks"][0] for person in (wide, broader))
    assert np.ptp(theirs[:17, 0]) == pytest.approx(1.2 * np.ptp(ours[:17, 0]), rel=0.02)


def test_batch_renders_as_one_by_one(generator, identity, head, model, at_pose):
    motions = [generator.motion(head.person, at_pose(model, rotation=(0.0, yaw, 0.0))) for yaw in (-0.2, 0.3)]
    both = generator.render(
        {name: np.concatenate([value, value]) for name, value in identity.items()},
        {name: np.concatenate([motion[name] for motion in motions]) for name in motions[0]},
    )
    for k, motion in enumerate(motions):
        assert np.abs(both[k].astype(int) - generator.render(identity, motion)[0]).max() <= 1


def test_takes_one_source_picture(generator, identity):
    assert generator.merge([identity]) is identity
    with pytest.raises(GeneratorError, match="one source picture, not 2"):
        generator.merge([identity, identity])


def test_wrong_input_is_named(generator, identity, head):
    with pytest.raises(GeneratorError, match=r"frames: expected \(B, 256, 256, 3\) uint8"):
        generator.encode(head.frame[None, :128], head.landmarks[None])
    with pytest.raises(GeneratorError, match="landmarks: expected"):
        generator.encode(head.frame[None], head.landmarks[None, :68])
    with pytest.raises(GeneratorError, match=r"motion landmarks: expected \(1, 68, 2\)"):
        generator.render(identity, {"landmarks": np.zeros((1, 478, 3), np.float32)})
    with pytest.raises(GeneratorError, match="no size 128; it renders 256, 512"):
        AdaATGenerator(128)


class TestWeights:
    def test_are_found_by_the_environment(self, weights, monkeypatch):
        monkeypatch.setenv("VISAVIS_WEIGHTS", str(weights.parent.parent))
        generator = AdaATGenerator(512)
        assert generator.network_specs()["render"].inputs[0].shape == (2, 512, 512)
        with pytest.raises(GeneratorError, match="visavis export"):
            generator.graph_path("render")

    def test_of_another_system_or_variant_are_refused(self, tmp_path, random_adaat):
        path = tmp_path / "weights.safetensors"
        header = json.dumps({"weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(GeneratorError, match="not weights of AdaAT"):
            AdaATGenerator(SIZE, path)
        save_network(random_adaat(AdaATConfig(18, 4, divisor=32), 0), path)
        with pytest.raises(GeneratorError, match="driven by 18 points, the generator has 68"):
            AdaATGenerator(SIZE, path)


@pytest.mark.slow
def test_exported_networks_agree_with_torch(generator, weights, head, model, at_pose):
    onnx = pytest.importorskip("onnx", reason="networks are exported with onnx (extra: export)")
    with pytest.raises(GeneratorError, match="no exported network"):
        generator.graph_path("encode")
    poses = ((0.0, 0.0, 0.0), (0.1, -0.3, 0.1))
    motions = [generator.motion(head.person, at_pose(model, rotation=pose)) for pose in poses]
    export_generator(generator, head.frame[None], head.landmarks[None], motions, weights.parent)
    by_graph, by_torch = OnnxRuntime().compile(generator), TorchRuntime().compile(generator)
    identity = by_graph.encode(head.frame[None], head.landmarks[None])
    difference = by_graph.render(identity, motions[1]).astype(int) - by_torch.render(identity, motions[1])
    assert np.abs(difference).max() <= 1
    # TensorRT samples maps of rank 4 alone.
    graph = onnx.shape_inference.infer_shapes(onnx.load(generator.graph_path("render"))).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    assert [ranks[node.input[0]] for node in graph.node if node.op_type == "GridSample"] == [4, 4]
