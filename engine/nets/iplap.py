"""The renderer of IP-LAP (CVPR 2023, supplement, Fig. 2): drawn landmarks and references of a person to a face.

The alignment module moves every reference to where the drawing has the face, and says how much of each is to be used
where; the translation module makes the lower half of the face of them, with the voice's help. Pictures are RGB from 0
to 1 (published files are for BGR: their importer swaps), square, `RendererConfig.side` wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.iplap_blocks import AdaINBlock, Modulation, SpadeBlock, each_map, normalised, separated
from engine.nets.iplap_encoders import mel_encoder
from engine.nets.pictures import pixels, planes
from engine.nets.sampling import coordinate_grid, sample

WINDOW = 5
"Frames whose drawings are seen: two before and two after the one that is made."
BANDS, COLUMNS = 80, 16
"Of the mel window of a frame: 200 ms."
CONDITION = 3 * WINDOW
LEAST_WEIGHT = 1e-5
"Added to the sum of the references' weights."
LAST_SLOPE = 0.01


@dataclass(frozen=True)
class RendererConfig:
    """The widths; the defaults are the published ones."""

    side: int = 128
    "Of the pictures in pixels, even."
    shallow: int = 32
    "Channels at full size."
    deep: int = 256
    "Channels at half size; a quarter of them is left where these are spread to full size."
    hidden: int = 256
    "Channels between the condition and the modulation in SPADE layers."
    head: int = 32
    "Channels in front of the references' weights."
    audio: int = 32
    "Channels of the first layer of the voice's encoder, a sixteenth of those of its last."
    shared: int = 128
    "Numbers between the voice and the modulation in AdaIN layers."

    def __post_init__(self) -> None:
        if self.side < 16 or self.side % 2 or self.deep < 4 or self.deep % 4:
            raise ValueError("expected an even side of 16 at least and a multiple of 4 deep channels")
        if min(self.shallow, self.hidden, self.head, self.audio, self.shared) < 1:
            raise ValueError("shallow, hidden, head, audio, shared: expected at least 1")

    @property
    def spread(self) -> int:
        """Channels at full size behind the half size."""
        return self.deep // 4


class References(NamedTuple):
    """What depends on the references alone, K of each identity."""

    shallow: Tensor
    "(B, K, C, S, S)"
    deep: Tensor
    "(B, K, D, S / 2, S / 2)"
    normal: Tensor
    "The same, normalised."
    pictures: Tensor
    "(B, K, 3, S, S)"


class Aligned(NamedTuple):
    """The references, moved and mixed by their weights."""

    shallow: Tensor
    "(B, C, S, S)"
    deep: Tensor
    "(B, D, S / 2, S / 2)"
    picture: Tensor
    "(B, 3, S, S)"


class AlignmentModule(nn.Module):
    """Flow and weight of every reference, and what they make of the references' features and pictures."""

    def __init__(self, config: RendererConfig = RendererConfig()) -> None:
        super().__init__()
        deep, spread, hidden = config.deep, config.spread, config.hidden
        self.conv1 = nn.Conv2d(6, config.shallow, 7, padding=3)
        self.conv1_bn = nn.BatchNorm2d(config.shallow)
        self.conv2 = nn.Conv2d(config.shallow, deep, 3, stride=2, padding=1)
        self.conv2_bn = nn.BatchNorm2d(deep)
        self.spade_layer_1 = SpadeBlock(deep, CONDITION, hidden)
        self.spade_layer_2 = SpadeBlock(deep, CONDITION, hidden)
        self.spade_layer_4 = SpadeBlock(spread, CONDITION, hidden)
        self.conv_4 = nn.Conv2d(spread, 2, 7, padding=3)
        self.conv_5 = nn.Sequential(
            nn.Conv2d(spread, config.head, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(config.head, 1, 7, padding=3),
            nn.Sigmoid(),
        )

    def encode(self, pictures: Tensor, sketches: Tensor) -> References:
        """The features of references. pictures: (B, K, 3, S, S), sketches: (B, K, S, S), both from 0 to 1."""
        x = torch.cat((pictures, sketches[:, :, None].expand(pictures.shape)), dim=2).flatten(0, 1)
        shallow = functional.relu(self.conv1_bn(self.conv1(x)))
        deep = functional.relu(self.conv2_bn(self.conv2(shallow)))
        normal = normalised(deep)
        return References(
            separated(shallow, pictures), separated(deep, pictures), separated(normal, pictures), pictures
        )

    def flows(self, normal: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (B, K, 2, S, S), x then y in pixels, and weight (B, K, 1, S, S) of each reference.

        normal: of `References`. condition: (B, 15, S, S), as `condition_of` makes it.
        """
        return self.flows_modulated(normal, self.modulations(condition))

    def modulations(self, condition: Tensor) -> list[tuple[Modulation, Modulation]]:
        """What the drawings say to each SPADE block, the same for all references."""
        # Every second row and column: what the nearest neighbour is at half the size.
        half = condition[..., ::2, ::2]
        blocks = ((self.spade_layer_1, half), (self.spade_layer_2, half), (self.spade_layer_4, condition))
        return [block.modulations(seen) for block, seen in blocks]

    def flows_modulated(
        self, normal: Tensor, modulations: list[tuple[Modulation, Modulation]]
    ) -> tuple[Tensor, Tensor]:
        """As `flows`, of what `modulations` says."""
        first, second, last = modulations
        x = self.spade_layer_1.modulated(normal, *first)
        x = self.spade_layer_2.modulated(normalised(x), *second)
        x = functional.pixel_shuffle(x, 2)
        x = self.spade_layer_4.modulated(normalised(x), *last)
        return each_map(self.conv_4, x), each_map(self.conv_5, x)

    def align(self, references: References, flow: Tensor, weight: Tensor) -> Aligned:
        """Warp the references and mix them. The weights are shares of their sum, not a softmax."""
        height, width = flow.shape[-2:]
        pixels = torch.tensor((2.0 / (width - 1), 2.0 / (height - 1)), dtype=flow.dtype, device=flow.device)
        moved = flow.flatten(0, 1).permute(0, 2, 3, 1) * pixels
        grid = coordinate_grid(height, width, flow) + moved
        # Bilinear interpolation to half the size is the mean of four.
        half_grid = functional.avg_pool2d(grid.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

        def mixed(maps: Tensor, where: Tensor, share: Tensor) -> Tensor:
            warped = separated(sample(maps.flatten(0, 1), where), flow)
            mean: Tensor = (share * warped).sum(dim=1) / (LEAST_WEIGHT + share.sum(dim=1))
            return mean

        half_weight = weight[..., ::2, ::2]
        return Aligned(
            mixed(references.shallow, grid, weight),
            mixed(references.deep, half_grid, half_weight),
            mixed(references.pictures, grid, weight),
        )

    def forward(self, references: References, condition: Tensor) -> Aligned:
        """condition: (B, 15, S, S)."""
        return self.align(references, *self.flows(references.normal, condition))


class TranslationModule(nn.Module):
    """The face, from its upper half, the drawings, the aligned references and the voice."""

    def __init__(self, config: RendererConfig = RendererConfig()) -> None:
        super().__init__()
        deep, spread, hidden = config.deep, config.spread, config.hidden
        numbers, shared = 16 * config.audio, config.shared
        self.audio_encoder = mel_encoder(config.audio, "relu")
        self.conv1 = nn.Conv2d(3 + CONDITION, config.shallow, 7, padding=3, bias=False)
        self.conv1_bn = nn.BatchNorm2d(config.shallow)
        self.conv2 = nn.Conv2d(config.shallow, deep, 3, stride=2, padding=1, bias=False)
        self.conv2_bn = nn.BatchNorm2d(deep)
        self.spade_1 = SpadeBlock(deep, deep, hidden)
        self.adain_1 = AdaINBlock(deep, numbers, shared)
        self.spade_2 = SpadeBlock(spread, config.shallow, hidden)
        self.adain_2 = AdaINBlock(spread, numbers, shared)
        self.spade_4 = SpadeBlock(spread, 3, hidden)
        self.conv_last = nn.Conv2d(spread, 3, 7, padding=3, bias=False)

    def forward(self, face: Tensor, condition: Tensor, mel: Tensor, aligned: Aligned) -> Tensor:
        """(B, 3, S, S) from 0 to 1. face: (B, 3, S, S), of which the upper half is looked at. mel: (B, 80, 16)."""
        x = torch.cat((face * upper_half(face), condition), dim=1)
        x = functional.relu(self.conv1_bn(self.conv1(x)))
        x = functional.relu(self.conv2_bn(self.conv2(x)))
        voice = self.audio_encoder(mel[:, None]).flatten(1)
        x = self.spade_1(x, aligned.deep)
        x = self.adain_1(x, voice)
        x = functional.pixel_shuffle(x, 2)
        x = self.spade_2(x, aligned.shallow)
        x = self.adain_2(x, voice)
        x = self.spade_4(x, aligned.picture)
        return torch.sigmoid(self.conv_last(functional.leaky_relu(x, LAST_SLOPE)))


class IPLAPRenderer(nn.Module):
    """Both modules under the names of the published file."""

    def __init__(self, config: RendererConfig = RendererConfig()) -> None:
        super().__init__()
        self.config = config
        self.flow_module = AlignmentModule(config)
        self.translation = TranslationModule(config)

    def encode(self, pictures: Tensor, sketches: Tensor) -> References:
        """See `AlignmentModule.encode`."""
        return self.flow_module.encode(pictures, sketches)

    def render(self, references: References, face: Tensor, sketches: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The face and the mixed references, (B, 3, S, S) each. sketches: (B, 5, S, S), face and mel as of
        `TranslationModule`."""
        condition = condition_of(sketches)
        aligned = self.flow_module(references, condition)
        return self.translation(face, condition, mel, aligned), aligned.picture

    def forward(
        self, face: Tensor, sketches: Tensor, pictures: Tensor, picture_sketches: Tensor, mel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`encode`, then `render`."""
        return self.render(self.encode(pictures, picture_sketches), face, sketches, mel)


def condition_of(sketches: Tensor) -> Tensor:
    """(B, 5, S, S) drawings, in the order of time, to (B, 15, S, S): each as red, green and blue."""
    return sketches[:, :, None].expand(-1, -1, 3, -1, -1).flatten(1, 2)


def upper_half(like: Tensor) -> Tensor:
    """(S, 1) 1 in the upper half of the rows, 0 below."""
    height = like.shape[-2]
    rows = torch.arange(height, device=like.device)
    return (rows < height // 2).to(like.dtype)[:, None]


class EncodeHalf(nn.Module):
    """Once per reference."""

    def __init__(self, network: IPLAPRenderer) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor, sketch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """picture (B, S, S, 3) uint8 and sketch (B, S, S) to the features of `References`, without the axis K."""
        references = self.network.encode(planes(picture)[:, None], sketch[:, None])
        return references.shallow[:, 0], references.deep[:, 0], references.normal[:, 0]


class RenderHalf(nn.Module):
    """Once per frame."""

    def __init__(self, network: IPLAPRenderer) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        face: Tensor,
        sketches: Tensor,
        mel: Tensor,
        shallow: Tensor,
        deep: Tensor,
        normal: Tensor,
        pictures: Tensor,
    ) -> Tensor:
        """The face (B, S, S, 3) uint8. face: (B, S, S, 3) uint8, pictures: (B, K, S, S, 3) uint8, the rest as of
        `IPLAPRenderer.render`."""
        own = pictures.permute(0, 1, 4, 2, 3).to(shallow.dtype) * (1.0 / 255.0)
        made, _ = self.network.render(References(shallow, deep, normal, own), planes(face), sketches, mel)
        return pixels(made)
