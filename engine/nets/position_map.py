"""PRNet (ECCV 2018): a picture to the surface of the face in it, as Rhythmic Head Motion lifts faces into space.

Its map has a point in space for each of 256 x 256 places on the face. No weights come along, and the generator takes
the landmarker's mesh instead, which is there anyway.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 256
"Of picture and map."
REACH = 1.1 * SIDE
"Pixels of a map's value 1."
_ENCODER = ((32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
"Channels and stride of the residual blocks."
_DECODER = (
    *((512, 1), (256, 2), (256, 1), (256, 1), (128, 2), (128, 1), (128, 1), (64, 2), (64, 1), (64, 1)),
    *((32, 2), (32, 1), (16, 2), (16, 1), (3, 1), (3, 1), (3, 1)),
)


class PositionMapNetwork(nn.Module):
    """(B, 3, 256, 256) RGB from 0 to 1 to (B, 3, 256, 256): x, y and z from 0 to 1, in units of `REACH`."""

    def __init__(self, width: int = 16) -> None:
        """width: channels of the first convolution; all others go with it."""
        super().__init__()
        self.first = Unit(3, width, 1)
        channels = width
        blocks = []
        for wide, stride in _ENCODER:
            blocks.append(ResidualBlock(channels, wide * width // 16, stride))
            channels = wide * width // 16
        self.encoder = nn.Sequential(*blocks)
        units = []
        for wide, stride in _DECODER:
            out = wide if wide == 3 else wide * width // 16
            units.append(UpUnit(channels, out, stride))
            channels = out
        self.decoder = nn.Sequential(*units)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.decoder[:-1](self.encoder(self.first(pictures)))
        return torch.sigmoid(cast(UpUnit, self.decoder[-1]).normed(x))


class Unit(nn.Module):
    """4x4 convolution without bias, with the padding that TensorFlow calls "same", batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, kernel: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(_padded(x, self.conv))))


class ResidualBlock(nn.Module):
    """1x1 to half the channels, 4x4 with the stride, 1x1 up; norm and ReLU after the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.narrow = Unit(in_channels, half, 1, 1)
        self.middle = Unit(half, half, stride)
        self.wide = nn.Conv2d(half, out_channels, 1, bias=False)
        changed = stride != 1 or in_channels != out_channels
        self.around = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changed else None
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.around is None else self.around(x)
        return functional.relu(self.bn(self.wide(self.middle(self.narrow(x))) + around))


class UpUnit(nn.Module):
    """4x4 transposed convolution without bias, "same" as TensorFlow has it, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        # Of the full result, stride 1 loses a row before and two behind, stride 2 one on each side.
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self._stride = stride

    def normed(self, x: Tensor) -> Tensor:
        """Without the ReLU."""
        height, width = (side * self._stride for side in x.shape[-2:])
        return cast(Tensor, self.bn(self.conv(x)[..., :height, :width]))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.normed(x))


def _padded(x: Tensor, conv: nn.Conv2d) -> Tensor:
    over = conv.kernel_size[0] - conv.stride[0]
    return functional.pad(x, (over // 2, over - over // 2) * 2) if over > 0 else x
