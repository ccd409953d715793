"""The network that hears what a mouth does: mel columns in, mouth coefficients out; causal, and small.

A stack of dilated causal convolutions as in temporal convolutional networks (Bai, Kolter and Koltun, 2018), with
residual blocks that begin with a norm. It looks back 0.8 s; that its answer for a column is read some columns later
gives it its look-ahead. `engine.audio.voice_network` executes the same without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class VoiceNetConfig:
    """Sizes."""

    bands: int = 80
    width: int = 64
    kernel: int = 3
    blocks: int = 5
    "Each looks back twice as far as the one before."
    outputs: int = 10
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.bands, self.width, self.kernel, self.blocks, self.outputs) < 1:
            raise ValueError("bands, width, kernel, blocks and outputs: expected positive numbers")


class CausalConv(nn.Conv1d):
    """A convolution over time that sees the present and the past: zeros come before the beginning."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation)
        self._past = dilation * (kernel - 1)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(functional.pad(input, (self._past, 0)))


class VoiceBlock(nn.Module):
    """x + mix(relu(conv(norm(x)))), (B, C, T)."""

    def __init__(self, config: VoiceNetConfig, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.conv = CausalConv(config.width, config.width, config.kernel, dilation)
        self.mix = nn.Conv1d(config.width, config.width, 1)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = self.mix(self.drop(functional.relu(self.conv(normed))))
        return x + mixed


class VoiceNet(nn.Module):
    """(B, T, bands) mel columns to (B, T, outputs) coefficients in units of their deviations."""

    band_mean: Tensor
    band_deviation: Tensor

    def __init__(self, config: VoiceNetConfig = VoiceNetConfig()) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("band_mean", torch.zeros(config.bands))
        self.register_buffer("band_deviation", torch.ones(config.bands))
        self.enter = CausalConv(config.bands, config.width, config.kernel)
        self.blocks = nn.ModuleList(VoiceBlock(config, 2**number) for number in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, config.outputs)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.enter(((mel - self.band_mean) / self.band_deviation).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.leave(self.norm(x.transpose(1, 2)))
        return found
