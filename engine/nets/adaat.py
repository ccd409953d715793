"""AdaAT, "Adaptive Affine Transformation" (Zhang and Ding, ACM MM 2022), as published: the networks.

One affine transformation per feature channel, predicted from a code of the whole picture, moves the source's features
to where the target landmarks want them. The names of the submodules are those of the published classes, their spelling
included, so that weights in that format load. Layers: the paper's supplement, Fig. 1 (e-h).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.blocks import DownBlock, ResBlock, SameBlock, UpBlock
from engine.nets.heatmap import convolve_heatmaps, heatmaps
from engine.nets.patch_discriminator import PatchDiscriminator
from engine.nets.pictures import pixels, planes
from engine.nets.precision import full_precision, widened
from engine.nets.sampling import coordinate_grid, sample

IMAGE_CHANNELS = 3
HALF_TURN = 3.14159
"The largest angle of a channel, in radians: the published constant, which is not quite pi."
ADAIN_EPSILON = 1e-5


@dataclass(frozen=True)
class AdaATConfig:
    """What is variable about the networks; the defaults are the published face module."""

    landmarks: int = 68
    "Points that drive it: 68 for faces, 18 for whole persons."
    transform_blocks: int = 5
    "Down blocks of the transformation encoder: 5 for faces, 4 for persons."
    divisor: int = 1
    "All widths (64, 128, 256, 512 channels) are divided by it; cost and parameters nearly by its square."
    blend: bool = True
    "Whether an operator mixes neighbouring channels, as published. Leave it out of what is trained from scratch."
    variance: float = 0.01
    "Of a landmark's heat map, in units of half the picture."
    align_corners: bool = False
    "How the operators sample; as `engine.nets.sampling.sample`. True also implies that there is no blend."

    def __post_init__(self) -> None:
        if self.divisor < 1 or 64 % self.divisor:
            raise ValueError(f"divisor: expected a divisor of 64, got {self.divisor}")
        if self.landmarks < 1 or self.transform_blocks < 1:
            raise ValueError("landmarks and transform_blocks: at least 1 each")

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels at full, half and quarter size, and of the maps that are moved (quarter size)."""
        return 64 // self.divisor, 128 // self.divisor, 256 // self.divisor, 512 // self.divisor

    @property
    def smallest_side(self) -> int:
        """The smallest height or width of a picture, in pixels, of which the transformation encoder leaves anything."""
        return 4 << self.transform_blocks


FACE = AdaATConfig()
"The published face module: 56.9 million parameters, 261 GMAC a frame of 256x256."
PERSON = AdaATConfig(landmarks=18, transform_blocks=4)
"The published person module. Its released weights take BGR pictures."


class ChannelTransforms(NamedTuple):
    """One similarity per channel, from output to input: a scale above 1 zooms out."""

    scale: Tensor
    "(B, C) in (0, 2)."
    angle: Tensor
    "(B, C) radians."
    translation: Tensor
    "(B, C, 2) x then y, in (-1, 1): half the map's width and height."


def channel_grids(transforms: ChannelTransforms, height: int, width: int) -> Tensor:
    """(B, C, height, width, 2) where each output pixel of each channel is sampled, normalised coordinates.

    Turned in normalised coordinates as published, without regard to the aspect: a map that is not square is sheared.
    """
    scale, angle, translation = transforms
    grid = coordinate_grid(height, width, like=scale)
    x, y = grid[..., 0], grid[..., 1]
    cosine, sine = (scale * torch.cos(angle))[..., None, None], (scale * torch.sin(angle))[..., None, None]
    across, down = translation[..., 0, None, None], translation[..., 1, None, None]
    return torch.stack((cosine * x - sine * y + across, sine * x + cosine * y + down), dim=-1)


def transform_channels(features: Tensor, transforms: ChannelTransforms, align_corners: bool = False) -> Tensor:
    """(B, C, H, W) features, every channel moved by its own transformation; 0 where it comes from outside."""
    grids = channel_grids(transforms, features.shape[2], features.shape[3])
    moved = sample(features.flatten(0, 1)[:, None], grids.flatten(0, 1), align_corners)
    return moved.view(features.shape)


def blend_bands(channels: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(C,) each: the weights of the channel before, of the channel itself and of the one after it, in `blend_channels`.

    The published operator samples the features as a volume, whose third coordinate `2 c / (C - 1) - 1` the sampler
    reads as position `c C / (C - 1) - 1/2` instead of c: between two channels, half outside at both ends.
    """
    if channels < 2:
        raise ValueError(f"blending neighbours needs at least 2 channels, got {channels}")
    ratio = torch.arange(channels, dtype=like.dtype, device=like.device) / (channels - 1)
    before, after = (0.5 - ratio).clamp(min=0.0), (ratio - 0.5).clamp(min=0.0)
    return before, 1.0 - before - after, after


def blend_matrix(channels: int, like: Tensor) -> Tensor:
    """(C, C) the band matrix M of `blend_channels`: out = M @ in, by channels."""
    before, own, after = blend_bands(channels, like)
    # The first channel's neighbour before it and the last one's after it do not exist: that half is lost.
    return torch.diag(own) + torch.diag(before[1:], -1) + torch.diag(after[:-1], 1)


def blend_channels(features: Tensor) -> Tensor:
    """(B, C, H, W) every channel mixed with a neighbour by constant weights; commutes with `transform_channels`."""
    before, own, after = (band[:, None, None] for band in blend_bands(features.shape[1], features))
    padded = functional.pad(features, (0, 0, 0, 0, 1, 1))
    return before * padded[:, :-2] + own * features + after * padded[:, 2:]


class AdaAT(nn.Module):
    """The operator: features (B, C, H, W), moved channel by channel as a code (B, K) says.

    The published one is a trilinear sampling in three dimensions. This is its exact equal of two: a blend of
    neighbouring channels and a warp per channel. Coordinates are computed in float32 at least, also under autocast.
    """

    def __init__(self, code: int, channels: int, blend: bool = True, align_corners: bool = False) -> None:
        super().__init__()
        self.blend = blend and not align_corners
        self.align_corners = align_corners
        self.commn_linear = nn.Sequential(nn.Linear(code, code), nn.ReLU())
        self.scale = nn.Sequential(nn.Linear(code, channels), nn.Sigmoid())
        self.rotation = nn.Sequential(nn.Linear(code, channels), nn.Tanh())
        self.translation = nn.Sequential(nn.Linear(code, 2 * channels), nn.Tanh())

    def transforms(self, code: Tensor) -> ChannelTransforms:
        """What the code (B, K) means."""
        with full_precision(code):
            hidden = self.commn_linear(code.to(_dtype(self)))
            scale, angle, translation = self.scale(hidden), self.rotation(hidden), self.translation(hidden)
            scale, angle, translation = widened(scale), widened(angle), widened(translation)
            return ChannelTransforms(2.0 * scale, HALF_TURN * angle, translation.view(*scale.shape, 2))

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        transforms = self.transforms(code)
        with full_precision(features):
            if self.blend:
                features = blend_channels(features)
            return transform_channels(features, transforms, self.align_corners)


class AdaIN(nn.Module):
    """Adaptive instance normalisation as AdaAT has it: (B, C, H, W) to the mean and gain that a code (B, K) gives.

    The variance is the unbiased one, and the gain (`var` in the weights) multiplies without "1 +".
    """

    def __init__(self, code: int, channels: int) -> None:
        super().__init__()
        self.commn_linear = nn.Sequential(nn.Linear(code, code), nn.ReLU())
        self.mean = nn.Linear(code, channels)
        self.var = nn.Linear(code, channels)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        with full_precision(features):
            hidden = self.commn_linear(code.to(_dtype(self)))
            mean, gain = self.mean(hidden)[..., None, None], self.var(hidden)[..., None, None]
            wide = widened(features)
            centred = wide - wide.mean(dim=(2, 3), keepdim=True)
            pixels = features.shape[2] * features.shape[3]
            variance = centred.square().sum(dim=(2, 3), keepdim=True) / (pixels - 1)
            normalised = centred / torch.sqrt(variance + ADAIN_EPSILON)
            return cast(Tensor, (gain * normalised + mean).to(features.dtype))


class FirstLayers(nn.Module):
    """From pictures and heat maps to a quarter of the size: (B, I, H, W) to (B, widths[2], H / 4, W / 4)."""

    def __init__(self, config: AdaATConfig) -> None:
        super().__init__()
        full, half, quarter, _ = config.widths
        self.in_conv = SameBlock(IMAGE_CHANNELS + 2 * config.landmarks, full, kernel_size=7)
        self.down_blocks = nn.ModuleList((DownBlock(full, half), DownBlock(half, quarter)))
        self.landmarks = config.landmarks
        self.variance = config.variance

    def source_part(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """(B, widths[0], H, W) the share of the first convolution that sees the source, without the bias.

        image: (B, 3, H, W). landmarks: (B, L, 2), the source's.
        """
        weight = self.in_conv.conv.weight
        from_image = functional.conv2d(image.to(weight.dtype), weight[:, :IMAGE_CHANNELS], padding=3)
        return from_image + self._landmark_part(
            landmarks, image.shape[-2:], weight[:, IMAGE_CHANNELS : IMAGE_CHANNELS + self.landmarks]
        )

    def forward(self, source_part: Tensor, landmarks: Tensor) -> Tensor:
        """landmarks: (B, L, 2), the target's."""
        conv = self.in_conv.conv
        target_part = self._landmark_part(
            landmarks, source_part.shape[-2:], conv.weight[:, IMAGE_CHANNELS + self.landmarks :]
        )
        bias = cast(Tensor, conv.bias)
        x = self.in_conv.activate(source_part + target_part + bias[:, None, None])
        for block in self.down_blocks:
            x = block(x)
        return x

    def _landmark_part(self, landmarks: Tensor, size: torch.Size, weight: Tensor) -> Tensor:
        return convolve_heatmaps(landmarks, size[0], size[1], weight, self.variance)


class LastLayers(nn.Module):
    """From features (B, widths[2], H / 4, W / 4) to a picture (B, 3, H, W) with values from 0 to 1."""

    def __init__(self, config: AdaATConfig) -> None:
        super().__init__()
        full, half, quarter, _ = config.widths
        self.up_blocks = nn.ModuleList((UpBlock(quarter, half), UpBlock(half, full)))
        self.out_conv = nn.Conv2d(full, IMAGE_CHANNELS, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.up_blocks:
            x = block(x)
        return torch.sigmoid(self.out_conv(x))


class AdaATNetwork(nn.Module):
    """The whole: a source picture, its landmarks and the target's, to the picture with the target's landmarks.

    Pictures are (B, 3, H, W) from 0 to 1, H and W divisible by 4 and at least `config.smallest_side`; landmarks
    (B, L, 2), `2 pixel / size - 1`. Only the share of the first convolution that sees the source (`encode`) is the same
    for all frames: appearance is encoded from source and target together.
    """

    def __init__(self, config: AdaATConfig = FACE) -> None:
        super().__init__()
        self.config = config
        _, _, inner, moved = config.widths
        code = inner
        self.appearance_encoder = nn.Sequential(
            FirstLayers(config), ResBlock(inner), ResBlock(inner), ResBlock(inner, moved), ResBlock(moved)
        )
        self.trans_encoder = nn.Sequential(
            DownBlock(moved, inner), *(DownBlock(inner, inner) for _ in range(config.transform_blocks - 1))
        )
        self.appearance_conv_list = nn.ModuleList(
            nn.Sequential(ResBlock(moved, inner), *(ResBlock(inner) for _ in range(4)), ResBlock(inner, moved))
            for _ in range(3)
        )
        self.adaAT1 = AdaAT(code, moved, config.blend, config.align_corners)
        self.adaAT2 = AdaAT(code, moved, config.blend, config.align_corners)
        self.adaAT3 = AdaIN(code, moved)  # the weights' name for it, though it moves nothing
        self.appearance_decoder = nn.Sequential(
            ResBlock(moved), ResBlock(moved, inner), ResBlock(inner), ResBlock(inner), LastLayers(config)
        )

    def forward(self, source: Tensor, source_landmarks: Tensor, target_landmarks: Tensor) -> Tensor:
        """The predicted picture, (B, 3, H, W)."""
        return self.render(self.encode(source, source_landmarks), target_landmarks)

    def encode(self, source: Tensor, landmarks: Tensor) -> Tensor:
        """(B, widths[0], H, W) what is the same for all frames. Raises ValueError for a size that it cannot do."""
        height, width = source.shape[-2:]
        if height % 4 or width % 4 or min(height, width) < self.config.smallest_side:
            raise ValueError(
                f"source: {width}x{height} pixels; both sides must be divisible by 4 and at least "
                f"{self.config.smallest_side}"
            )
        return self._first_layers.source_part(source, landmarks)

    def render(self, source_part: Tensor, landmarks: Tensor) -> Tensor:
        """The predicted picture from what `encode` returned and the target's landmarks."""
        appearance = self.appearance(source_part, landmarks)
        return cast(Tensor, self.appearance_decoder(self.align(appearance, self.code(appearance))))

    def appearance(self, source_part: Tensor, landmarks: Tensor) -> Tensor:
        """(B, widths[3], H / 4, W / 4) the features that will be moved."""
        x = self._first_layers(source_part, landmarks)
        for block in list(self.appearance_encoder)[1:]:
            x = block(x)
        return cast(Tensor, x)

    def code(self, appearance: Tensor) -> Tensor:
        """(B, widths[2]) what the operators go by."""
        return cast(Tensor, self.trans_encoder(appearance).mean(dim=(2, 3)))

    def align(self, appearance: Tensor, code: Tensor) -> Tensor:
        """(B, widths[3], H / 4, W / 4) the features, moved twice and normalised once."""
        x = appearance
        operators = (self.adaAT1, self.adaAT2, self.adaAT3)
        for convolutions, operator in zip(self.appearance_conv_list, operators, strict=True):
            x = operator(convolutions(x), code)
        return x

    @property
    def _first_layers(self) -> FirstLayers:
        return cast(FirstLayers, self.appearance_encoder[0])


def fold_blend(network: AdaATNetwork) -> AdaATNetwork:
    """An equal network whose operators need not blend: the convolutions before them do. `network` stays as it is.

    The blend is linear in the channels, so it goes into the output of the residual block before each operator.
    """
    folded = copy.deepcopy(network)
    folded.config = replace(network.config, blend=False)
    moved_stages = list(folded.appearance_conv_list)[:2]
    for operator, stage in zip((folded.adaAT1, folded.adaAT2), moved_stages, strict=True):
        if not operator.blend:
            continue
        operator.blend = False
        last = cast(ResBlock, cast(nn.Sequential, stage)[-1])
        for conv in (last.conv2, cast(nn.Conv2d, last.channel_conv)):
            bias = cast(Tensor, conv.bias)
            matrix = blend_matrix(conv.out_channels, like=bias)
            with torch.no_grad():
                conv.weight.copy_(torch.tensordot(matrix, conv.weight, dims=1))
                bias.copy_(matrix @ bias)
    return folded


class EncodeHalf(nn.Module):
    """What is computed once per source, on 8-bit pictures."""

    def __init__(self, network: AdaATNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, landmarks: Tensor) -> Tensor:
        """frames: (B, H, W, 3) uint8. landmarks: (B, L, 2). Returns what `RenderHalf` calls `source_part`."""
        return self.network.encode(planes(frames), landmarks)


class RenderHalf(nn.Module):
    """What is computed for every frame, to 8-bit pictures; equal to the network, with its blend folded in."""

    def __init__(self, network: AdaATNetwork) -> None:
        super().__init__()
        self.network = fold_blend(network)

    def forward(self, source_part: Tensor, landmarks: Tensor) -> Tensor:
        """(B, H, W, 3) uint8. landmarks: (B, L, 2), the target's."""
        return pixels(self.network.render(source_part, landmarks))


class AdaATDiscriminator(PatchDiscriminator):
    """Patches, real or not: a picture with the target's heat maps beside it, to a map of scores (least squares GAN).

    The First Order Motion Model's, but without any normalisation, as in AdaAT's released code.
    """

    def __init__(self, config: AdaATConfig = FACE) -> None:
        base, limit = 64 // config.divisor, 256 // config.divisor
        widths = [min(limit, base << level) for level in range(1, 5)]
        super().__init__(IMAGE_CHANNELS + config.landmarks, widths, norm=False)
        self.variance = config.variance

    def forward(self, image: Tensor, landmarks: Tensor) -> tuple[list[Tensor], Tensor]:
        """The outputs of the four blocks, for feature matching, and the scores (B, 1, h, w); 26 x 26 for 256 x 256.

        image: (B, 3, H, W) from 0 to 1, real or made. landmarks: (B, L, 2), the target's.
        """
        conditions = heatmaps(landmarks, image.shape[-2], image.shape[-1], self.variance)
        return self.judge(torch.cat((image, conditions.to(image.dtype)), dim=1))


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
