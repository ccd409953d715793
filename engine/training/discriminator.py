"""A network that tells true patches from made ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchDiscriminator(nn.Module):
    """First Order Motion Model's, on one scale: four 4x4 convolutions without padding, averaged 2x2 in between.

    Widths 64, 128, 256, 512 (times `width` / 64, and at most `limit`), instance norm from the second on. For the
    AdaAT variant, see `engine.nets.adaat.AdaATDiscriminator`.
    """

    def __init__(self, channels: int = 3, width: int = 64, limit: int = 512, blocks: int = 4) -> None:
        """channels: of the input: 3, and those of a condition beside the picture."""
        super().__init__()
        widths = [channels, *(min(limit, width * 2**number) for number in range(blocks))]
        self.convolutions = nn.ModuleList(nn.Conv2d(widths[k], widths[k + 1], 4) for k in range(blocks))
        self.norms = nn.ModuleList(
            nn.InstanceNorm2d(widths[k + 1], affine=True) if k else nn.Identity() for k in range(blocks)
        )
        self.head = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, picture: Tensor, condition: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """The blocks' outputs, for feature matching, and the scores (N, 1, h, w): 26 x 26 for 256 x 256.

        picture: (N, 3, H, W) in [0, 1]. condition: (N, C, H, W), e.g. heat maps of the keypoints.
        """
        x = picture if condition is None else torch.cat((picture, condition), dim=1)
        features = []
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            x = functional.leaky_relu(norm(convolution(x)), 0.2)
            if number < len(self.convolutions):
                x = functional.avg_pool2d(x, 2)
            features.append(x)
        return features, self.head(x)
