"""The encoders of IP-LAP: sound, pose points and reference points to one vector each."""

from __future__ import annotations

from torch import nn

from engine.nets.iplap_blocks import Activation, ConvUnit


def mel_encoder(width: int = 32, last: Activation = "tanh") -> nn.Sequential:
    """(B, 1, 80, 16) mel to (B, 16 width, 1, 1). width: 32 as published. last: tanh in the landmark generator, ReLU
    in the renderer."""
    w = width
    layers = [
        ConvUnit(1, w, 3, 1, 1),
        *(ConvUnit(w, w, 3, 1, 1, residual=True) for _ in range(2)),
        ConvUnit(w, 2 * w, 3, (3, 1), 1),
        *(ConvUnit(2 * w, 2 * w, 3, 1, 1, residual=True) for _ in range(2)),
        ConvUnit(2 * w, 4 * w, 3, 3, 1),
        *(ConvUnit(4 * w, 4 * w, 3, 1, 1, residual=True) for _ in range(2)),
        ConvUnit(4 * w, 8 * w, 3, (3, 2), 1),
        ConvUnit(8 * w, 8 * w, 3, 1, 1, residual=True),
        ConvUnit(8 * w, 16 * w, 3),
        ConvUnit(16 * w, 16 * w, 1, activation=last),
    ]
    return nn.Sequential(*layers)


def pose_encoder(width: int = 4) -> nn.Sequential:
    """(B, 2, 74) pose points to (B, 128 width, 1). width: 4 as published."""
    layers = [_unit(2, width), _unit(width, 2 * width), _same(2 * width), _same(2 * width)]
    for channels in (2, 4, 8, 16, 32):
        layers += [_unit(channels * width, 2 * channels * width, 2), *(_same(2 * channels * width) for _ in range(2))]
    last = 128 * width
    layers += [
        ConvUnit(64 * width, last, 3, sequence=True),
        ConvUnit(last, last, 1, sequence=True, residual=True, activation="tanh"),
    ]
    return nn.Sequential(*layers)


def reference_encoder(width: int = 4) -> nn.Sequential:
    """(B, 2, 131) pose and content points to (B, 128 width, 1). width: 4 as published."""
    layers = [_unit(2, width), _unit(width, 2 * width, 2), _same(2 * width), _same(2 * width)]
    for channels in (2, 4, 8, 16, 32):
        repeats = 1 if channels == 32 else 2
        wide = 2 * channels * width
        layers += [_unit(channels * width, wide, 2), *(_same(wide) for _ in range(repeats))]
    last = 128 * width
    layers += [
        ConvUnit(64 * width, last, 3, sequence=True),
        ConvUnit(last, last, 1, sequence=True, activation="tanh"),
    ]
    return nn.Sequential(*layers)


def _unit(in_channels: int, out_channels: int, stride: int = 1) -> ConvUnit:
    return ConvUnit(in_channels, out_channels, 3, stride, 1, sequence=True)


def _same(channels: int) -> ConvUnit:
    return ConvUnit(channels, channels, 3, 1, 1, sequence=True, residual=True)
