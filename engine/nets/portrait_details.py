"""The networks of `portrait` for the windows around mouth and eyes: small, and so quickly trained.

They are to the window what engine/nets/portrait.py is to the frame: from what the mesh drew and from the source's own
window they choose by masks, move by residual flows and paint. A window is upright and of one size, so that all mouths
look alike to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.pictures import planes
from engine.nets.portrait import FLOW_UNIT, WARPED_LOGIT, Block, doubled, enlarged, pixel_grid, reduced, sample
from engine.nets.portrait_dimensions import DETAIL_FEATURES


@dataclass(frozen=True)
class DetailConfig:
    """Widths of the maps, in channels, at a half, a quarter and an eighth of the window, and of the features."""

    fine: int = 32
    middle: int = 48
    coarse: int = 64
    features: int = DETAIL_FEATURES


@dataclass(frozen=True, eq=False)
class DetailParts:
    """A window and what it was composed of; images (B, 3, N, N) with values from 0 to 1."""

    frame: Tensor
    drawn: Tensor
    "What the mesh drew, moved."
    source: Tensor
    "The source's window, moved."
    paint: Tensor
    masks: Tensor
    "(B, 3, N, N) shares of drawn, source and paint, which add up to 1."
    flow: Tensor
    "(B, 4, n, n) both residual flows, normalised coordinates."


class _UNet(nn.Module):
    """Two steps down and up again, at a half of the window's resolution."""

    def __init__(self, inputs: int, config: DetailConfig) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs, config.fine, 3, padding=1)
        self.down_1 = nn.Conv2d(config.fine, config.middle, 3, stride=2, padding=1)
        self.block_1 = Block(config.middle)
        self.down_2 = nn.Conv2d(config.middle, config.coarse, 3, stride=2, padding=1)
        self.block_2 = nn.Sequential(Block(config.coarse), Block(config.coarse))
        self.up_1 = nn.Conv2d(config.coarse + config.middle, config.middle, 1)
        self.up_block_1 = Block(config.middle)
        self.up_0 = nn.Conv2d(config.middle + config.fine, config.fine, 1)
        self.up_block_0 = Block(config.fine)

    def forward(self, x: Tensor) -> Tensor:
        x0 = functional.relu(self.stem(x))
        x1 = self.block_1(functional.relu(self.down_1(x0)))
        x2 = self.block_2(functional.relu(self.down_2(x1)))
        x1 = self.up_block_1(functional.relu(self.up_1(torch.cat((doubled(x2), x1), dim=1))))
        out: Tensor = self.up_block_0(functional.relu(self.up_0(torch.cat((doubled(x1), x0), dim=1))))
        return out


class DetailEncoder(nn.Module):
    """Features of the source's window, at half its resolution. `side`: of the window that is looked at."""

    def __init__(self, config: DetailConfig, side: int) -> None:
        super().__init__()
        self.side = side
        self.trunk = _UNet(16, config)
        self.out = nn.Conv2d(config.fine, config.features, 1)

    def forward(self, source: Tensor) -> Tensor:
        """source: (B, N, N, 4) uint8, RGB and label; N is `side` or a multiple. Returns (B, F, side / 2, side / 2)."""
        features: Tensor = self.out(self.trunk(functional.pixel_unshuffle(reduced(planes(source), self.side), 2)))
        return features


class DetailRenderer(nn.Module):
    """From what the mesh drew in the window to the window."""

    def __init__(self, config: DetailConfig, side: int) -> None:
        super().__init__()
        self.side = side
        self.trunk = _UNet(16 + config.features, config)
        self.flow = nn.Conv2d(config.fine, 4, 3, padding=1)
        self.out = nn.Conv2d(config.fine, 6 * 4, 3, padding=1)
        for module in (self.flow, self.out):
            nn.init.zeros_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.out.bias[12:16] = WARPED_LOGIT  # type: ignore[index]  # channels 12..15 become the mask of `drawn`

    def forward(self, drawn: Tensor, source: Tensor, features: Tensor) -> Tensor:
        """The window, (B, 3, N, N) from 0 to 1. Arguments as of `compose`."""
        return self.compose(drawn, source, features).frame

    def compose(self, drawn: Tensor, source: Tensor, features: Tensor) -> DetailParts:
        """drawn, source: (B, N, N, 4) uint8, RGB and label. features: (B, F, side / 2, side / 2)."""
        size = drawn.shape[1]
        whole, shown = planes(drawn), planes(source)[:, :3]
        x = self.trunk(torch.cat((functional.pixel_unshuffle(reduced(whole, self.side), 2), features), dim=1))
        flow = FLOW_UNIT * self.flow(x)
        steps = enlarged(flow, size).permute(0, 2, 3, 1)
        own = pixel_grid(size, whole)
        drawn_moved = sample(whole[:, :3], own + steps[..., :2])
        source_moved = sample(shown, own + steps[..., 2:])
        out = enlarged(functional.pixel_shuffle(self.out(x), 2), size)
        paint, masks = torch.sigmoid(out[:, :3]), torch.softmax(out[:, 3:], dim=1)
        frame = masks[:, :1] * drawn_moved + masks[:, 1:2] * source_moved + masks[:, 2:] * paint
        return DetailParts(frame, drawn_moved, source_moved, paint, masks, flow)
