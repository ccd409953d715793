"""From keypoints to a flow: one affine motion around each of them, and a network that says which holds where.

First Order Motion Model (2019), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.nets.antialias import downscale
from engine.nets.heatmap import heatmaps
from engine.nets.hourglass import Hourglass, HourglassConfig
from engine.nets.sampling import coordinate_axis, coordinate_grid, sample

KERNEL = 7


@dataclass(frozen=True)
class DenseMotionConfig:
    """What is variable about the motion network; the defaults are the published one for faces."""

    hourglass: HourglassConfig = field(default_factory=HourglassConfig)
    downscale: int = 4
    "The motion is found on a map so many times smaller than the picture."
    variance: float = 0.01
    "Of a keypoint's heat map, in units of half the picture."
    occlusion: bool = True
    "Whether it also says where the source has nothing to show."

    def __post_init__(self) -> None:
        if self.downscale < 1 or self.variance <= 0:
            raise ValueError("downscale: at least 1; variance: above 0")


class SourceView(NamedTuple):
    """What the motion network needs of the source, the same for all frames."""

    small: Tensor
    "(B, C, h, w) the source picture, made smaller."
    heatmaps: Tensor
    "(B, K, h, w) of its keypoints."
    points: Tensor
    "(B, K, 2) its keypoints."


@dataclass(frozen=True, eq=False)
class DenseMotion:
    """The flow of a frame and what it was found from."""

    flow: Tensor
    "(B, h, w, 2) where each position of the frame is in the source: x then y, -1 and 1 as `coordinate_grid` has them."
    occlusion: Tensor | None
    "(B, 1, h, w) from 0, nothing to show, to 1."
    masks: Tensor
    "(B, K + 1, h, w) the share of each motion, 1 in all; the first is the background's."
    motions: Tensor
    "(B, K + 1, h, w, 2) flows, one for each keypoint, the first without motion."
    seen: Tensor
    "(B, (K + 1) (C + 1), h, w) what the hourglass saw: for each motion its heat map and the source moved by it."
    mask_logits: Tensor
    occlusion_logits: Tensor | None


def sparse_motions(source_points: Tensor, points: Tensor, matrices: Tensor, height: int, width: int) -> Tensor:
    """(B, K + 1, height, width, 2): the identity, then p_source + M (z - p) for each keypoint and position z.

    source_points, points: (B, K, 2) of the source and of the frame. matrices: (B, K, 2, 2), J_source J_frame^-1, see
    `engine.nets.local_frames.frame_change`. First Order Motion Model (2019), Eq. 4.
    """
    x = (coordinate_axis(width, points) - points[..., 0:1])[:, :, None, :]
    y = (coordinate_axis(height, points) - points[..., 1:2])[:, :, :, None]
    entries, offsets = matrices[..., None], source_points[..., None, None]
    moved = [
        entries[:, :, row, 0, :, None] * x + entries[:, :, row, 1, :, None] * y + offsets[:, :, row] for row in range(2)
    ]
    still = coordinate_grid(height, width, points).expand(points.shape[0], 1, height, width, 2)
    return torch.cat((still, torch.stack(moved, dim=-1)), dim=1)


class DenseMotionNetwork(nn.Module):
    """The motion network, for a source seen once (`view`) and the keypoints of any number of frames.

    Coordinates, masks and the flow are float32 at least, whatever the weights are.
    """

    def __init__(
        self, keypoints: int, config: DenseMotionConfig, channels: int = 3, align_corners: bool = False
    ) -> None:
        """align_corners: how the source is sampled, see `engine.nets.sampling.sample`."""
        super().__init__()
        self.config = config
        self.align_corners = align_corners
        self.down = downscale(channels, config.downscale)
        self.hourglass = Hourglass((keypoints + 1) * (channels + 1), config.hourglass)
        features = self.hourglass.out_channels
        self.mask = nn.Conv2d(features, keypoints + 1, KERNEL, padding=KERNEL // 2)
        self.occlusion = nn.Conv2d(features, 1, KERNEL, padding=KERNEL // 2) if config.occlusion else None

    def view(self, source: Tensor, points: Tensor) -> SourceView:
        """source: (B, C, H, W) from 0 to 1. points: (B, K, 2), its keypoints."""
        small = self.down(source)
        return SourceView(small, heatmaps(points, small.shape[2], small.shape[3], self.config.variance), points)

    def see(self, source: SourceView, points: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """`motions` and `seen` of `DenseMotion`. points: (B, K, 2) of the frame, moved to the source if need be.
        matrices: as in `sparse_motions`."""
        count, channels, height, width = source.small.shape
        motions = sparse_motions(source.points, points, matrices, height, width)
        number = motions.shape[1]
        # One map sampled once, the motions' grids below each other, instead of a copy of the map for each of them.
        moved = sample(source.small, motions.flatten(1, 2), self.align_corners)
        moved = moved.view(count, channels, number, height, width).transpose(1, 2)
        change = heatmaps(points, height, width, self.config.variance) - source.heatmaps
        change = torch.cat((torch.zeros_like(change[:, :1]), change), dim=1)[:, :, None]
        return motions, torch.cat((change.to(moved.dtype), moved), dim=2).flatten(1, 2)

    def forward(self, source: SourceView, points: Tensor, matrices: Tensor) -> DenseMotion:
        """Arguments as of `see`."""
        motions, seen = self.see(source, points, matrices)
        features = self.hourglass(seen)
        mask_logits = self.mask(features)
        masks = torch.softmax(mask_logits.to(motions.dtype), dim=1)
        flow = (masks[..., None] * motions).sum(1)
        occlusion_logits = None if self.occlusion is None else self.occlusion(features)
        occlusion = None if occlusion_logits is None else torch.sigmoid(occlusion_logits)
        return DenseMotion(flow, occlusion, masks, motions, seen, mask_logits, occlusion_logits)
