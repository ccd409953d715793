"""The expression learner: its cost, what it sees, and what it does not do while it is used."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner  # noqa: E402

SMALL = ExpressionConfig(samples=3000, divisor=16)


def test_cost_is_the_published_one():
    with torch.device("meta"):
        network = ExpressionLearner().eval()
        assert sum(parameter.numel() for parameter in network.parameters()) == 17_236_948
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 14_000), torch.zeros(1, 20))
        assert counter.get_total_flops() / 2e9 == pytest.approx(1.73, abs=0.005)


def test_sees_voice_and_the_face_at_rest():
    torch.manual_seed(0)
    network = ExpressionLearner(SMALL).double().eval()
    voice, rest = 1000 * torch.randn(3, 3000, dtype=torch.float64), torch.randn(3, 20, dtype=torch.float64)
    with torch.no_grad():
        found = network(voice, rest)
        assert found.shape == (3, 20)
        assert (network(voice.flip(0), rest) - found)[0].abs().max() > 1e-4
        assert (network(voice, rest.flip(0)) - found)[0].abs().max() > 1e-4
        torch.testing.assert_close(network(voice[1:2], rest[1:2]), found[1:2])
        torch.testing.assert_close(network(voice, rest), found, atol=0, rtol=0)
        network.train()
        assert (network(voice, rest) - network(voice, rest)).abs().max() > 1e-4


def test_voice_that_is_too_short_for_the_convolutions_is_refused():
    assert ExpressionConfig().length == 90
    with pytest.raises(ValueError, match="fewer than seven convolutions need"):
        ExpressionConfig(samples=2000)
