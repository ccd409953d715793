"""The landmark generator with its weights, and exported."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from engine.audio.landmark_predictor import LandmarkPredictor  # noqa: E402
from engine.export import export_network  # noqa: E402
from engine.generators.base import GeneratorError  # noqa: E402
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator  # noqa: E402
from engine.nets.iplap_weights import save_landmarks  # noqa: E402

SMALL = LandmarkConfig(width=128, layers=1, feed_forward=32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LandmarkGenerator(SMALL).eval()


@pytest.fixture(scope="module")
def predictor(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "iplap-landmarks.safetensors"
    save_landmarks(network, path)
    return LandmarkPredictor(path)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    shapes = ((15, 131, 2), (5, 80, 16), (5, 74, 2))
    return [rng.random(shape, np.float32) for shape in shapes]


def test_predicts_what_the_network_does(predictor, network, inputs):
    references, mels, poses = inputs
    tokens = predictor.encode(references)
    assert tokens.shape == (1, 15, 128)
    with torch.no_grad():
        expected = network(*(torch.from_numpy(one)[None] for one in inputs))[0]
    np.testing.assert_allclose(predictor.predict(tokens, mels, poses), expected.numpy(), atol=1e-5)
    with pytest.raises(GeneratorError, match=r"references: expected \(N, 131, 2\)"):
        predictor.encode(references[0])


def test_few_pictures_are_repeated_and_many_are_all_seen(predictor, inputs):
    references = inputs[0]
    np.testing.assert_allclose(
        predictor.encode(references[:2]), predictor.encode(np.resize(references[:2], (15, 131, 2))), atol=1e-6
    )
    assert predictor.encode(np.tile(references, (2, 1, 1))).shape == (1, 30, 128)


def test_weights_that_are_not_there_or_of_something_else_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    (tmp_path / "iplap").mkdir()
    with pytest.raises(GeneratorError, match=r"(?s)no landmark generator at.*visavis train iplap-landmarks"):
        LandmarkPredictor()
    path = tmp_path / "other.safetensors"
    for about, said in (({"task": "iplap"}, "weights of iplap"), ({"task": "iplap-landmarks"}, "does not describe")):
        header = json.dumps({"__metadata__": about}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(GeneratorError, match=said):
            LandmarkPredictor(path)


@pytest.mark.slow
def test_exported_network_agrees_with_torch(predictor, inputs, tmp_path):
    """`export_network` compares, and refuses where they do not."""
    pytest.importorskip("onnx", reason="networks are exported with onnx (extra: export)")
    _, mels, poses = (one[None] for one in inputs)
    tokens = predictor.encode(inputs[0])
    examples = [{"tokens": tokens[:, :n], "mels": mels, "poses": poses} for n in (1, 6)]
    spec = predictor.network_specs()["predict"]
    exported = export_network(predictor.torch_module("predict"), spec, examples, tmp_path / "predict.onnx")
    assert exported.path.is_file()
    assert all(one.largest < 1e-3 for outputs in exported.deviations.values() for one in outputs.values())
