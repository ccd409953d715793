"""The discriminator of IP-LAP's training: pictures alone, at full and half size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ScaleDiscriminator(nn.Module):
    """(B, 3, H, W) to a map of scores (B, 1, h, w), by 4x4 convolutions of which the first three halve the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 8 * width, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[k], widths[k + 1], 4, stride=2 if k < 3 else 1, padding=2) for k in range(5)
        )

    def forward(self, picture: Tensor) -> tuple[list[Tensor], Tensor]:
        """The four hidden maps and the scores."""
        features: list[Tensor] = []
        x = picture
        for number, conv in enumerate(self.convs):
            x = conv(x)
            if number == 4:
                break
            if number:
                x = functional.instance_norm(x)
            x = functional.leaky_relu(x, 0.2)
            features.append(x)
        return features, x


class FaceDiscriminator(nn.Module):
    """One discriminator for the picture, one for half of it."""

    def __init__(self, width: int = 64) -> None:
        """width: channels of the first layers; 64 as published."""
        super().__init__()
        self.scales = nn.ModuleList(ScaleDiscriminator(width) for _ in range(2))

    def forward(self, picture: Tensor) -> list[tuple[list[Tensor], Tensor]]:
        """(B, 3, H, W) from 0 to 1 to features and scores of each scale, full size first."""
        judged = []
        for number, scale in enumerate(self.scales):
            if number:
                picture = functional.avg_pool2d(picture, 3, stride=2, padding=1, count_include_pad=False)
            judged.append(scale(picture))
        return judged
