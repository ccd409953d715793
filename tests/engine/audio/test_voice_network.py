"""The network without torch: equal to the one that is trained, in pieces equal to the whole."""

from __future__ import annotations

import numpy as np
import pytest

from engine.audio.voice_motion import VoiceModel
from engine.audio.voice_network import VoiceNetwork
from engine.weights import WeightsError, weights_path
from engine.weights.stored_arrays import read_arrays


@pytest.fixture(scope="module")
def arrays():
    stored, _ = read_arrays(weights_path("voice"))
    return {name.removeprefix("net."): value for name, value in stored.items() if name.startswith("net.")}


def columns(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-4, 1, (count, 80)).astype(np.float32)


def test_numpy_says_what_torch_says(arrays):
    torch = pytest.importorskip("torch", reason="compares with torch")
    from engine.nets.voice import VoiceNet, VoiceNetConfig

    net = VoiceNet(VoiceNetConfig(outputs=VoiceNetwork(arrays).outputs)).eval()
    net.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in arrays.items()})
    mel = columns(300)
    with torch.no_grad():
        wanted = net(torch.from_numpy(mel)[None])[0].numpy()
    np.testing.assert_allclose(VoiceNetwork(arrays).stream().push(mel), wanted, atol=2e-4)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_pieces_say_what_the_whole_says(arrays, size):
    mel = columns(120)
    stream = VoiceNetwork(arrays).stream()
    pieces = [stream.push(mel[begin : begin + size]) for begin in range(0, 120, size)]
    np.testing.assert_allclose(np.concatenate(pieces), VoiceNetwork(arrays).stream().push(mel), atol=1e-4)


def test_weights_of_something_else_are_refused(arrays):
    with pytest.raises(WeightsError, match="not the weights of one"):
        VoiceNetwork({"some.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(WeightsError, match=r"blocks\.1\.conv\.weight does not fit"):
        VoiceNetwork({**arrays, "blocks.1.conv.weight": np.zeros((64, 32, 3), np.float32)})
    with pytest.raises(WeightsError, match="band_deviation"):
        VoiceNetwork({**arrays, "band_deviation": np.zeros(80, np.float32)})


def test_what_ships_is_small():
    assert weights_path("voice").stat().st_size < 300_000
    assert VoiceModel.load().network.bands == 80
