"""The decoder of DaGAN's second published generator: spatially adaptive normalisation (SPADE, CVPR 2019).

The moved picture and four channels of the features decide, pixel by pixel, how each normalised map is scaled and
shifted. Convolutions are normalised by their spectrum.
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

ModuleT = TypeVar("ModuleT", bound=nn.Module)

COMPRESSED = 4
"Channels of the features that join the picture."
HIDDEN = 128
"Channels between that condition and the scales and shifts."
SLOPE = 0.2


class SpadeDecoder(nn.Module):
    """Features (B, C, h, w) and the moved picture (B, 3, 4 h, 4 w) to the frame (B, 3, 4 h, 4 w) from 0 to 1."""

    def __init__(self, channels: int, width: int, image_channels: int = 3) -> None:
        """width: 64 as published: the maps have 8, 4 and 1 times as many channels."""
        super().__init__()
        condition = image_channels + COMPRESSED
        self.compress = nn.Conv2d(channels, COMPRESSED, 3, padding=1)
        self.fc = nn.Conv2d(channels, 8 * width, 3, padding=1)
        self.G_middle_0 = SpadeBlock(8 * width, 8 * width, condition)
        self.G_middle_1 = SpadeBlock(8 * width, 8 * width, condition)
        self.G_middle_2 = SpadeBlock(8 * width, 8 * width, condition)
        self.up_0 = SpadeBlock(8 * width, 4 * width, condition)
        self.up_1 = SpadeBlock(4 * width, width, condition)
        self.conv_img = nn.Conv2d(width, image_channels, 3, padding=1)

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        enlarged = _nearest(self.compress(features), picture.shape[-2:])
        condition = torch.cat((enlarged, picture.to(enlarged.dtype)), dim=1)
        x = self.fc(features)
        for block in (self.G_middle_0, self.G_middle_1, self.G_middle_2):
            x = block(x, condition)
        for block in (self.up_0, self.up_1):
            x = block(functional.interpolate(x, scale_factor=2.0, mode="nearest"), condition)
        return torch.sigmoid(self.conv_img(functional.leaky_relu(x, SLOPE)))


class SpadeBlock(nn.Module):
    """Residual block of two 3x3 convolutions behind adaptive normalisations: (B, I, H, W) to (B, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, condition: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        spectral = nn.utils.spectral_norm
        self.conv_0 = spectral(nn.Conv2d(in_channels, middle, 3, padding=1))
        self.conv_1 = spectral(nn.Conv2d(middle, out_channels, 3, padding=1))
        self.norm_0 = Spade(in_channels, condition)
        self.norm_1 = Spade(middle, condition)
        self.conv_s: nn.Conv2d | None = None
        self.norm_s: Spade | None = None
        if in_channels != out_channels:
            self.conv_s = spectral(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.norm_s = Spade(in_channels, condition)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        around = x
        if self.conv_s is not None and self.norm_s is not None:
            around = self.conv_s(self.norm_s(x, condition))
        inner = self.conv_0(functional.leaky_relu(self.norm_0(x, condition), SLOPE))
        inner = self.conv_1(functional.leaky_relu(self.norm_1(inner, condition), SLOPE))
        return cast(Tensor, around + inner)


class Spade(nn.Module):
    """(B, C, H, W) normalised per picture and channel, then scaled by 1 + gamma and shifted by beta at every pixel."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(condition, HIDDEN, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(HIDDEN, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(HIDDEN, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """condition: (B, D, ., .) of any size."""
        hidden = self.mlp_shared(_nearest(condition, x.shape[-2:]))
        return cast(Tensor, functional.instance_norm(x) * (1.0 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden))


def bake_spectral_norm(module: ModuleT) -> ModuleT:
    """An equal of a module in eval mode whose weights need not be divided by their spectrum at every call."""
    with torch.no_grad():
        baked = copy.deepcopy(module)
    for part in baked.modules():
        if hasattr(part, "weight_orig"):
            nn.utils.remove_spectral_norm(part)
    return baked


def _nearest(x: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(x, size=(size[0], size[1]), mode="nearest")
