"""The importer on files in the published layout, made here of random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner  # noqa: E402
from engine.nets.head_motion_learner import HeadMotionConfig, HeadMotionLearner  # noqa: E402
from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork  # noqa: E402
from engine.nets.rhythmic_discriminator import RhythmicDiscriminator  # noqa: E402
from engine.nets.rhythmic_weights import fill, load_network, normalised  # noqa: E402
from engine.nets.stored_weights import LayoutError  # noqa: E402
from engine.weights.importers.rhythmic import (  # noqa: E402
    import_checkpoint,
    read_checkpoint,
    read_expression_learner,
    read_head_motion_learner,
)

HYBRID = RhythmicConfig(width=2, references=3)
PLAIN = RhythmicConfig(width=2, hybrid=False)


@cache
def as_published(config):
    """A network as it is trained, its spectra found. For all tests: leave it as it is."""
    torch.manual_seed(0)
    network = RhythmicNetwork(replace(config, spectral=True)).eval()
    fill(network, normalised(network))
    return network


@torch.no_grad()
def drawn(network):
    """What a network makes of certain pictures."""
    torch.manual_seed(3)
    n = network.config.references
    edges, *pictures = torch.rand(1, 1, 64, 64), *(torch.rand(1, 3, 64, 64) for _ in range(2))
    references = network.netG.encode(torch.rand(1, n, 3, 64, 64), torch.rand(1, n, 1, 64, 64))
    return network.compose(references, edges, pictures[0], edges, pictures[1], edges).frame


@pytest.mark.parametrize("config", [HYBRID, PLAIN], ids=["hybrid", "plain"])
def test_published_checkpoint_becomes_weights_of_ours(config, tmp_path):
    """Divided by their spectra; variant and number of references are found."""
    network = as_published(config)
    state = network.state_dict()
    assert any(key.endswith("weight_orig") for key in state)
    torch.save(state, tmp_path / "21_net_G.pth")
    import_checkpoint(tmp_path / "21_net_G.pth", tmp_path / "rhythmic.safetensors")
    loaded = load_network(tmp_path / "rhythmic.safetensors")
    assert loaded.config == config
    torch.testing.assert_close(drawn(loaded), drawn(network), atol=2e-5, rtol=0)


def test_linear_composition_is_recognised(tmp_path):
    torch.save(as_published(replace(HYBRID, nonlinear=False, matting=True)).state_dict(), tmp_path / "net_G.pth")
    config = read_checkpoint(tmp_path / "net_G.pth").config
    assert config.matting
    assert not config.nonlinear


def test_learners_of_the_voice_are_read(tmp_path):
    torch.manual_seed(0)
    expression = ExpressionLearner(ExpressionConfig(divisor=16)).eval()
    torch.save({f"module.{key}": value for key, value in expression.state_dict().items()}, tmp_path / "psi.pth")
    read = read_expression_learner(tmp_path / "psi.pth")
    voice, rest = torch.randn(1, 14_000), torch.randn(1, 20)
    with torch.no_grad():
        torch.testing.assert_close(read(voice, rest), expression(voice, rest))
    motion = HeadMotionLearner(HeadMotionConfig(samples=12, divisor=8)).eval()
    parts = {name: getattr(motion, name).state_dict() for name in ("encode", "mid_net", "decode")}
    torch.save(parts, tmp_path / "phi.pth")
    found = read_head_motion_learner(tmp_path / "phi.pth")
    assert found.config.samples == 12
    known, chunks = torch.randn(1, 20, 6), torch.randn(1, 20, 7, 12)
    with torch.no_grad():
        torch.testing.assert_close(found(known, chunks, chunks), motion(known, chunks, chunks))


class Payload:
    def __reduce__(self):
        return (print, ("code in a checkpoint was executed",))


def test_other_files_are_refused(tmp_path, capsys):
    """Each with its name and what is wrong; nothing is executed."""
    state = as_published(HYBRID).state_dict()

    def saved(content, name="net_G.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    (tmp_path / "noise.pth").write_bytes(b"noise")
    whole = saved(state).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    without_last = {key: value for key, value in state.items() if key != "netG.conv_img.bias"}
    nan = {**state, "netG.conv_img.bias": torch.full((3,), torch.nan)}
    discriminator = RhythmicDiscriminator(4).state_dict()
    for path, message in (
        (tmp_path / "noise.pth", "noise.pth: not a checkpoint, or a damaged one"),
        (tmp_path / "cut.pth", "cut.pth: not a checkpoint, or a damaged one"),
        (saved({"netG.x": Payload()}, "evil.pth"), "evil.pth: not a checkpoint of tensors alone"),
        (saved({"epoch": 3}, "epoch.pth"), "epoch.pth: generator: 'epoch' is not a named tensor"),
        (saved(discriminator, "21_net_D.pth"), r"21_net_D\.pth: no netG in it, .*ends in net_G\.pth"),
        (saved(without_last, "less.pth"), r"less\.pth: 1 missing keys: netG\.conv_img\.bias"),
        (saved({**state, "netG.more": torch.zeros(1)}, "more.pth"), r"more\.pth: 1 unknown keys: netG\.more"),
        (saved(nan, "nan.pth"), r"nan\.pth: generator: netG\.conv_img\.bias holds values that are not finite"),
        (saved({"netG.conv_img.bias": torch.zeros(3)}, "bias.pth"), r"bias\.pth: not weights of Rhythmic"),
    ):
        with pytest.raises(LayoutError, match=message):
            read_checkpoint(path)
    with pytest.raises(LayoutError, match="encode, mid_net, decode wanted"):
        read_head_motion_learner(tmp_path / "net_G.pth")
    with pytest.raises(LayoutError, match="no conv1 and fc2"):
        read_expression_learner(tmp_path / "net_G.pth")
    assert capsys.readouterr().out == ""
