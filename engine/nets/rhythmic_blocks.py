"""The blocks of Rhythmic Head Motion's generator (ECCV 2020), with the state-dict layout of its published weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

ConvT = TypeVar("ConvT", bound=nn.Module)

SLOPE = 0.2
"Of every leaky ReLU of the generator."


class PointConv(NamedTuple):
    """A predicted 1x1 convolution, another one for each sample."""

    weight: Tensor
    "(B, O, I)"
    bias: Tensor
    "(B, O)"

    def __call__(self, x: Tensor) -> Tensor:
        """(B, I, H, W) to (B, O, H, W)."""
        batch, _, height, width = x.shape
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return (weight @ x.flatten(2) + bias[:, :, None]).view(batch, -1, height, width)


class Modulation(NamedTuple):
    """What scales and shifts a normalised map by a condition."""

    gamma: PointConv | nn.Module
    beta: PointConv | nn.Module


def activated(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE)


def spectral(module: ConvT, wanted: bool) -> ConvT:
    """Spectral normalisation around a convolution or matrix: `weight_orig`, `weight_u` and `weight_v`."""
    return nn.utils.spectral_norm(module) if wanted else module


def enlarged(x: Tensor) -> Tensor:
    """Every pixel four times."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class ConvUnit(nn.Module):
    """3x3 convolution, batch norm, leaky ReLU: (B, I, H, W) to (B, O, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, spectral_norm: bool = True) -> None:
        super().__init__()
        self.conv = spectral(nn.Conv2d(in_channels, out_channels, 3, stride, 1), spectral_norm)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))

    def activate(self, convolved: Tensor) -> Tensor:
        """What follows the convolution."""
        return activated(self.bn(convolved))


class PreActivationBlock(nn.Module):
    """Residual block of two 3x3 convolutions, each behind norm and leaky ReLU: (B, I, H, W) to (B, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, spectral_norm: bool = True) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.conv_0 = spectral(nn.Conv2d(in_channels, middle, 3, padding=1), spectral_norm)
        self.conv_1 = spectral(nn.Conv2d(middle, out_channels, 3, padding=1), spectral_norm)
        self.bn_0 = nn.BatchNorm2d(in_channels)
        self.bn_1 = nn.BatchNorm2d(middle)
        self.conv_s: nn.Conv2d | None = None
        self.bn_s: nn.BatchNorm2d | None = None
        if in_channels != out_channels:
            self.conv_s = spectral(nn.Conv2d(in_channels, out_channels, 1, bias=False), spectral_norm)
            self.bn_s = nn.BatchNorm2d(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.conv_s is None or self.bn_s is None else self.conv_s(self.bn_s(x))
        inner = self.conv_0(activated(self.bn_0(x)))
        return cast(Tensor, around + self.conv_1(activated(self.bn_1(inner))))


class Spade(nn.Module):
    """(B, C, H, W) normalised over the batch, then x (1 + gamma) + beta by each condition in turn; 1x1 convolutions.

    The convolutions of the first condition may be predicted: `forward` is given them then, and none are stored.
    """

    def __init__(self, channels: int, conditions: Sequence[int], predicted: bool = False) -> None:
        """conditions: the channels of each."""
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels, affine=False)
        self._stored: list[tuple[str, str] | None] = []
        for number, width in enumerate(conditions, 1):
            if number == 1 and predicted:
                self._stored.append(None)
                continue
            names = tuple(f"mlp_{kind}{number if number > 1 else ''}" for kind in ("gamma", "beta"))
            for name in names:
                self.add_module(name, nn.Conv2d(width, channels, 1))
            self._stored.append((names[0], names[1]))

    def forward(self, x: Tensor, conditions: Sequence[Tensor], predicted: Modulation | None = None) -> Tensor:
        """conditions: the first ones of those that it was made for, (B, D, ., .) of any size."""
        x = self.batch_norm(x)
        for condition, names in zip(conditions, self._stored, strict=False):
            if condition.shape[-2:] != x.shape[-2:]:
                condition = functional.interpolate(condition, size=x.shape[-2:], mode="bilinear", align_corners=False)
            if names is None:
                assert predicted is not None
                gamma, beta = predicted
            else:
                gamma, beta = self.get_submodule(names[0]), self.get_submodule(names[1])
            x = x * (1.0 + gamma(condition)) + beta(condition)
        return x


class Predicted(NamedTuple):
    """What the weight generator makes for one up block."""

    norm_0: Modulation
    norm_1: Modulation
    norm_s: Modulation


class UpBlock(nn.Module):
    """A `PreActivationBlock` with `Spade` in place of the norms."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        conditions: Sequence[int],
        predicted: bool,
        apart: bool,
        spectral_norm: bool = True,
    ) -> None:
        """conditions: the channels of each. predicted: whether those of the first have predicted convolutions.

        apart: whether in front of the two convolutions each condition has a norm of its own, and their activated
        results are averaged: the composition that the paper calls non-linear. Else they modulate in turn.
        """
        super().__init__()
        middle = min(in_channels, out_channels)
        self._apart = apart
        self.conv_0 = spectral(nn.Conv2d(in_channels, middle, 3, padding=1), spectral_norm)
        self.conv_1 = spectral(nn.Conv2d(middle, out_channels, 3, padding=1), spectral_norm)
        for name, channels in (("bn_0", in_channels), ("bn_1", middle)):
            if not apart:
                self.add_module(name, Spade(channels, conditions, predicted))
                continue
            for number, width in enumerate(conditions):
                self.add_module(f"{name}_{number}", Spade(channels, (width,), predicted and number == 0))
        self.conv_s: nn.Conv2d | None = None
        self.bn_s: Spade | None = None
        if in_channels != out_channels:
            self.conv_s = spectral(nn.Conv2d(in_channels, out_channels, 1, bias=False), spectral_norm)
            self.bn_s = Spade(in_channels, conditions, predicted)

    def forward(self, x: Tensor, conditions: Sequence[Tensor], predicted: Predicted | None = None) -> Tensor:
        """(B, I, H, W) to (B, O, H, W)."""
        around = x
        if self.conv_s is not None and self.bn_s is not None:
            around = self.conv_s(self.bn_s(x, conditions, predicted and predicted.norm_s))
        inner = self.conv_0(self._normed("bn_0", x, conditions, predicted and predicted.norm_0))
        inner = self.conv_1(self._normed("bn_1", inner, conditions, predicted and predicted.norm_1))
        return cast(Tensor, around + inner)

    def _normed(self, name: str, x: Tensor, conditions: Sequence[Tensor], predicted: Modulation | None) -> Tensor:
        if not self._apart:
            return activated(self.get_submodule(name)(x, conditions, predicted))
        results = [
            activated(self.get_submodule(f"{name}_{number}")(x, (condition,), predicted if number == 0 else None))
            for number, condition in enumerate(conditions)
        ]
        return torch.stack(results).mean(dim=0) if len(results) > 1 else results[0]
