"""What IP-LAP's networks are made of, with the state-dict layout of the published files.

In its SPADE layers nothing lies between the convolution that reads the condition and those that make scale and shift of
it: no activation, unlike in other systems. `SpadeModulation` uses that.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"Of the leaky ReLUs in both kinds of blocks."

Activation = Literal["relu", "tanh"]


class ConvUnit(nn.Module):
    """Convolution with bias, batch norm, the input added where `residual`, activation; over pictures or sequences."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int | tuple[int, int] = 1,
        padding: int = 0,
        *,
        residual: bool = False,
        sequence: bool = False,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        conv: nn.Module
        if sequence:
            assert isinstance(stride, int)
            conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride, padding)
        else:
            conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)
        norm = nn.BatchNorm1d(out_channels) if sequence else nn.BatchNorm2d(out_channels)
        self.conv_block = nn.Sequential(conv, norm)
        self._residual = residual
        self._tanh = activation == "tanh"

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_block(x)
        if self._residual:
            inner = inner + x
        return torch.tanh(inner) if self._tanh else functional.relu(inner)


class Modulation(NamedTuple):
    """Scale and shift of a normalised map, (B, C, H, W) each; it becomes `x * scale + shift`."""

    scale: Tensor
    shift: Tensor


class SpadeLayer(nn.Module):
    """(..., C, H, W) normalised, then scaled and shifted at every pixel by what a (B, M, H, W) condition says."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def modulation(self, condition: Tensor) -> Modulation:
        hidden = self.conv1(condition)
        return Modulation(1.0 + self.gamma(hidden), self.beta(hidden))


class SpadeBlock(nn.Module):
    """Two SPADE layers, a leaky ReLU and a 3x3 convolution behind each: (B, C, H, W) to the same, nothing around."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.spade_layer_1 = SpadeLayer(channels, condition, hidden)
        self.spade_layer_2 = SpadeLayer(channels, condition, hidden)

    def modulations(self, condition: Tensor) -> tuple[Modulation, Modulation]:
        """Of both layers. condition: (B, M, H, W)."""
        return self.spade_layer_1.modulation(condition), self.spade_layer_2.modulation(condition)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        first, second = self.modulations(condition)
        return self.modulated(normalised(x), first, second)

    def modulated(self, normal: Tensor, first: Modulation, second: Modulation) -> Tensor:
        """The block behind its first normalisation; one modulation serves (B, C, H, W) or K maps (B, K, C, H, W)."""
        x = each_map(self.conv_1, activated(normal, first))
        return each_map(self.conv_2, activated(normalised(x), second))


class AdaINLayer(nn.Module):
    """Scale and shift (B, C, 1, 1) of normalised maps, from (B, D) numbers."""

    def __init__(self, channels: int, numbers: int, shared: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(numbers, shared), nn.ReLU())
        self.mlp_gamma = nn.Linear(shared, channels)
        self.mlp_beta = nn.Linear(shared, channels)

    def modulation(self, numbers: Tensor) -> Modulation:
        hidden = self.mlp_shared(numbers)
        return Modulation(1.0 + self.mlp_gamma(hidden)[..., None, None], self.mlp_beta(hidden)[..., None, None])


class AdaINBlock(nn.Module):
    """Two AdaIN layers, a leaky ReLU and a 3x3 convolution behind each: (B, C, H, W) to the same, nothing around."""

    def __init__(self, channels: int, numbers: int, shared: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.adain_layer_1 = AdaINLayer(channels, numbers, shared)
        self.adain_layer_2 = AdaINLayer(channels, numbers, shared)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        x = self.conv_1(activated(normalised(x), self.adain_layer_1.modulation(numbers)))
        return cast(Tensor, self.conv_2(activated(normalised(x), self.adain_layer_2.modulation(numbers))))


def normalised(x: Tensor) -> Tensor:
    """(..., C, H, W) with mean 0 and variance 1 of every map, eps 1e-5."""
    if x.ndim == 4:
        return functional.instance_norm(x)
    return separated(functional.instance_norm(x.flatten(0, 1)), x)


def activated(normal: Tensor, modulation: Modulation) -> Tensor:
    """Normalised maps, modulated, behind a leaky ReLU."""
    scale, shift = modulation
    if normal.ndim > scale.ndim:
        scale, shift = scale[:, None], shift[:, None]
    return functional.leaky_relu(normal * scale + shift, SLOPE)


def each_map(module: nn.Module, x: Tensor) -> Tensor:
    """A module for (B, C, H, W) on these, or on every one of K maps (B, K, C, H, W)."""
    if x.ndim == 4:
        return cast(Tensor, module(x))
    return separated(module(x.flatten(0, 1)), x)


def separated(x: Tensor, like: Tensor) -> Tensor:
    """(B K, ...) as (B, K, ...), of as many as there are of another tensor (B, K, ...)."""
    return x.reshape(like.shape[0], like.shape[1], *x.shape[1:])
