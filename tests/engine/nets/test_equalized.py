"""Equalised learning rates."""

import math

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch (extra: torch)")

from torch import nn  # noqa: E402

from engine.nets.equalized import EqualizedConv, EqualizedLinear, fold_rates  # noqa: E402


def test_weights_are_of_unit_variance_and_outputs_too():
    """With the gain of a ReLU in front, which takes half of the variance."""
    torch.manual_seed(0)
    conv, dense = EqualizedConv(64, 128, 3), EqualizedLinear(2000, 500)
    for layer in (conv, dense):
        assert layer.weight.std().item() == pytest.approx(1.0, rel=0.02)
        assert not layer.bias.any()
    assert conv(torch.randn(1, 64, 32, 32).relu())[..., 1:-1, 1:-1].square().mean().item() == pytest.approx(1, rel=0.1)
    assert dense(torch.randn(50, 2000).relu()).square().mean().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_a_layer_is_a_plain_one_with_multiplied_weights(gain):
    torch.manual_seed(0)
    conv, x = EqualizedConv(5, 4, 3, gain=gain), torch.randn(2, 5, 6, 7)
    plain = nn.functional.conv2d(x, conv.weight * gain / math.sqrt(45), conv.bias, padding=1)
    torch.testing.assert_close(conv(x), plain)
    dense, y = EqualizedLinear(5, 4, gain=gain), torch.randn(2, 5)
    torch.testing.assert_close(dense(y), y @ dense.weight.T * gain / math.sqrt(5))


def test_folding_changes_the_weights_of_a_copy_and_nothing_else():
    torch.manual_seed(0)
    module, x = nn.Sequential(EqualizedConv(3, 4, 1), nn.Flatten(), EqualizedLinear(4 * 4, 2)), torch.randn(2, 3, 2, 2)
    before = [parameter.clone() for parameter in module.parameters()]
    folded = fold_rates(module)
    assert all(torch.equal(one, other) for one, other in zip(before, module.parameters(), strict=True))
    assert not torch.equal(folded[0].weight, module[0].weight)
    torch.testing.assert_close(folded(x), module(x))
    torch.testing.assert_close(fold_rates(folded)(x), module(x))
