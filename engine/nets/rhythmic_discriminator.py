"""Rhythmic Head Motion's discriminator: is this a picture of the same person, with these edges?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.rhythmic_blocks import SLOPE

STRIDED = 4
"Convolutions with a stride of 2, each of twice the channels of the one before."


class RhythmicDiscriminator(nn.Module):
    """Patches of a picture beside its edges and a reference with its own: 8 channels, one scale."""

    def __init__(self, width: int = 32) -> None:
        """width: channels of the first convolution; 32 as published."""
        super().__init__()
        widths = [8, *(width << level for level in range(STRIDED + 1))]
        self.convolutions = nn.ModuleList(
            nn.utils.spectral_norm(nn.Conv2d(widths[k], widths[k + 1], 4, 2 if k < STRIDED else 1, 2))
            for k in range(STRIDED + 1)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm2d(one) for one in widths[2:])
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 2)

    def forward(
        self, reference_edges: Tensor, reference: Tensor, edges: Tensor, picture: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The outputs of the blocks, for feature matching, and the scores (B, 1, h, w).

        Edges (B, 1, H, W) from 0 to 1, pictures (B, 3, H, W) from -1 to 1.
        """
        x = torch.cat((reference_edges, reference, edges, picture), dim=1)
        features = []
        for number, convolution in enumerate(self.convolutions):
            x = convolution(x)
            x = functional.leaky_relu(self.norms[number - 1](x) if number else x, SLOPE)
            features.append(x)
        return features, self.last(x)
