"""FOMM and DaGAN as generators: from a file of weights to frames, in every runtime and at every size."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need torch (extra: torch)")
pytest.importorskip("onnx", reason="exporting needs onnx (extra: export)")

import onnx
from safetensors.numpy import load_file, save_file

from engine.avatar import Avatar, load_tracker
from engine.driving import KeypointDrive
from engine.export import example_motions, export_generator
from engine.face.model import FaceModel
from engine.generators import GeneratorError
from engine.generators.dagan import DaGANGenerator
from engine.generators.fomm import FOMMGenerator
from engine.keypoint_motion import KeypointTransfer, TransferConfig
from engine.keypoint_tracker import KeypointTracker
from engine.motion import FaceState, Keypoints
from engine.nets import dagan_weights, first_order_weights
from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.face_depth import FaceDepthConfig
from engine.nets.first_order import FirstOrderConfig
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from engine.runtime import RuntimeConfig, load_runtime
from engine.runtime.auto_runtime import AutoRuntime
from engine.runtime.numpy_runtime import NumpyRuntime, RuntimeUnavailableError
from engine.runtime.onnx_runtime import OnnxRuntime
from engine.runtime.openvino_runtime import OpenVinoRuntime
from engine.runtime.torch_runtime import TorchRuntime
from engine.weights import WeightsError
from visavis.demo import PORTRAIT

SMALL = FirstOrderConfig(
    detector=KeypointConfig(keypoints=5, hourglass=HourglassConfig(8, 32, 3)),
    motion=DenseMotionConfig(hourglass=HourglassConfig(8, 32, 3)),
    width=8,
    limit=32,
    residual_blocks=1,
)
SMALL_DAGAN = DaGANConfig(replace(SMALL, detector=replace(SMALL.detector, channels=4)), FaceDepthConfig(width=4))
SPADE_DAGAN = replace(SMALL_DAGAN, decoder="spade")
KINDS = ("fomm", "dagan", "spade")
LANDMARKS = np.zeros((1, 478, 3), np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory, random_first_order, random_network):
    """A file of each kind, of networks trained, as it says, at 128 pixels."""
    folder = tmp_path_factory.mktemp("warp")
    paths = {}
    for kind in KINDS:
        paths[kind] = folder / kind / "weights.safetensors"
        paths[kind].parent.mkdir()
        if kind == "fomm":
            first_order_weights.save_model(random_first_order(SMALL, 1), paths[kind], {"size": "128"})
        else:
            config = SPADE_DAGAN if kind == "spade" else SMALL_DAGAN
            model = random_network(lambda config=config: DaGANModel(config), 2)
            dagan_weights.save_model(model, paths[kind], {"size": "128"})
    return paths


def load(kind, weights, size=128):
    return (FOMMGenerator if kind == "fomm" else DaGANGenerator)(size, weights[kind])


def picture(seed, size=128):
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)


def moved(generator, identity, driving):
    transfer = KeypointTransfer(generator.source_keypoints(identity), TransferConfig("absolute"))
    return generator.motion(transfer.transfer(driving))


@pytest.mark.parametrize("kind", KINDS)
def test_what_halves_say_of_their_tensors_is_what_they_are(kind, weights):
    generator = load(kind, weights)
    specs = generator.network_specs()
    frames = np.stack((picture(0), picture(1)))
    identity = generator.encode(frames, np.repeat(LANDMARKS, 2, 0))
    for entry in (*specs["encode"].outputs, *specs["render"].inputs):
        if entry.name in identity:
            assert identity[entry.name].shape == (2, *entry.shape), entry.name
            assert identity[entry.name].dtype == entry.dtype, entry.name
    found = generator.detect(frames)
    assert [one.count for one in found] == [5, 5] == [generator.keypoint_count] * 2
    motions = [moved(generator, {k: v[i : i + 1] for k, v in identity.items()}, found[i]) for i in range(2)]
    together = generator.render(identity, {name: np.concatenate([m[name] for m in motions]) for name in motions[0]})
    assert together.shape == (2, 128, 128, 3)
    assert together.dtype == np.uint8
    assert together.std() > 1
    for i, motion in enumerate(motions):  # a batch is what its rows are
        alone = generator.render({name: value[i : i + 1] for name, value in identity.items()}, motion)
        assert np.abs(together[i].astype(int) - alone[0]).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_halves_one_after_the_other_are_the_model(kind, weights):
    """Absolute transfer, with the 2x2 inverse outside of the graph."""
    import torch

    from engine.nets.pictures import pixels, planes

    generator = load(kind, weights)
    source, driving = picture(3), picture(4)
    identity = generator.encode(source[None], LANDMARKS)
    frame = generator.render(identity, moved(generator, identity, generator.detect(driving[None])[0]))[0]
    read = first_order_weights.load_model if kind == "fomm" else dagan_weights.load_model
    with torch.inference_mode():
        whole = read(weights[kind])(planes(torch.from_numpy(source[None])), planes(torch.from_numpy(driving[None])))
        expected = pixels(whole).numpy()[0]
    assert np.abs(frame.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [256, 512])
def test_other_sizes_see_their_motion_as_in_training(size, weights):
    """The same picture has the same keypoints, up to the filter."""
    small, large = load("fomm", weights), load("fomm", weights, size)
    near = np.abs(small.detect(picture(5)[None])[0].points - large.detect(picture(5, size)[None])[0].points)
    assert near.max() < 0.1
    identity = large.encode(picture(5, size)[None], LANDMARKS)
    assert identity["heatmaps"].shape == (1, 5, 32, 32)
    assert identity["features"].shape == (1, 32, size // 4, size // 4)
    frame = large.render(identity, moved(large, identity, large.detect(picture(6, size)[None])[0]))
    assert frame.shape == (1, size, size, 3)


def require_native_operators(model):
    """What TensorRT does not take: a matrix inverse, control flow, a grid sample of rank 5."""
    model = onnx.shape_inference.infer_shapes(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not {node.op_type for node in model.graph.node} & {"Inverse", "Det", "Loop", "If", "NonZero"}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.value_info}
    samplers = [node for node in model.graph.node if node.op_type == "GridSample"]
    assert all(ranks[node.output[0]] == 4 for node in samplers)


@pytest.mark.parametrize("kind", KINDS)
def test_exported_halves_agree_with_torch_in_every_runtime(kind, weights, tmp_path):
    """In `export_generator`, which raises where they do not; then the files are used."""
    own = {kind: tmp_path / "weights.safetensors"}
    own[kind].write_bytes(weights[kind].read_bytes())
    generator = load(kind, own)
    frame = picture(7)
    motions = example_motions(generator, frame, FaceModel.load().person(), None)
    assert len(motions) > 2
    written = export_generator(generator, frame[None], LANDMARKS, motions, tmp_path)
    assert {half: entry.path.name for half, entry in written.items()} == {
        half: f"{half}_128.onnx" for half in ("detect", "encode", "render")
    }
    for entry in written.values():
        require_native_operators(onnx.load(entry.path))
    config = RuntimeConfig(threads=1)
    frames, points = {}, {}
    for runtime in (TorchRuntime(config), OnnxRuntime(config), OpenVinoRuntime(config), AutoRuntime(config)):
        compiled = runtime.compile(generator)
        points[runtime.name] = runtime.detector(generator)(frame[None])[0].points
        identity = compiled.encode(frame[None], LANDMARKS)
        frames[runtime.name] = compiled.render(identity, motions[1])[0].astype(int)
    for name in frames:
        assert np.abs(frames[name] - frames["torch"]).max() <= 2, name
        np.testing.assert_allclose(points[name], points["torch"], atol=1e-3, err_msg=name)


def test_without_exported_networks_torch_renders(weights):
    """Weights that were imported come without; other runtimes say how to make them."""
    generator = load("fomm", weights)
    with pytest.raises(WeightsError, match=r"no exported network at .*detect_128\.onnx|no exported network"):
        OpenVinoRuntime(RuntimeConfig(1)).compile(generator)
    runtime = AutoRuntime(RuntimeConfig(1))
    compiled = runtime.compile(generator)
    identity = compiled.encode(picture(0)[None], LANDMARKS)
    assert set(identity) == {"features", "small", "heatmaps", "source_points", "source_jacobians"}
    assert runtime.detector(generator)(picture(0)[None])[0].count == 5
    with pytest.raises(RuntimeUnavailableError, match="executes no networks"):
        NumpyRuntime(RuntimeConfig(1)).detector(generator)


def test_the_digest_tells_weights_apart(weights):
    assert load("fomm", weights).digest == load("fomm", weights, 256).digest
    assert len(load("fomm", weights).digest) == 8
    assert load("fomm", weights).digest != load("dagan", weights).digest


def test_what_is_no_motion_or_frame_of_its_is_refused(weights):
    generator = load("fomm", weights)
    identity = generator.encode(picture(0)[None], LANDMARKS)
    motion = moved(generator, identity, generator.detect(picture(1)[None])[0])
    with pytest.raises(GeneratorError, match=r"motion points: expected \(1, 5, 2\) finite, got \(1, 4, 2\)"):
        generator.render(identity, {**motion, "points": motion["points"][:, :4]})
    with pytest.raises(GeneratorError, match=r"motion matrices: expected .* finite"):
        generator.render(identity, {**motion, "matrices": motion["matrices"] * np.nan})
    for half in (generator.detect, lambda frames: generator.encode(frames, LANDMARKS)):
        with pytest.raises(GeneratorError, match=r"frames: expected \(B, 128, 128, 3\) uint8"):
            half(picture(0, 256)[None])


def test_a_file_of_something_else_is_refused(weights, tmp_path):
    with pytest.raises(WeightsError, match="weights of first-order, not dagan"):
        DaGANGenerator(128, weights["fomm"])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights["fomm"].read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cut short"):
        FOMMGenerator(128, cut)
    state = load_file(weights["fomm"])
    config = first_order_weights.model_metadata(SMALL)
    for metadata, message in (
        ({}, "weights of something else, not fomm"),
        ({**config, "config": "{"}, "no configuration in its metadata"),
        ({**config, "config": json.dumps({"width": 8})}, "does not describe a fomm"),
        ({**config, "size": "many"}, "no configuration in its metadata"),
    ):
        save_file(state, tmp_path / "b.safetensors", metadata)
        with pytest.raises(WeightsError, match=message):
            FOMMGenerator(128, tmp_path / "b.safetensors")
    save_file({k: v for k, v in state.items() if k != "generator.final.bias"}, tmp_path / "c.safetensors", config)
    with pytest.raises(WeightsError, match=r"1 missing keys: generator\.final\.bias"):
        FOMMGenerator(256, tmp_path / "c.safetensors").encode(picture(0, 256)[None], LANDMARKS)


def test_sizes_that_weights_cannot_do_are_refused(weights, tmp_path):
    with pytest.raises(GeneratorError, match="no size 64; it renders 128, 256, 512"):
        FOMMGenerator(64, weights["fomm"])
    first_order_weights.save_model(first_order_weights.load_model(weights["fomm"]), tmp_path / "a.safetensors")
    assert FOMMGenerator(128, tmp_path / "a.safetensors")  # as published, by 256 pixels
    first_order_weights.save_model(
        first_order_weights.load_model(weights["fomm"]), tmp_path / "b.safetensors", {"size": "1024"}
    )
    with pytest.raises(GeneratorError, match="trained at 1024 pixels, cannot render 128"):
        FOMMGenerator(128, tmp_path / "b.safetensors")


def test_without_weights_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("VISAVIS_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match="visavis weights import fomm FILE"):
        FOMMGenerator(256)


def test_an_avatar_is_driven_by_its_keypoints(weights, monkeypatch, tmp_path):
    """The whole way, as `visavis render` goes it: tracker, transfer, frame."""
    folder = tmp_path / "fomm"
    folder.mkdir()
    (folder / "fomm.safetensors").write_bytes(weights["fomm"].read_bytes())
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    avatar = Avatar.from_image(PORTRAIT, generator="fomm", size=128)
    assert isinstance(avatar._drive, KeypointDrive)
    with load_tracker("fomm", size=128) as tracker:
        assert isinstance(tracker, KeypointTracker)
        from engine.face.images import load_image

        state = tracker.process(load_image(PORTRAIT), 0.5)
    assert isinstance(state, Keypoints)
    first = avatar.render(state)
    np.testing.assert_array_equal(first, avatar.render(state))
    turned = Keypoints(state.points + np.float32(0.1), state.jacobians)
    assert np.abs(first.astype(int) - avatar.render(turned)).mean() > 0.1
    avatar.begin(turned)
    np.testing.assert_array_equal(avatar.render(turned), first)
    face = FaceState((0, 0, 0), (0, 0), 0.3, np.zeros(10), (0, 0))
    with pytest.raises(GeneratorError, match="fomm is driven by keypoints, and got face states"):
        avatar.render(face)


def test_runtimes_are_found_by_name_for_detectors_too(weights):
    assert load_runtime("torch:1").detector(load("dagan", weights))(picture(0)[None])[0].count == 5
