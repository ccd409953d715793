"""The blocks of the warping generators, with the state-dict layout of their published weights.

First Order Motion Model (2019) introduced them; DaGAN (2022) and AdaAT (2022, supplement, Fig. 1 a-d) took them over.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional


class SameBlock(nn.Module):
    """Convolution, batch norm, ReLU: (B, I, H, W) to (B, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))

    def activate(self, convolved: Tensor) -> Tensor:
        """What follows the convolution, for a caller who computes that otherwise."""
        return functional.relu(self.norm(convolved))


class DownBlock(SameBlock):
    """A `SameBlock` of 3x3, then averages of 2x2 pixels: (B, I, H, W) to (B, O, H // 2, W // 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(super().forward(x), 2)


class UpBlock(SameBlock):
    """Every pixel four times, then a `SameBlock` of 3x3: (B, I, H, W) to (B, O, 2 H, 2 W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        # AdaAT's Fig. 1(d) says bilinear; the published weights were trained with nearest.
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class ResBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions: (B, I, H, W) to (B, O, H, W), nothing after the sum.

    Where I and O differ, the raw input takes a 1x1 convolution around them (`channel_conv`), as in AdaAT.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        out_channels = out_channels or in_channels
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.norm2 = nn.BatchNorm2d(in_channels)
        self.channel_conv = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.relu(self.norm1(x)))
        inner = self.conv2(functional.relu(self.norm2(inner)))
        around = x if self.channel_conv is None else self.channel_conv(x)
        return cast(Tensor, inner + around)
