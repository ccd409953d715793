"""Keypoints that nobody labelled: where they are in a picture, and the local frame around each.

First Order Motion Model (2019), section 3.1. DaGAN (2022) gives the same network a fourth channel, the face's depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from engine.nets.antialias import downscale
from engine.nets.hourglass import Hourglass, HourglassConfig
from engine.nets.local_frames import Keypoints
from engine.nets.precision import widened
from engine.nets.sampling import coordinate_axis

KERNEL = 7
Jacobians = Literal["each", "shared", "none"]


@dataclass(frozen=True)
class KeypointConfig:
    """What is variable about the detector; the defaults are the published one for faces."""

    keypoints: int = 10
    channels: int = 3
    "Of the picture: 3, and 4 with the disparity of DaGAN."
    hourglass: HourglassConfig = field(default_factory=lambda: HourglassConfig(width=32))
    downscale: int = 4
    "The picture is made smaller by it first."
    temperature: float = 0.1
    "The logits are divided by it: smaller is sharper."
    padding: int = 0
    "Of the last convolutions. Without any, -1 and 1 are the border of what they see whole, as published."
    jacobians: Jacobians = "each"
    "From a map per keypoint, from one that all share, or the identity: keypoints without local frames."

    def __post_init__(self) -> None:
        if min(self.keypoints, self.channels, self.downscale) < 1 or self.padding < 0 or self.temperature <= 0:
            raise ValueError("keypoints, channels, downscale: at least 1; padding: at least 0; temperature: above 0")


@dataclass(frozen=True, eq=False)
class KeypointParts:
    """Keypoints and what they were computed from; maps of h x w positions."""

    keypoints: Keypoints
    small: Tensor
    "(B, C, H / downscale, W / downscale) the picture as the hourglass sees it."
    features: Tensor
    logits: Tensor
    "(B, K, h, w) before the temperature."
    shares: Tensor
    "(B, K, h, w) how much each position counts: a softmax, 1 in all."
    jacobian_maps: Tensor | None
    "(B, 4 K or 4, h, w), row-major."


class KeypointDetector(nn.Module):
    """(B, C, H, W) pictures from 0 to 1 to their `Keypoints`.

    H and W divisible by `downscale` times what the hourglass asks for. Softmax and sums are float32 at least.
    """

    def __init__(self, config: KeypointConfig) -> None:
        super().__init__()
        self.config = config
        self.down = downscale(config.channels, config.downscale)
        self.predictor = Hourglass(config.channels, config.hourglass)
        features = self.predictor.out_channels
        self.kp = nn.Conv2d(features, config.keypoints, KERNEL, padding=config.padding)
        self.jacobian: nn.Conv2d | None = None
        if config.jacobians != "none":
            maps = config.keypoints if config.jacobians == "each" else 1
            self.jacobian = nn.Conv2d(features, 4 * maps, KERNEL, padding=config.padding)
            # Identities at first, everywhere.
            nn.init.zeros_(self.jacobian.weight)
            with torch.no_grad():
                cast(Tensor, self.jacobian.bias).copy_(torch.eye(2).flatten().repeat(maps))

    def forward(self, pictures: Tensor) -> Keypoints:
        return self.detect(pictures).keypoints

    def detect(self, pictures: Tensor) -> KeypointParts:
        """The same, with what led to it."""
        small = self.down(pictures)
        features = self.predictor(small)
        logits = self.kp(features)
        height, width = logits.shape[-2:]
        wide = widened(logits) / self.config.temperature
        shares = torch.softmax(wide.flatten(2), dim=2).view(wide.shape)
        x = (shares.sum(2) * coordinate_axis(width, wide)).sum(-1)
        y = (shares.sum(3) * coordinate_axis(height, wide)).sum(-1)
        maps = None if self.jacobian is None else self.jacobian(features)
        keypoints = Keypoints(torch.stack((x, y), dim=-1), self._jacobians(shares, maps))
        return KeypointParts(keypoints, small, features, logits, shares, maps)

    def _jacobians(self, shares: Tensor, maps: Tensor | None) -> Tensor:
        count, keypoints, height, width = shares.shape
        if maps is None:
            return torch.eye(2, dtype=shares.dtype, device=shares.device).expand(count, keypoints, 2, 2)
        entries = widened(maps).view(count, -1, 4, height, width)
        return (shares[:, :, None] * entries).sum((3, 4)).view(count, keypoints, 2, 2)
