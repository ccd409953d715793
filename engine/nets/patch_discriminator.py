"""Networks that tell true patches of pictures from made ones, those of the warping generators and of AdaAT.

First Order Motion Model (2019), its code: four 4x4 convolutions without padding, averages of 2x2 pixels between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.heatmap import heatmaps


class PatchBlock(nn.Module):
    """4x4 convolution without padding, instance norm, leaky ReLU, averages of 2x2 pixels: the last three as told."""

    def __init__(
        self, in_channels: int, out_channels: int, pool: bool, norm: bool = False, spectral: bool = False
    ) -> None:
        super().__init__()
        self.conv = _spectral(nn.Conv2d(in_channels, out_channels, 4), spectral)
        self.norm = nn.InstanceNorm2d(out_channels, affine=True) if norm else None
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        x = functional.leaky_relu(x, 0.2)
        return functional.avg_pool2d(x, 2) if self.pool else x


class PatchDiscriminator(nn.Module):
    """(B, I, H, W) pictures, with what belongs to them in further channels, to (B, 1, h, w) scores.

    26 x 26 scores for 256 x 256 pixels and four blocks. Each kind makes its input of its own conditions, then `judge`s.
    """

    def __init__(self, channels: int, widths: Sequence[int], norm: bool = True, spectral: bool = False) -> None:
        """widths: output channels of each block. norm: instance norm in all blocks but the first. spectral: spectral
        normalisation of all convolutions."""
        super().__init__()
        wide = (channels, *widths)
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            PatchBlock(wide[i], wide[i + 1], pool=i != last, norm=norm and i > 0, spectral=spectral)
            for i in range(len(widths))
        )
        self.conv = _spectral(nn.Conv2d(widths[-1], 1, 1), spectral)

    def judge(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The blocks' outputs, for feature matching, and the scores."""
        features = []
        for block in self.down_blocks:
            x = block(x)
            features.append(x)
        return features, self.conv(x)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """What is variable about the warping family's discriminator; the defaults are the published one's."""

    keypoints: int = 10
    "Whose heat maps it sees beside the picture; 0 for a discriminator of pictures alone."
    channels: int = 3
    width: int = 32
    "Half the channels of the first block; each block has twice as many as the one before."
    limit: int = 512
    blocks: int = 4
    spectral: bool = False
    "Spectral normalisation of all convolutions, as in the training without an adversarial term."
    variance: float = 0.01
    "Of a keypoint's heat map."


class KeypointDiscriminator(nn.Module):
    """The warping family's: pictures with the heat maps of the driving keypoints beside them, on one scale."""

    def __init__(self, config: DiscriminatorConfig = DiscriminatorConfig()) -> None:
        super().__init__()
        self.config = config
        widths = [min(config.limit, config.width << level) for level in range(1, config.blocks + 1)]
        inner = PatchDiscriminator(config.channels + config.keypoints, widths, spectral=config.spectral)
        # The published class has one discriminator per scale, and was only ever used with the full one.
        self.discs = nn.ModuleDict({"1": inner})

    def forward(self, picture: Tensor, points: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """The outputs of the blocks, for feature matching, and the scores (B, 1, h, w) of a least squares GAN.

        picture: (B, C, H, W) from 0 to 1, real or made. points: (B, K, 2), the driving keypoints (detached, in
        training); None where the configuration has none.
        """
        x = picture
        if points is not None:
            conditions = heatmaps(points, picture.shape[-2], picture.shape[-1], self.config.variance)
            x = torch.cat((picture, conditions.to(picture.dtype)), dim=1)
        return cast(PatchDiscriminator, self.discs["1"]).judge(x)


def _spectral(conv: nn.Conv2d, wanted: bool) -> nn.Conv2d:
    return nn.utils.spectral_norm(conv) if wanted else conv
