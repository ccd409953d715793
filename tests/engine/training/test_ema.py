"""The running mean of the weights."""

from __future__ import annotations

import torch
from torch import nn

from engine.training.ema import RunningMean


def scalar(value: float) -> nn.Module:
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(value)
    return network


def set_to(network: nn.Module, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


def test_mean_follows_the_formula_and_leaves_the_weights():
    network = scalar(1.0)
    mean = RunningMean({"only": network}, decay=0.3)
    expected = 1.0
    for update in range(6):
        set_to(network, float(update))
        mean.update()
        decay = min(0.3, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    assert network.weight.item() == 5.0
    with mean.swapped_in():
        torch.testing.assert_close(network.weight.item(), expected, rtol=1e-6, atol=0)
    assert network.weight.item() == 5.0


def test_weights_come_back_after_an_error():
    network = scalar(1.0)
    mean = RunningMean({"only": network}, decay=0.9)
    set_to(network, 2.0)
    try:
        with mean.swapped_in():
            assert network.weight.item() == 1.0
            raise ValueError
    except ValueError:
        pass
    assert network.weight.item() == 2.0


def test_statistics_of_batch_norms_are_averaged_and_counters_copied():
    network = nn.BatchNorm2d(1, momentum=1.0)
    mean = RunningMean({"norm": network}, decay=0.5)
    network(torch.full((2, 1, 2, 2), 8.0))
    mean.update()  # decay 1/10 at first
    with mean.swapped_in():
        torch.testing.assert_close(network.running_mean, torch.tensor([7.2]))
        assert network.num_batches_tracked.item() == 1


def test_state_goes_over_to_another_run():
    network, other = scalar(1.0), scalar(0.0)
    mean = RunningMean({"only": network}, decay=0.9)
    set_to(network, 5.0)
    mean.update()
    taken_over = RunningMean({"only": other}, decay=0.9)
    taken_over.load_state_dict(mean.state_dict())
    set_to(other, 5.0)
    for one in (mean, taken_over):
        one.update()
    with mean.swapped_in(), taken_over.swapped_in():
        assert torch.equal(network.weight, other.weight)
