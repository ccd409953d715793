"""IP-LAP's landmark generator: its published size and cost, and its transformer beside torch's."""

import math

import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator, PositionTable, Transformer  # noqa: E402

SMALL = LandmarkConfig(width=128, layers=2, feed_forward=64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LandmarkGenerator(SMALL).double().eval()


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return (
        torch.rand(2, 7, 131, 2, dtype=torch.float64),
        8 * torch.rand(2, 5, 80, 16, dtype=torch.float64) - 4,
        torch.rand(2, 5, 74, 2, dtype=torch.float64),
    )


def test_published_parameters_and_cost():
    count = lambda module: sum(parameter.numel() for parameter in module.parameters())  # noqa: E731
    with torch.device("meta"):
        full = LandmarkGenerator().eval()
        assert count(full) == 13_724_394
        assert (count(full.mel_encoder), count(full.pose_encoder)) == (2_812_672, 1_318_204)
        assert count(full.ref_encoder) == 1_120_828

        def gmac(function, *arguments):
            with FlopCounterMode(display=False) as counter:
                result = function(*arguments)
            return counter.get_total_flops() / 2e9, result

        once, tokens = gmac(full.encode, torch.zeros(1, 15, 131, 2))
        each, contents = gmac(full.predict, tokens, torch.zeros(1, 5, 80, 16), torch.zeros(1, 5, 74, 2))
        token, _ = gmac(full.mel_encoder, torch.zeros(1, 1, 80, 16))
        pose, _ = gmac(full.pose_encoder, torch.zeros(1, 2, 74))
    assert once == pytest.approx(0.0399, abs=5e-5)
    assert token == pytest.approx(0.0931, abs=5e-5)
    assert pose == pytest.approx(0.0033, abs=5e-5)
    # The transformer over 25 tokens with its attention products, and the heads.
    assert each - 5 * (token + pose) == pytest.approx(0.2097 + 0.003, abs=1e-3)
    assert contents.shape == (1, 5, 57, 2)


@torch.no_grad()
def test_transformer_is_torchs_own():
    torch.manual_seed(2)
    ours = Transformer(SMALL).double().eval()
    layer = nn.TransformerEncoderLayer(128, 4, 64, batch_first=True, dtype=torch.float64)
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 11, 128, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-12, rtol=0)


def test_positions_are_sines_and_cosines():
    table = PositionTable(512)(5)[0].double()
    for place in (1, 4):
        for pair in (0, 3, 200):
            angle = place * 10000 ** (-2 * pair / 512)
            assert table[place, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[place, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


@torch.no_grad()
def test_voice_moves_the_mouth_through_its_own_tokens_and_pose_the_jaw(network, inputs):
    """Without layers between, a token reaches only the points that are made of it."""
    references, mels, poses = inputs
    torch.manual_seed(3)
    bare = LandmarkGenerator(SMALL).double().eval()
    bare.fusion_transformer.transformer_encoder.layers = nn.ModuleList()
    contents = bare(references, mels, poses)
    heard, seen = mels.clone(), poses.clone()
    heard[:, 3] = 0
    seen[:, 1] += 0.1
    by_voice, by_pose = (bare(references, heard, poses) != contents), (bare(references, mels, seen) != contents)
    assert by_voice.flatten(2).any(2).tolist() == [[False, False, False, True, False]] * 2
    assert by_voice[:, 3, 17:].all()
    assert not by_voice[:, :, :17].any()
    assert by_pose.flatten(2).any(2).tolist() == [[False, True, False, False, False]] * 2
    assert not by_pose[:, :, 17:].any()


@torch.no_grad()
def test_references_have_no_order_and_may_be_any_number(network, inputs):
    references, mels, poses = inputs
    contents = network(references, mels, poses)
    assert contents.shape == (2, 5, 57, 2)
    torch.testing.assert_close(network(references.flip(1), mels, poses), contents, atol=1e-10, rtol=0)
    assert not torch.allclose(network(references[:, :1], mels, poses), contents, atol=1e-4)


def test_senseless_widths_are_refused():
    for wrong in ({"width": 100}, {"width": 64}, {"layers": 0}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match="expected"):
            LandmarkConfig(**wrong)
