"""Equalised learning rate (Progressive Growing of GANs, ICLR 2018, section 4.1).

Weights are drawn from N(0, 1) and multiplied at run time by gain / sqrt(fan-in), so that an optimiser which normalises
gradients moves all layers alike. Biases begin at 0 and are not multiplied.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

ModuleT = TypeVar("ModuleT", bound=nn.Module)

RELU_GAIN = math.sqrt(2.0)


class EqualizedConv(nn.Conv2d):
    """Convolution of an odd kernel that leaves the size as it is: (B, I, H, W) to (B, O, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True, gain: float = RELU_GAIN
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        self.rate = gain / math.sqrt(in_channels * kernel_size**2)
        self.reach = kernel_size // 2

    def reset_parameters(self) -> None:
        _reset(self)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, _multiplied(self.weight, self.rate), self.bias, padding=self.reach)


class EqualizedLinear(nn.Linear):
    """(B, I) to (B, O)."""

    def __init__(self, in_features: int, out_features: int, gain: float = RELU_GAIN) -> None:
        super().__init__(in_features, out_features)
        self.rate = gain / math.sqrt(in_features)

    def reset_parameters(self) -> None:
        _reset(self)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, _multiplied(self.weight, self.rate), self.bias)


def fold_rates(module: ModuleT) -> ModuleT:
    """An equal of a module whose weights need no multiplication any more: to execute, not to train."""
    folded = copy.deepcopy(module)
    for part in folded.modules():
        if isinstance(part, EqualizedConv | EqualizedLinear):
            with torch.no_grad():
                part.weight.mul_(part.rate)
            part.rate = 1.0
    return folded


def _multiplied(weight: Tensor, rate: float) -> Tensor:
    return weight if rate == 1.0 else weight * rate


def _reset(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
