"""The head motion learner: its cost, what it sees, and that it learns how a head moves."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.head_motion_learner import (  # noqa: E402
    Extrapolator,
    HeadMotionConfig,
    HeadMotionLearner,
    MotionDiscriminator,
    motion_statistics,
)

SMALL = HeadMotionConfig(samples=12, divisor=8, dropout=0.0)


@pytest.fixture
def learner():
    torch.manual_seed(0)
    return HeadMotionLearner(SMALL).double().eval()


def voice(batch, frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 7, SMALL.samples, generator=generator, dtype=torch.float64)


def test_cost_is_the_published_one():
    with torch.device("meta"):
        network = HeadMotionLearner().eval()
        assert sum(parameter.numel() for parameter in network.parameters()) == 50_737_510
        with FlopCounterMode(display=False) as counter:
            network.mid_net(torch.zeros(1, 100, 7, 640))
        assert counter.get_total_flops() / 2e9 / 100 == pytest.approx(0.05, abs=0.001)
        extrapolator = network.enrol(torch.zeros(1, 64, 6), torch.zeros(1, 64, 7, 640))
        assert extrapolator.weight.shape == (1, 256, 6)


def test_a_persons_motion_is_linear_in_the_voice(learner):
    """Predicted weights first, biases last; the frames to come play no part in them."""
    motion, known, later = torch.randn(2, 64, 6, dtype=torch.float64), voice(2, 64), voice(2, 10, 1)
    with torch.no_grad():
        extrapolator = learner.enrol(motion, known)
        found = learner(motion, known, later)
        features = learner.mid_net(later)
        expected = torch.stack([features[b] @ extrapolator.weight[b] + extrapolator.bias[b] for b in range(2)])
        torch.testing.assert_close(found, expected)
        flat = learner.decode.l(learner.encode(motion, learner.mid_net(known)))
        torch.testing.assert_close(extrapolator.weight, flat[:, :-6].view(2, -1, 6))
        torch.testing.assert_close(extrapolator.bias, flat[:, -6:])


def test_features_see_two_frames_on_each_side(learner):
    chunks = voice(1, 12)
    changed = chunks.clone()
    changed[:, 6] += 1
    with torch.no_grad():
        differ = (learner.mid_net(chunks) - learner.mid_net(changed)).abs().amax(dim=(0, 2)) > 1e-9
    assert differ.nonzero().flatten().tolist() == [4, 5, 6, 7, 8]


def test_too_short_an_enrolment_is_refused(learner):
    with torch.no_grad():
        learner.enrol(torch.zeros(1, 13, 6, dtype=torch.float64), voice(1, 13))
        with pytest.raises(ValueError, match="expected at least 13 frames, got 12"):
            learner.enrol(torch.zeros(1, 12, 6, dtype=torch.float64), voice(1, 12))


def test_statistics_are_mean_and_deviation_of_motion_and_steps():
    motion = torch.tensor([[0.0, 2.0, 4.0, 2.0]])[..., None].expand(1, 4, 6)
    mean, deviation, step, change = motion_statistics(motion).view(4, 6)[:, 0].tolist()
    assert mean == 2
    assert deviation == pytest.approx((8 / 3) ** 0.5)
    assert step == pytest.approx(2 / 3)
    assert change == pytest.approx((16 / 3) ** 0.5)
    assert MotionDiscriminator()(motion).shape == (1,)


def test_extrapolator_is_one_linear_map_for_each_of_a_batch():
    weight, bias = torch.zeros(2, 3, 6), torch.tensor([[1.0] * 6, [2.0] * 6])
    weight[1, 2] = 5.0
    found = Extrapolator(weight, bias)(torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 0.0, 3.0]]]))
    assert found[:, 0, 0].tolist() == [1.0, 17.0]
