"""The residual blocks of LSR (ICCV 2021): of its encoders, of its layout U-Net and of its image generator.

Instance norm has no parameters and an epsilon of 1e-3. All learning rates are equalised.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.equalized import EqualizedConv

EPSILON = 1e-3
SLOPE = 0.2
"Of the leaky ReLUs."


def normalised(x: Tensor) -> Tensor:
    """Instance norm by the population's variance."""
    return functional.instance_norm(x, eps=EPSILON)


def leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE)


def enlarged(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W), bilinear, pixel centres at halves."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class BlurPool(nn.Module):
    """(B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2)): [1 2 1] x [1 2 1] / 16, every second pixel.

    Zeros outside, as TensorFlow puts them: after an even side, and so the first output is centred on the second input;
    before and after an odd one.
    """

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        one = torch.tensor((0.25, 0.5, 0.25), dtype=x.dtype, device=x.device)
        taps = torch.outer(one, one).expand(channels, 1, 3, 3)
        return functional.conv2d(functional.pad(x, (width % 2, 1, height % 2, 1)), taps, stride=2, groups=channels)


class EncoderBlock(nn.Module):
    """Averages of 2x2 pixels, then a residual block without norm: (B, I, H, W) to (B, O, H // 2, W // 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.conv0 = EqualizedConv(in_channels, middle, 3)
        self.conv1 = EqualizedConv(middle, out_channels, 3)
        self.shortcut = EqualizedConv(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(x, 2)
        inner = self.conv1(functional.relu(self.conv0(functional.relu(x))))
        around = x if self.shortcut is None else self.shortcut(x)
        return cast(Tensor, around + inner)


class DownBlock(nn.Module):
    """Residual block that ends in a `BlurPool`: (B, I, H, W) to (B, O, ceil(H / 2), ceil(W / 2)).

    norm: with instance norms, as in the layout generator; without, both ways are averaged by 1 / sqrt(2), as in the
    discriminator.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: bool) -> None:
        super().__init__()
        self.conv0 = EqualizedConv(in_channels, in_channels, 3)
        self.conv1 = EqualizedConv(in_channels, out_channels, 3)
        self.shortcut = EqualizedConv(in_channels, out_channels, 1, bias=False)
        self.blur = BlurPool()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv0(leaky(self._normalised(x)))
        inner = self.blur(self.conv1(leaky(self._normalised(inner))))
        around = self.blur(self.shortcut(x))
        total = around + inner
        return cast(Tensor, total if self.norm else total * math.sqrt(0.5))

    def _normalised(self, x: Tensor) -> Tensor:
        return normalised(x) if self.norm else x


class UpBlock(nn.Module):
    """Residual block behind adaptive instance norms: (B, I, H, W) to (B, O, 2 H, 2 W).

    What the norms make of each channel is given: `modulation` values, 2 I for the first norm and 2 O for the second,
    each gains then shifts.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = EqualizedConv(in_channels, out_channels, 3)
        self.conv1 = EqualizedConv(out_channels, out_channels, 3)
        self.shortcut = EqualizedConv(in_channels, out_channels, 1, bias=False)
        self.modulation = 2 * (in_channels + out_channels)
        self._split = [2 * in_channels, 2 * out_channels]

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """modulation: (B, `self.modulation`)."""
        first, second = torch.split(modulation, self._split, dim=1)
        inner = self.conv0(enlarged(leaky(adapted(x, first))))
        inner = self.conv1(leaky(adapted(inner, second)))
        return cast(Tensor, self.shortcut(enlarged(x)) + inner)


def adapted(x: Tensor, modulation: Tensor) -> Tensor:
    """AdaIN: (B, C, H, W) normalised, times 1 + the first half of (B, 2 C), plus the second."""
    gain, shift = modulation[..., None, None].chunk(2, dim=1)
    return normalised(x) * (1.0 + gain) + shift


class SpadeNorm(nn.Module):
    """(B, C, H, W) normalised, then scaled by 1 + gamma and shifted by beta at every pixel, as a map (B, M, H, W) says.

    Both come out of one convolution, gamma first: they see the same.
    """

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.conv = EqualizedConv(condition, hidden, 3)
        self.modulation = EqualizedConv(hidden, 2 * channels, 3)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gamma, beta = self.modulation(functional.relu(self.conv(condition))).chunk(2, dim=1)
        return cast(Tensor, normalised(x) * (1.0 + gamma) + beta)


class SpadeBlock(nn.Module):
    """Residual block behind `SpadeNorm`s: (B, I, H, W) to (B, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.norm0 = SpadeNorm(in_channels, condition, hidden)
        self.conv0 = EqualizedConv(in_channels, middle, 3)
        self.norm1 = SpadeNorm(middle, condition, hidden)
        self.conv1 = EqualizedConv(middle, out_channels, 3)
        self.shortcut_norm: SpadeNorm | None = None
        self.shortcut: EqualizedConv | None = None
        if in_channels != out_channels:
            self.shortcut_norm = SpadeNorm(in_channels, condition, hidden)
            self.shortcut = EqualizedConv(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        around = x
        if self.shortcut is not None and self.shortcut_norm is not None:
            around = self.shortcut(self.shortcut_norm(x, condition))
        inner = self.conv0(leaky(self.norm0(x, condition)))
        inner = self.conv1(leaky(self.norm1(inner, condition)))
        return cast(Tensor, around + inner)
