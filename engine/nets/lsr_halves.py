"""LSR's networks as they are executed: what is done once per source picture, and what is done for every frame.

8-bit pictures outside, -1 to 1 inside; learning rates folded into the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.nets.equalized import fold_rates
from engine.nets.lsr import LSRNetwork, Prepared


class LSREncodeHalf(nn.Module):
    """Source pictures to what `LSRRenderHalf` wants of the person; the mean over several pictures stands for them."""

    def __init__(self, network: LSRNetwork) -> None:
        super().__init__()
        self.network = fold_rates(network)

    def forward(self, frames: Tensor, contours: Tensor) -> tuple[Tensor, Tensor]:
        """frames, contours: (B, S, S, 3) uint8. Returns `modulation` (B, M) and `start` (B, C, s, s)."""
        prepared = self.network.prepare(self.network.encode(signed(frames), signed(contours)))
        return prepared.modulation, prepared.start


class LSRRenderHalf(nn.Module):
    """A frame's contours to the frame."""

    def __init__(self, network: LSRNetwork) -> None:
        super().__init__()
        self.network = fold_rates(network)

    def forward(self, modulation: Tensor, start: Tensor, contours: Tensor) -> Tensor:
        """contours: (B, S, S, 3) uint8. Returns the frame (B, S, S, 3) uint8."""
        picture = self.network.render(Prepared(modulation, start), signed(contours)).picture
        levels = (127.5 + 127.5 * picture).round().clamp(0.0, 255.0)
        return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def signed(picture: Tensor) -> Tensor:
    """(B, H, W, C) uint8 to (B, C, H, W) float32 from -1 to 1."""
    return picture.permute(0, 3, 1, 2).to(torch.float32) * (1.0 / 127.5) - 1.0
