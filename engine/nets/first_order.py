"""First Order Motion Model (Siarohin et al., NeurIPS 2019), as published: the networks.

A source picture's features are moved by a flow that few keypoints with local frames describe, and drawn anew. The names
of the submodules are those of the published classes, so that weights in that format load.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.antialias import downscale
from engine.nets.blocks import DownBlock, ResBlock, SameBlock, UpBlock
from engine.nets.dense_motion import DenseMotion, DenseMotionConfig, DenseMotionNetwork, SourceView
from engine.nets.keypoint_detector import KeypointConfig, KeypointDetector
from engine.nets.local_frames import Keypoints, frame_change
from engine.nets.pictures import pixels, planes
from engine.nets.sampling import sample

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class FirstOrderConfig:
    """What is variable about the networks; the defaults are those published for faces (vox, 256x256)."""

    detector: KeypointConfig = field(default_factory=KeypointConfig)
    motion: DenseMotionConfig = field(default_factory=DenseMotionConfig)
    width: int = 64
    "Channels at full size; each halving doubles them."
    limit: int = 512
    "Channels that are not exceeded."
    down_blocks: int = 2
    "The source's features are so many times halved."
    residual_blocks: int = 6
    "At the features' size, after they were moved. Two thirds of what a frame costs."
    align_corners: bool = False
    """How pictures and features are sampled, see `engine.nets.sampling.sample`. The weights published in 2019 were most
    likely trained with True (torch 1.0 knew nothing else); the published code of today runs them with False."""

    def __post_init__(self) -> None:
        if min(self.width, self.limit) < 1 or min(self.down_blocks, self.residual_blocks) < 0:
            raise ValueError("width and limit: at least 1; down_blocks and residual_blocks: at least 0")

    @property
    def keypoints(self) -> int:
        """How many keypoints drive it."""
        return self.detector.keypoints

    def channels(self, level: int) -> int:
        """Of the map that was halved `level` times."""
        return min(self.limit, self.width << level)

    @property
    def unit(self) -> int:
        """Both sides of a picture must be divisible by it, in pixels."""
        return max(
            1 << self.down_blocks,
            self.motion.downscale << self.motion.hourglass.blocks,
            self.detector.downscale << self.detector.hourglass.blocks,
        )


class FirstOrderSource(NamedTuple):
    """What is computed once per source: the tensors of an identity."""

    features: Tensor
    "(B, C, h, w) of the picture, C = 256 and a quarter of the picture's size as published."
    view: SourceView


@dataclass(frozen=True, eq=False)
class Moved:
    """A source's features where a frame's flow puts them."""

    motion: DenseMotion
    flow: Tensor
    "(B, h, w, 2) of the features' size."
    occlusion: Tensor | None
    "(B, 1, h, w) of the features' size."
    warped: Tensor
    "(B, C, h, w) the features moved."
    kept: Tensor
    "(B, C, h, w) the same times the occlusion."


@dataclass(frozen=True, eq=False)
class FirstOrderParts:
    """A frame and what it was made from."""

    frame: Tensor
    "(B, 3, H, W) from 0 to 1."
    moved: Moved
    drawn: Tensor
    "(B, C, h, w) the features that the decoder enlarges, after the residual blocks."


class FeatureWarp(nn.Module):
    """What the generators of the family share: an encoder of the source, the motion network, and the features moved."""

    def __init__(self, config: FirstOrderConfig) -> None:
        super().__init__()
        self.config = config
        self.dense_motion_network = DenseMotionNetwork(
            config.keypoints, config.motion, IMAGE_CHANNELS, config.align_corners
        )
        self.first, self.down_blocks = encoder(IMAGE_CHANNELS, config)

    def encode(self, source: Tensor, points: Tensor) -> FirstOrderSource:
        """source: (B, 3, H, W) from 0 to 1. points: (B, K, 2), its keypoints."""
        features = self.first(source)
        for block in self.down_blocks:
            features = block(features)
        return FirstOrderSource(features, self.dense_motion_network.view(source, points))

    def move(self, source: FirstOrderSource, points: Tensor, matrices: Tensor) -> Moved:
        """The source's features where the frame wants them; arguments as of `DenseMotionNetwork`."""
        motion: DenseMotion = self.dense_motion_network(source.view, points, matrices)
        features = source.features
        flow = resized(motion.flow.permute(0, 3, 1, 2), features.shape[-2:]).permute(0, 2, 3, 1)
        warped = sample(features, flow, self.config.align_corners)
        if motion.occlusion is None:
            return Moved(motion, flow, None, warped, warped)
        occlusion = resized(motion.occlusion, features.shape[-2:])
        return Moved(motion, flow, occlusion, warped, warped * occlusion)


class ResidualDrawing(FeatureWarp):
    """And what most of them share: residual blocks and a decoder, from moved features to the frame."""

    def __init__(self, config: FirstOrderConfig) -> None:
        super().__init__(config)
        depth = config.down_blocks
        self.bottleneck = nn.Sequential()
        for number in range(config.residual_blocks):
            self.bottleneck.add_module(f"r{number}", ResBlock(config.channels(depth)))
        self.up_blocks = nn.ModuleList(
            UpBlock(config.channels(level), config.channels(level - 1)) for level in range(depth, 0, -1)
        )
        self.final = nn.Conv2d(config.channels(0), IMAGE_CHANNELS, 7, padding=3)

    def enlarge(self, features: Tensor) -> Tensor:
        """The frame, (B, 3, H, W) from 0 to 1, of what the residual blocks made of the moved features."""
        for block in self.up_blocks:
            features = block(features)
        return torch.sigmoid(self.final(features))


class FirstOrderGenerator(ResidualDrawing):
    """The published generator. It ran the encoder of the source for every frame: here `encode` runs it once."""

    def render(self, source: FirstOrderSource, points: Tensor, matrices: Tensor) -> Tensor:
        """The frame, (B, 3, H, W) from 0 to 1.

        points: (B, K, 2) of the frame, after the transfer to the source. matrices: (B, K, 2, 2), what leads from its
        local frames to the source's, J_source J_frame^-1 (`engine.nets.local_frames.frame_change`).
        """
        return self.compose(source, points, matrices).frame

    def compose(self, source: FirstOrderSource, points: Tensor, matrices: Tensor) -> FirstOrderParts:
        """The same, with all parts."""
        moved = self.move(source, points, matrices)
        drawn = self.bottleneck(moved.kept)
        return FirstOrderParts(self.enlarge(drawn), moved, drawn)


class FirstOrderModel(nn.Module):
    """Keypoint detector and generator: a source picture and a driving one to the source moved like the driving one."""

    def __init__(self, config: FirstOrderConfig = FirstOrderConfig()) -> None:
        super().__init__()
        self.config = config
        self.kp_detector = KeypointDetector(config.detector)
        self.generator = FirstOrderGenerator(config)

    def detect(self, pictures: Tensor) -> Keypoints:
        """Of (B, 3, H, W) pictures from 0 to 1: the sender's part. Raises ValueError for a size it cannot do."""
        check_size(pictures, self.config)
        return cast(Keypoints, self.kp_detector(pictures))

    def encode(self, source: Tensor) -> tuple[FirstOrderSource, Keypoints]:
        """What is the same for all frames, and the source's keypoints."""
        keypoints = self.detect(source)
        return self.generator.encode(source, keypoints.points), keypoints

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """The frame, (B, 3, H, W), with absolute transfer: the driving keypoints as they are."""
        encoded, keypoints = self.encode(source)
        points, jacobians = self.detect(driving)
        return self.generator.render(encoded, points, frame_change(keypoints.jacobians, jacobians))


def encoder(channels: int, config: FirstOrderConfig) -> tuple[SameBlock, nn.ModuleList]:
    """The first block and the down blocks of an encoder: pictures of `channels` to the features that are moved."""
    downs = nn.ModuleList(
        DownBlock(config.channels(level), config.channels(level + 1)) for level in range(config.down_blocks)
    )
    return SameBlock(channels, config.channels(0), kernel_size=7), downs


def resized(maps: Tensor, size: torch.Size) -> Tensor:
    """(B, C, h, w) to another size, bilinear; as it is where it has that size already."""
    if maps.shape[-2:] == size:
        return maps
    return functional.interpolate(maps, size=(size[0], size[1]), mode="bilinear", align_corners=False)


def set_downscale(detector: KeypointDetector, motion: DenseMotionNetwork, of_detector: int, of_motion: int) -> None:
    """Change by how much pictures are made smaller before keypoints and motion are found in them.

    For pictures of another size than in training: the networks then see maps of the size that they know.
    """
    for part, factor, channels in (
        (detector, of_detector, detector.config.channels),
        (motion, of_motion, IMAGE_CHANNELS),
    ):
        if part.config.downscale != factor:
            like = next(part.parameters())
            part.down = downscale(channels, factor).to(like)
            part.config = replace(part.config, downscale=factor)


def check_size(pictures: Tensor, config: FirstOrderConfig) -> None:
    """Raises ValueError for pictures (B, C, H, W) that the networks' halvings do not divide."""
    height, width = pictures.shape[-2:]
    if height % config.unit or width % config.unit:
        raise ValueError(f"picture: {width}x{height} pixels; both sides must be divisible by {config.unit}")


class DetectHalf(nn.Module):
    """The sender's part, on 8-bit pictures."""

    def __init__(self, model: FirstOrderModel) -> None:
        super().__init__()
        self.detector = model.kp_detector

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames: (B, H, W, 3) uint8. Returns points (B, K, 2) and Jacobians (B, K, 2, 2)."""
        points, jacobians = self.detector(planes(frames))
        return points, jacobians


class EncodeHalf(nn.Module):
    """What is computed once per source, on 8-bit pictures."""

    def __init__(self, model: FirstOrderModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """frames: (B, H, W, 3) uint8. Returns features, small, heatmaps, points and Jacobians of the source."""
        (features, view), keypoints = self.model.encode(planes(frames))
        return features, view.small, view.heatmaps, keypoints.points, keypoints.jacobians


class RenderHalf(nn.Module):
    """What is computed for every frame, to 8-bit pictures. The 2x2 inverse is outside, in `matrices`."""

    def __init__(self, model: FirstOrderModel) -> None:
        super().__init__()
        self.generator = model.generator

    def forward(
        self, features: Tensor, small: Tensor, heatmaps: Tensor, source_points: Tensor, points: Tensor, matrices: Tensor
    ) -> Tensor:
        """(B, H, W, 3) uint8. What `EncodeHalf` returned, and the frame's points and matrices as for `render`."""
        source = FirstOrderSource(features, SourceView(small, heatmaps, source_points))
        return pixels(self.generator.render(source, points, matrices))
