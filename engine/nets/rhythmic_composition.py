"""Rhythmic Head Motion's flows, and how a reference that they warp and a rendered face enter the picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.precision import full_precision, widened
from engine.nets.rhythmic_blocks import SLOPE, PreActivationBlock, activated, spectral
from engine.nets.sampling import coordinate_grid

FLOW_SCALE = 20.0
"Pixels of a flow of 1 at the last convolution's output."
FLOW_BLOCKS = 6


class Warped(NamedTuple):
    """A picture brought to where the target's edges are."""

    picture: Tensor
    "(B, 3, H, W) from -1 to 1."
    weight: Tensor
    "(B, 1, H, W) from 0 to 1: how much the matting takes of what was drawn, instead of this picture."
    flow: Tensor
    "(B, 2, H, W) x then y, pixels from a pixel to where its colour is taken."


class FlowNetwork(nn.Module):
    """Where in a picture the pixels of the target are, and how far that picture is to be left out there."""

    def __init__(self, widths: tuple[int, ...], spectral_norm: bool) -> None:
        super().__init__()
        first, *others = widths[:4]
        down: list[nn.Module] = [_unit(5, first, 1, spectral_norm), nn.LeakyReLU(SLOPE)]
        for number, width in enumerate(others):
            down += [_unit(widths[number], width, 2, spectral_norm), nn.LeakyReLU(SLOPE)]
        self.down_flow = nn.Sequential(*down)
        blocks = (PreActivationBlock(widths[3], widths[3], spectral_norm) for _ in range(FLOW_BLOCKS))
        self.res_flow = nn.Sequential(*blocks)
        up: list[nn.Module] = []
        for number in (2, 1, 0):
            unit = _unit(widths[number + 1], widths[number], 1, spectral_norm)
            up += [nn.Upsample(scale_factor=2.0, mode="nearest"), unit, nn.LeakyReLU(SLOPE)]
        self.up_flow = nn.Sequential(*up)
        self.conv_flow = nn.Sequential(nn.Conv2d(first, 2, 3, padding=1))
        self.conv_w = nn.Sequential(nn.Conv2d(first, 1, 3, padding=1))

    def forward(self, target_edges: Tensor, edges: Tensor, picture: Tensor) -> Warped:
        """(B, 1, H, W) twice and (B, 3, H, W)."""
        x = self.up_flow(self.res_flow(self.down_flow(torch.cat((target_edges, edges, picture), dim=1))))
        flow = FLOW_SCALE * self.conv_flow(x)
        return Warped(warped(picture, flow), torch.sigmoid(self.conv_w(x)), flow)


class Warps(nn.Module):
    """The two flow networks: of the reference that is nearest, and of the rendered face."""

    def __init__(self, widths: tuple[int, ...], spectral_norm: bool) -> None:
        super().__init__()
        self.flow_network_ref = FlowNetwork(widths, spectral_norm)
        self.flow_network_ani = FlowNetwork(widths, spectral_norm)


class WarpEmbedding(nn.Module):
    """A warped picture with its weight as a condition of the two last up blocks."""

    def __init__(self, widths: tuple[int, ...], spare: bool) -> None:
        """spare: whether the levels that no block looks at are there too."""
        super().__init__()
        self.conv_first = nn.Sequential(nn.Conv2d(4, widths[0], 3, padding=1))
        for number in range(5 if spare else 1):
            conv = nn.Conv2d(widths[number], widths[number + 1], 3, 2, 1)
            self.add_module(f"down_{number}", nn.Sequential(conv))

    def forward(self, one: Warped) -> list[Tensor]:
        """Maps of full and of half size."""
        full = activated(self.conv_first(torch.cat((one.picture, one.weight), dim=1)))
        return [full, activated(self.get_submodule("down_0")(full))]


def warped(picture: Tensor, flow: Tensor) -> Tensor:
    """(B, 3, H, W) sampled where the flow says, its border repeated outside.

    As published, the grid puts -1 and 1 on the centres of the outermost pixels and the sampler on their outer edges:
    without flow a picture is enlarged by W / (W - 1).
    """
    height, width = picture.shape[-2:]
    with full_precision(picture):
        flow = widened(flow)
        sizes = torch.tensor((2.0 / (width - 1), 2.0 / (height - 1)), dtype=flow.dtype, device=flow.device)
        grid = coordinate_grid(height, width, flow) + flow.permute(0, 2, 3, 1) * sizes
        return functional.grid_sample(
            picture.to(grid.dtype), grid, mode="bilinear", padding_mode="border", align_corners=False
        )


def matted(picture: Tensor, reference: Warped, rendering: Warped) -> Tensor:
    """(B, 3, H, W): the rendering over what was drawn, and the reference over both, as their weights leave it."""
    picture = picture * rendering.weight + rendering.picture * (1.0 - rendering.weight)
    return picture * reference.weight + reference.picture * (1.0 - reference.weight)


def _unit(in_channels: int, out_channels: int, stride: int, spectral_norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    return nn.Sequential(spectral(conv, spectral_norm), nn.BatchNorm2d(out_channels))
