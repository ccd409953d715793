"""DaGAN, "Depth-Aware Generative Adversarial Network for Talking Head Video Generation" (CVPR 2022): the networks.

The First Order Motion Model with two additions: keypoints are found in colour and depth, and the source's depth asks
the moved features for what belongs where. The names of the submodules are those of the published classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from engine.nets.dense_motion import SourceView
from engine.nets.depth_attention import DepthAttention
from engine.nets.face_depth import FaceDepth, FaceDepthConfig
from engine.nets.first_order import (
    IMAGE_CHANNELS,
    FeatureWarp,
    FirstOrderConfig,
    FirstOrderSource,
    Moved,
    ResidualDrawing,
    check_size,
    encoder,
    resized,
)
from engine.nets.keypoint_detector import KeypointConfig, KeypointDetector
from engine.nets.local_frames import Keypoints, frame_change
from engine.nets.pictures import pixels, planes
from engine.nets.sampling import sample
from engine.nets.spade import SpadeDecoder, bake_spectral_norm

SPADE_DOWN_BLOCKS = 2
"The SPADE decoder doubles its features so often, always."

Decoder = Literal["residual", "spade"]


def _published_warp() -> FirstOrderConfig:
    return FirstOrderConfig(detector=KeypointConfig(keypoints=15, channels=IMAGE_CHANNELS + 1))


@dataclass(frozen=True)
class DaGANConfig:
    """What is variable about the networks; the defaults are those of the paper's model for faces."""

    warp: FirstOrderConfig = field(default_factory=_published_warp)
    "What it has of the First Order Motion Model; its detector sees four channels."
    depth: FaceDepthConfig = field(default_factory=FaceDepthConfig)
    decoder: Decoder = "residual"
    "The paper's, or the one that was published later, at 5.8 times the cost of a frame."

    def __post_init__(self) -> None:
        if self.warp.detector.channels != IMAGE_CHANNELS + 1:
            raise ValueError(f"detector: {self.warp.detector.channels} channels; colour and disparity are 4")
        if self.decoder == "spade" and self.warp.down_blocks != SPADE_DOWN_BLOCKS:
            raise ValueError(f"a SPADE decoder needs {SPADE_DOWN_BLOCKS} down blocks, got {self.warp.down_blocks}")


class DaGANSource(NamedTuple):
    """What is computed once per source: the tensors of an identity."""

    features: Tensor
    "(B, C, h, w) of the picture."
    view: SourceView
    queries: Tensor
    "(B, C / 8, h w) of the picture's depth."
    picture: Tensor | None
    "(B, 3, H, W) itself, which only the SPADE decoder looks at; the residual one needs none."


@dataclass(frozen=True, eq=False)
class DaGANParts:
    """A frame and what it was made from."""

    frame: Tensor
    "(B, 3, H, W) from 0 to 1."
    moved: Moved
    attended: Tensor
    "(B, C, h, w) the moved features, after the attention."


class DepthAware(FeatureWarp, ABC):
    """What both generators share: a second encoder, of the source's depth, and the attention that it asks by."""

    def __init__(self, config: FirstOrderConfig) -> None:
        super().__init__(config)
        self.src_first, self.src_down_blocks = encoder(1, config)
        self.AttnModule = DepthAttention(config.channels(config.down_blocks))

    def encode_with_depth(self, source: Tensor, disparity: Tensor, points: Tensor) -> DaGANSource:
        """source: (B, 3, H, W) from 0 to 1. disparity: (B, 1, H, W), its own. points: (B, K, 2), its keypoints."""
        encoded: FirstOrderSource = self.encode(source, points)
        depth = self.src_first(disparity.to(source.dtype))
        for block in self.src_down_blocks:
            depth = block(depth)
        return DaGANSource(encoded.features, encoded.view, self.AttnModule.queries(depth), source)

    def render(self, source: DaGANSource, points: Tensor, matrices: Tensor) -> Tensor:
        """The frame, (B, 3, H, W) from 0 to 1; arguments as of `FirstOrderGenerator.render`."""
        return self.compose(source, points, matrices).frame

    def compose(self, source: DaGANSource, points: Tensor, matrices: Tensor) -> DaGANParts:
        """The same, with all parts."""
        moved = self.move(FirstOrderSource(source.features, source.view), points, matrices)
        attended = self.AttnModule(source.queries, moved.kept)
        return DaGANParts(self.draw(attended, source, moved), moved, attended)

    @abstractmethod
    def draw(self, attended: Tensor, source: DaGANSource, moved: Moved) -> Tensor:
        """The frame, of the features after the attention."""


class DaGANGenerator(DepthAware, ResidualDrawing):
    """The paper's generator."""

    def draw(self, attended: Tensor, source: DaGANSource, moved: Moved) -> Tensor:
        return self.enlarge(self.bottleneck(attended))


class SpadeDaGANGenerator(DepthAware):
    """The generator that was published later, whose decoder looks at the moved picture as well."""

    def __init__(self, config: FirstOrderConfig) -> None:
        super().__init__(config)
        self.decoder = SpadeDecoder(config.channels(config.down_blocks), config.width, IMAGE_CHANNELS)

    def draw(self, attended: Tensor, source: DaGANSource, moved: Moved) -> Tensor:
        if source.picture is None:
            raise ValueError("source: the SPADE decoder needs its picture")
        size = source.picture.shape[-2:]
        flow = resized(moved.motion.flow.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
        picture = sample(source.picture, flow, self.config.align_corners)
        if moved.motion.occlusion is not None:
            picture = picture * resized(moved.motion.occlusion, size)
        return cast(Tensor, self.decoder(attended, picture))


class DaGANModel(nn.Module):
    """Depth network, keypoint detector and generator."""

    def __init__(self, config: DaGANConfig = DaGANConfig()) -> None:
        super().__init__()
        self.config = config
        self.kp_detector = KeypointDetector(config.warp.detector)
        kind = SpadeDaGANGenerator if config.decoder == "spade" else DaGANGenerator
        self.generator: DepthAware = kind(config.warp)
        self.depth = FaceDepth(config.depth)

    def detect(self, pictures: Tensor) -> tuple[Keypoints, Tensor]:
        """Keypoints of (B, 3, H, W) pictures from 0 to 1, and their disparities: the sender's part.

        Raises ValueError for a size that the networks cannot do.
        """
        check_size(pictures, self.config.warp)
        disparity = self.depth(pictures).to(pictures.dtype)
        return self.kp_detector(torch.cat((pictures, disparity), dim=1)), disparity

    def encode(self, source: Tensor) -> tuple[DaGANSource, Keypoints]:
        """What is the same for all frames, and the source's keypoints."""
        keypoints, disparity = self.detect(source)
        return self.generator.encode_with_depth(source, disparity, keypoints.points), keypoints

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """The frame, (B, 3, H, W), with absolute transfer: the driving keypoints as they are."""
        encoded, keypoints = self.encode(source)
        (points, jacobians), _ = self.detect(driving)
        return self.generator.render(encoded, points, frame_change(keypoints.jacobians, jacobians))


class DetectHalf(nn.Module):
    """The sender's part, on 8-bit pictures: depth and keypoints."""

    def __init__(self, model: DaGANModel) -> None:
        super().__init__()
        self.depth, self.detector = model.depth, model.kp_detector

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames: (B, H, W, 3) uint8. Returns points (B, K, 2) and Jacobians (B, K, 2, 2)."""
        pictures = planes(frames)
        points, jacobians = self.detector(torch.cat((pictures, self.depth(pictures)), dim=1))
        return points, jacobians


class EncodeHalf(nn.Module):
    """What is computed once per source, on 8-bit pictures."""

    def __init__(self, model: DaGANModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """frames: (B, H, W, 3) uint8. Returns features, small, heatmaps, queries, points and Jacobians."""
        source, keypoints = self.model.encode(planes(frames))
        view = source.view
        return source.features, view.small, view.heatmaps, source.queries, keypoints.points, keypoints.jacobians


class RenderHalf(nn.Module):
    """What is computed for every frame, to 8-bit pictures. The 2x2 inverse is outside, in `matrices`."""

    def __init__(self, model: DaGANModel) -> None:
        super().__init__()
        self.generator = bake_spectral_norm(model.generator)

    def forward(
        self,
        features: Tensor,
        small: Tensor,
        heatmaps: Tensor,
        queries: Tensor,
        source_points: Tensor,
        points: Tensor,
        matrices: Tensor,
        frames: Tensor | None = None,
    ) -> Tensor:
        """(B, H, W, 3) uint8. What `EncodeHalf` returned, and the frame's points and matrices as for
        `FirstOrderGenerator.render`. frames: the source, (B, H, W, 3) uint8; for the SPADE decoder only."""
        picture = None if frames is None else planes(frames)
        source = DaGANSource(features, SourceView(small, heatmaps, source_points), queries, picture)
        return pixels(self.generator.render(source, points, matrices))
