"""The networks of `portrait` for the frame: what corrects, chooses from and paints over a frame that the mesh drew.

The design is ours. From the warping family it has features of the source that are computed once, a residual flow and
masks of occlusion; from AdaAT (MM 2022, section 3.2) the affine transformation per feature channel, without that
paper's blend of neighbouring channels.

What the mesh drew is taken pixel by pixel, for most of it is right. Everything else is computed on maps of at most
`INNER` pixels a side, whatever the size of the frame: flow, masks and paint are enlarged, and the detail comes from the
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.pictures import planes
from engine.nets.portrait_dimensions import FEATURES, GRID

INNER = 2 * GRID
"Side of the pictures that the networks look at, and of the masks and the paint."
FLOW_UNIT = 0.1
"Of the residual flows: a network output of 1 in normalised coordinates, where the frame is 2 wide."
SHADE_UNIT = 0.25
"The most that shading brightens or darkens."
WARPED_LOGIT = 2.0
"At the start the masks prefer what the mesh drew."
PAINT, SHADE, MASKS = slice(0, 3), slice(3, 6), slice(6, 9)
"Channels of the last convolution."


@dataclass(frozen=True)
class PortraitConfig:
    """Widths of the maps, in channels, at 64x64, 32x32, 16x16, 128x128 and of the source's features at 64x64."""

    fine: int = 24
    middle: int = 48
    coarse: int = 64
    finest: int = 8
    features: int = FEATURES


class PortraitEncoder(nn.Module):
    """Features of the source frame, at 64x64."""

    def __init__(self, config: PortraitConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.fine, config.middle, config.coarse
        self.stem = nn.Conv2d(4 * 4, fine, 3, padding=1)
        self.down_32 = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.block_32 = Block(middle)
        self.down_16 = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.block_16 = nn.Sequential(Block(coarse), Block(coarse))
        self.up_32 = nn.Conv2d(coarse + middle, middle, 1)
        self.up_64 = nn.Conv2d(middle + fine, fine, 1)
        self.block_64 = Block(fine)
        self.out = nn.Conv2d(fine, config.features, 1)

    def forward(self, source: Tensor) -> Tensor:
        """source: (B, S, S, 4) uint8, RGB and label of a source frame. Returns (B, F, 64, 64)."""
        x64 = functional.relu(self.stem(functional.pixel_unshuffle(reduced(planes(source), INNER), 2)))
        x32 = self.block_32(functional.relu(self.down_32(x64)))
        x16 = self.block_16(functional.relu(self.down_16(x32)))
        x32 = functional.relu(self.up_32(torch.cat((doubled(x16), x32), dim=1)))
        x64 = functional.relu(self.up_64(torch.cat((doubled(x32), x64), dim=1)))
        return cast(Tensor, self.out(self.block_64(x64)))


@dataclass(frozen=True, eq=False)
class PortraitParts:
    """A frame and what it was composed of; images (B, 3, S, S) with values from 0 to 1."""

    frame: Tensor
    source: Tensor
    "The source by the mesh's map, moved by the residual flow."
    paint: Tensor
    "(B, 3, 128, 128)"
    shade: Tensor
    "(B, 3, 128, 128) what is added, from -SHADE_UNIT to SHADE_UNIT."
    masks: Tensor
    "(B, 3, 128, 128) shares of what the mesh drew, of source and of paint, which add up to 1."
    flow: Tensor
    "(B, 2, 64, 64) the residual flow, normalised coordinates."


class PortraitRenderer(nn.Module):
    """From what the mesh drew to the frame. Training takes `compose`."""

    def __init__(self, config: PortraitConfig) -> None:
        super().__init__()
        fine, middle, coarse, finest = config.fine, config.middle, config.coarse, config.finest
        self.stem = nn.Conv2d(4 * 4, fine, 3, padding=1)
        self.join = nn.Conv2d(fine + config.features + 2, fine, 1)
        self.down_32 = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.block_32 = Block(middle)
        self.down_16 = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.block_16 = nn.Sequential(Block(coarse), Block(coarse))
        self.transform = ChannelAffine(coarse, config.features)
        self.up_32 = nn.Conv2d(coarse + middle + config.features, middle, 1)
        self.up_block_32 = Block(middle)
        self.up_64 = nn.Conv2d(middle + fine, fine, 1)
        self.conv_64 = nn.Conv2d(fine, fine, 3, padding=1)
        self.flow = nn.Conv2d(fine, 2, 3, padding=1)
        self.up_128 = nn.Conv2d(fine, finest * 4, 3, padding=1)
        self.conv_128 = nn.Conv2d(finest + 7, finest, 3, padding=1)
        self.out = nn.Conv2d(finest, 9, 3, padding=1)
        for head in (self.flow, self.out):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(cast(Tensor, head.bias))
        with torch.no_grad():
            cast(Tensor, self.out.bias)[MASKS.start] = WARPED_LOGIT

    def forward(self, drawn: Tensor, source: Tensor, features: Tensor, place: Tensor, weight: Tensor) -> Tensor:
        """The frame, (B, 3, S, S), values from 0 to 1 but for shading that goes beyond.

        drawn: (B, S, S, 4) uint8, RGB and label of the frame that the mesh drew. source: (B, S, S, 3) uint8, the
        principal source. features: (B, K, F, 64, 64) of K sources. place: (B, K, 64, 64, 2) where in each source a cell
        of the frame is, normalised coordinates. weight: (B, K, 64, 64) their shares, which add up to 1.
        """
        return self.compose(drawn, source, features, place, weight).frame

    def compose(self, drawn: Tensor, source: Tensor, features: Tensor, place: Tensor, weight: Tensor) -> PortraitParts:
        """The same, with all parts."""
        size = drawn.shape[1]
        whole, shown = planes(drawn), planes(source)
        inner = reduced(whole, INNER)
        sampled = functional.grid_sample(
            features.flatten(0, 1), place.flatten(0, 1), padding_mode="border", align_corners=False
        )
        fused = (sampled.view(features.shape) * weight[:, :, None]).sum(dim=1)
        places = place[:, 0].permute(0, 3, 1, 2)
        moved = places - pixel_grid(GRID, place).permute(0, 3, 1, 2)

        stem = functional.relu(self.stem(functional.pixel_unshuffle(inner, 2)))
        x64 = functional.relu(self.join(torch.cat((stem, fused, moved), dim=1)))
        x32 = self.block_32(functional.relu(self.down_32(x64)))
        x16 = self.block_16(functional.relu(self.down_16(x32)))
        transformed = self.transform(x16, functional.avg_pool2d(fused, 2))
        x32 = self.up_block_32(functional.relu(self.up_32(torch.cat((doubled(x16), x32, transformed), dim=1))))
        x64 = functional.relu(self.up_64(torch.cat((doubled(x32), x64), dim=1)))
        x64 = x64 + functional.relu(self.conv_64(x64))

        flow = FLOW_UNIT * self.flow(x64)
        corrected = places + flow
        seen = sample(reduced(shown, INNER), enlarged(corrected, INNER).permute(0, 2, 3, 1))
        x128 = functional.pixel_shuffle(functional.relu(self.up_128(x64)), 2)
        x128 = functional.relu(self.conv_128(torch.cat((x128, inner, seen), dim=1)))
        out = self.out(x128)
        paint, shade = torch.sigmoid(out[:, PAINT]), SHADE_UNIT * torch.tanh(out[:, SHADE])
        masks = torch.softmax(out[:, MASKS], dim=1)

        # Painted and shaded before it is enlarged, which is the same and less work.
        painted = enlarged(masks[:, 2:] * paint + shade, size)
        moved_source = sample(shown, enlarged(corrected, size).permute(0, 2, 3, 1))
        frame = enlarged(masks[:, :1], size) * whole[:, :3] + enlarged(masks[:, 1:2], size) * moved_source + painted
        return PortraitParts(frame, moved_source, paint, shade, masks, flow)


class ChannelAffine(nn.Module):
    """AdaAT's operator on features: one affine transformation per channel, from a code; the identity at the start."""

    def __init__(self, code: int, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(code, hidden)
        self.parameters_of = nn.Linear(hidden, 4 * channels)
        nn.init.zeros_(self.parameters_of.weight)
        nn.init.zeros_(self.parameters_of.bias)

    def forward(self, coarse: Tensor, features: Tensor) -> Tensor:
        """coarse: (B, code, h, w), whose mean is the code. features: (B, C, H, W), transformed by channel."""
        code = functional.relu(self.hidden(coarse.mean(dim=(2, 3))))
        scale, angle, across, down = torch.unflatten(self.parameters_of(code), 1, (4, -1)).unbind(dim=1)
        scale, angle = 2.0 * torch.sigmoid(scale), torch.pi * torch.tanh(angle)
        cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
        grid = pixel_grid(features.shape[-1], features)
        x, y = grid[..., 0][:, None], grid[..., 1][:, None]
        u = cosine[..., None, None] * x - sine[..., None, None] * y + torch.tanh(across)[..., None, None]
        v = sine[..., None, None] * x + cosine[..., None, None] * y + torch.tanh(down)[..., None, None]
        single = features.flatten(0, 1)[:, None]
        sampled = functional.grid_sample(
            single, torch.stack((u, v), dim=-1).flatten(0, 1), padding_mode="zeros", align_corners=False
        )
        return sampled.view(features.shape)


class Block(nn.Module):
    """Residual block without normalisation: its second convolution starts small."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv_2.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.conv_2(functional.relu(self.conv_1(x))))


def reduced(image: Tensor, side: int) -> Tensor:
    """(B, C, S, S) to (B, C, side, side), means; S is `side` or a multiple."""
    factor = image.shape[-1] // side
    return functional.avg_pool2d(image, factor) if factor > 1 else image


def doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def enlarged(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def pixel_grid(size: int, like: Tensor) -> Tensor:
    """(1, size, size, 2) the normalised coordinates of pixel centres: the grid that samples an image as it is."""
    steps = (torch.arange(size, device=like.device, dtype=like.dtype) * 2.0 + 1.0) / size - 1.0
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((x, y), dim=-1)[None]


def sample(image: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
