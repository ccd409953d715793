"""How near a face's parts are, from one picture: the self-supervised depth network of DaGAN (2022), section 3.1.

A ResNet and a decoder with skip connections, as Monodepth2 (ICCV 2019) has them, with the keys of the published files.
What it gives is a disparity, near 1 for what is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.precision import widened

LEVELS = 5
"The encoder halves the picture so often, the decoder doubles it."
NEAREST, FARTHEST = 0.1, 100.0
"Of the depths that disparities from 1 to 0 stand for; the unit is not known."
MEAN, DEVIATION = 0.45, 0.225
"Of the pixels that the encoder wants, the same for all channels."

Layers = Literal[18, 50]

_BLOCKS: dict[Layers, tuple[int, ...]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"Of each of a ResNet's four stages, by its layers."


@dataclass(frozen=True)
class FaceDepthConfig:
    """What is variable about the network; the defaults are those of the paper's weights."""

    layers: Layers = 18
    "Of the ResNet. The paper's weights have 18, others that were published later 50."
    width: int = 64
    "Channels of its first layer; all others are in proportion."

    def __post_init__(self) -> None:
        if self.layers not in _BLOCKS:
            raise ValueError(f"layers: expected one of {', '.join(map(str, _BLOCKS))}, got {self.layers}")
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width: expected a multiple of 4, got {self.width}")

    @property
    def encoded(self) -> tuple[int, ...]:
        """Channels of the encoder's maps, at a half to a thirty-second of the picture's size."""
        growth = 4 if self.layers == 50 else 1
        return (self.width, *(growth * self.width << level for level in range(LEVELS - 1)))

    @property
    def decoded(self) -> tuple[int, ...]:
        """Channels of the decoder's maps, at the picture's size to a sixteenth of it."""
        return tuple((self.width // 4) << level for level in range(LEVELS))


def depth_of(disparity: Tensor, nearest: float = NEAREST, farthest: float = FARTHEST) -> Tensor:
    """The depth that a disparity from 0 to 1 stands for, from `farthest` to `nearest`: linear in its inverse.

    For the training of the depth network and for display: everything else takes the disparity.
    """
    return 1.0 / (1.0 / farthest + (1.0 / nearest - 1.0 / farthest) * disparity)


class FaceDepth(nn.Module):
    """(B, 3, H, W) pictures from 0 to 1 to disparities (B, 1, H, W) from 0 to 1; H and W from 64, divisible by 32."""

    def __init__(self, config: FaceDepthConfig = FaceDepthConfig()) -> None:
        super().__init__()
        self.config = config
        self.depth_encoder = DepthEncoder(config)
        self.depth_decoder = DepthDecoder(config)

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self._maps(pictures)
        return self.depth_decoder.disparity(maps[0], 0)

    def pyramid(self, pictures: Tensor) -> list[Tensor]:
        """Disparities of the picture's size, of half, a quarter and an eighth of it: what the training compares."""
        maps = self._maps(pictures)
        return [self.depth_decoder.disparity(maps[level], level) for level in range(self.depth_decoder.heads)]

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        height, width = pictures.shape[-2:]
        unit = 1 << LEVELS
        if height % unit or width % unit or min(height, width) < 2 * unit:
            raise ValueError(
                f"picture: {width}x{height} pixels; for its depth both sides must be divisible by {unit}, "
                f"at least {2 * unit}"
            )
        return cast(list[Tensor], self.depth_decoder(self.depth_encoder(pictures)))


class DepthEncoder(nn.Module):
    """The published `encoder.pth`: a ResNet behind the normalisation of its input."""

    def __init__(self, config: FaceDepthConfig) -> None:
        super().__init__()
        self.encoder = ResNet(config)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps at a half to a thirty-second of the picture's size."""
        return cast(list[Tensor], self.encoder((pictures - MEAN) / DEVIATION))


class DepthDecoder(nn.Module):
    """The published `depth.pth`: doubles the encoder's last map five times, and joins what the encoder had there."""

    heads = 4

    def __init__(self, config: FaceDepthConfig) -> None:
        super().__init__()
        encoded, decoded = config.encoded, config.decoded
        self.decoder = nn.ModuleList()
        for level in reversed(range(LEVELS)):
            below = encoded[-1] if level == LEVELS - 1 else decoded[level + 1]
            beside = encoded[level - 1] if level else 0
            self.decoder.append(ReflectedBlock(below, decoded[level]))
            self.decoder.append(ReflectedBlock(decoded[level] + beside, decoded[level]))
        for level in range(self.heads):
            self.decoder.append(ReflectedConvolution(decoded[level], 1))

    def forward(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        """Its maps, that of the picture's size first. encoded: the encoder's."""
        x = encoded[-1]
        maps = []
        for level in reversed(range(LEVELS)):
            before, after = self.decoder[2 * (LEVELS - 1 - level)], self.decoder[2 * (LEVELS - 1 - level) + 1]
            x = functional.interpolate(before(x), scale_factor=2.0, mode="nearest")
            if level:
                x = torch.cat((x, encoded[level - 1]), dim=1)
            x = after(x)
            maps.append(x)
        return maps[::-1]

    def disparity(self, features: Tensor, level: int) -> Tensor:
        """(B, 1, h, w) from 0 to 1, of the map of a level (0: the picture's size)."""
        return torch.sigmoid(widened(self.decoder[2 * LEVELS + level](features)))


class ReflectedConvolution(nn.Module):
    """3x3, the picture mirrored at its borders: (B, I, H, W) to (B, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(functional.pad(x, (1, 1, 1, 1), mode="reflect")))


class ReflectedBlock(nn.Module):
    """The same, then ELU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ReflectedConvolution(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(self.conv(x))


class ResNet(nn.Module):
    """Deep Residual Learning (CVPR 2016), without the classifier, with torchvision's keys."""

    def __init__(self, config: FaceDepthConfig) -> None:
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        kind = Bottleneck if config.layers == 50 else BasicBlock
        channels = width
        for level, count in enumerate(_BLOCKS[config.layers]):
            inner, out = width << level, config.encoded[level + 1]
            blocks = []
            for number in range(count):
                blocks.append(kind(channels, inner, out, stride=2 if level and not number else 1))
                channels = out
            self.add_module(f"layer{level + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [functional.relu(self.bn1(self.conv1(x)))]
        x = functional.max_pool2d(maps[0], 3, stride=2, padding=1)
        for level in range(1, LEVELS):
            x = self.get_submodule(f"layer{level}")(x)
            maps.append(x)
        return maps


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first with the stride."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + around)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, and 1x1 convolutions."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + around)


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )
