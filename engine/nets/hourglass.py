"""The hourglass of the warping generators: a U-Net that keeps its input, with the keys of its published weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from engine.nets.blocks import DownBlock, UpBlock


@dataclass(frozen=True)
class HourglassConfig:
    """How wide and how deep it is; the defaults are those of the published motion networks."""

    width: int = 64
    "Channels of its last up block; each level down has twice as many."
    limit: int = 1024
    "Channels that no level exceeds."
    blocks: int = 5
    "Levels: its input is halved so many times."

    def __post_init__(self) -> None:
        if min(self.width, self.limit, self.blocks) < 1:
            raise ValueError("width, limit and blocks: at least 1 each")

    def channels(self, level: int) -> int:
        """Of the map that was halved `level` times."""
        return min(self.limit, self.width << level)


class Hourglass(nn.Module):
    """(B, I, H, W) to (B, out_channels, H, W); H and W divisible by 2 to the number of blocks."""

    def __init__(self, in_channels: int, config: HourglassConfig) -> None:
        super().__init__()
        self.encoder = HourglassEncoder(in_channels, config)
        self.decoder = HourglassDecoder(config)
        self.out_channels = config.channels(0) + in_channels

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(self.encoder(x)))


class HourglassEncoder(nn.Module):
    """(B, I, H, W) to itself and to what each of the down blocks makes of it."""

    def __init__(self, in_channels: int, config: HourglassConfig) -> None:
        super().__init__()
        widths = [in_channels, *(config.channels(level) for level in range(1, config.blocks + 1))]
        self.down_blocks = nn.ModuleList(DownBlock(widths[i], widths[i + 1]) for i in range(config.blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        unit = 1 << len(self.down_blocks)
        if height % unit or width % unit:
            raise ValueError(f"hourglass: a map of {width}x{height}; both sides must be divisible by {unit}")
        maps = [x]
        for block in self.down_blocks:
            maps.append(block(maps[-1]))
        return maps


class HourglassDecoder(nn.Module):
    """From the encoder's maps to one of the first one's size, that one in its last channels."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        self.up_blocks = nn.ModuleList()
        for level in reversed(range(config.blocks)):
            joined = 1 if level == config.blocks - 1 else 2
            self.up_blocks.append(UpBlock(joined * config.channels(level + 1), config.channels(level)))

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for block, kept in zip(self.up_blocks, reversed(maps[:-1]), strict=True):
            x = torch.cat((block(x), kept), dim=1)
        return x
