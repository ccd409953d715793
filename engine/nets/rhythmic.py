"""Talking-head generation with rhythmic head motion (ECCV 2020): its generator of frames.

From n reference pictures with their edges, the target's edges, one reference to warp and a rendering of the face in the
target's pose. The state-dict layout is that of the published checkpoints, in both variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.nets.pictures import pixels, planes
from engine.nets.rhythmic_blocks import UpBlock, activated, enlarged
from engine.nets.rhythmic_composition import Warped, WarpEmbedding, Warps, matted
from engine.nets.rhythmic_embedding import (
    PREDICTED_LEVELS,
    Attention,
    CombEncoder,
    HybridEncoder,
    LabelEmbedding,
    PlainEncoder,
    References,
    WeightGenerator,
    grouped,
    weighed,
)

WARP_LEVELS = 2
"Up blocks, the last ones, that see the warped pictures."
REDUCTION = 32
"The frame's side over that of the smallest map."


@dataclass(frozen=True)
class RhythmicConfig:
    """What is variable; the defaults are those of the published hybrid weights."""

    width: int = 32
    "Channels at full size; each of the next five levels has twice as many, the last two the same."
    references: int = 8
    "Pictures of an identity; fewer are repeated."
    hybrid: bool = True
    "Whether pictures and edges are mixed, and the conditions of the last blocks kept apart; else the plain variant."
    matting: bool = False
    "Whether the warped pictures are also laid over what was drawn, by their weights; the paper's linear composition."
    nonlinear: bool = True
    "Whether the warped pictures are conditions of the last up blocks."
    spectral: bool = False
    "Whether the weights are still normalised by their spectrum, as in training; files hold the normalised ones."
    spare: bool = True
    "Whether the layers are there that published files have and no frame needs: those of the frame before, and others."

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width: expected at least 1, got {self.width}")
        if not 2 <= self.references <= 64:
            raise ValueError(f"references: expected 2 to 64, got {self.references}")
        if not (self.matting or self.nonlinear):
            raise ValueError("matting, nonlinear: one of both is needed")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the maps, from full size to the smallest."""
        return (*(self.width << level for level in range(6)), self.width << 5)


class Composed(NamedTuple):
    """A frame, and what it was made of; pictures from -1 to 1."""

    frame: Tensor
    raw: Tensor
    "What the up blocks drew: without matting the frame itself."
    reference: Warped
    rendering: Warped


class FewShotGenerator(nn.Module):
    """All but the warps: embeddings, weight generator and up blocks; the published `netG`."""

    def __init__(self, config: RhythmicConfig) -> None:
        super().__init__()
        widths, spectral = config.widths, config.spectral
        self._hybrid = config.hybrid
        if config.hybrid:
            self.encoder = HybridEncoder(widths, config.references, spectral)
        else:
            self.image_encoder = PlainEncoder(3, widths, spectral)
            self.lmark_encoder = PlainEncoder(1, widths, spectral)
        self.comb_encoder = CombEncoder(widths, config.spare, spectral)
        self.atten_gen = Attention(widths, spectral)
        self.weight_gen = WeightGenerator(widths, spectral)
        self.label_embedding = LabelEmbedding(widths)
        for level in range(5, -1, -1):
            sees_warps = config.nonlinear and level < WARP_LEVELS
            others = (3 if config.spare else 2) if sees_warps else 0
            block = UpBlock(
                widths[level + 1],
                widths[level],
                [widths[level]] * (1 + others),
                predicted=level < PREDICTED_LEVELS,
                apart=config.hybrid and sees_warps,
                spectral_norm=spectral,
            )
            self.add_module(f"up_{level}", block)
        self.conv_img = nn.Conv2d(widths[0], 3, 3, padding=1)

    def encode(self, pictures: Tensor, edges: Tensor) -> References:
        """All n references at once: (B, n, 3, H, W) from -1 to 1 and (B, n, 1, H, W) from 0 to 1."""
        count = pictures.shape[1]
        flat_edges = edges.flatten(0, 1)
        keys = self.atten_gen.keys(flat_edges)
        own: tuple[Tensor | None, Tensor | None] = (None, None)
        picture, label = self._features(pictures.flatten(0, 1), flat_edges)
        if self._hybrid:
            own = self.encoder.own(grouped(picture, count), grouped(label, count))
            picture, label = self.encoder.mixed(picture, label)
        parts = [grouped(x, count) for x in (keys, picture, label)]
        return References(parts[0], parts[1], parts[2], *own)

    def encode_one(self, picture: Tensor, edges: Tensor) -> tuple[Tensor, ...]:
        """Keys, picture and label (N, D, h, w) of single references (N, 3, H, W) and (N, 1, H, W).

        In the hybrid variant also what each adds to the references' `own_pictures` and `own_labels` in each of the n
        places, (N, n, D, h, w).
        """
        keys = self.atten_gen.keys(edges)
        features = self._features(picture, edges)
        if not self._hybrid:
            return keys, *features
        return keys, *self.encoder.mixed(*features), *self.encoder.own_by_slot(*features)

    def forward(self, references: References, edges: Tensor, warps: Sequence[list[Tensor]]) -> Tensor:
        """The picture (B, 3, H, W) from -1 to 1, by the target's edges (B, 1, H, W).

        warps: the conditions of the last up blocks, maps of full and of half size each.
        """
        weights = self.atten_gen(edges, references.keys)
        if self._hybrid:
            picture, label = self.encoder(*self.encoder.joined(weights, references))
        else:
            picture = self.image_encoder(weighed(weights, references.pictures))
            label = self.lmark_encoder(weighed(weights, references.labels))
        predicted, embeddings = self.weight_gen(self.comb_encoder(picture, label))
        labels = self.label_embedding(edges, embeddings)
        x = picture
        for level in range(5, -1, -1):
            conditions = [labels[level], *(one[level] for one in warps if level < WARP_LEVELS)]
            x = self.get_submodule(f"up_{level}")(x, conditions, predicted[level] if level < PREDICTED_LEVELS else None)
            x = enlarged(x) if level else x
        return torch.tanh(self.conv_img(activated(x)))

    def _features(self, pictures: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        if self._hybrid:
            return self.encoder.features(pictures, edges)
        return self.image_encoder.features(pictures), self.lmark_encoder.features(edges)


class RhythmicNetwork(nn.Module):
    """Generator, warps and the embeddings of what they warp."""

    def __init__(self, config: RhythmicConfig = RhythmicConfig()) -> None:
        super().__init__()
        self.config = config
        self.netG = FewShotGenerator(config)
        self.warp = Warps(config.widths, config.spectral)
        if config.nonlinear:
            self.img_ref_embedding = WarpEmbedding(config.widths, config.spare)
            self.img_ani_embedding = WarpEmbedding(config.widths, config.spare)

    def compose(
        self,
        references: References,
        edges: Tensor,
        reference: Tensor,
        reference_edges: Tensor,
        rendering: Tensor,
        rendering_edges: Tensor,
    ) -> Composed:
        """A frame by the target's `edges` (B, 1, H, W) from 0 to 1.

        reference, rendering: (B, 3, H, W) from -1 to 1, what is warped, eyes and mouth blackened, with the edges of
        each. Sides are multiples of `REDUCTION`.
        """
        moved = self.warp.flow_network_ref(edges, reference_edges, reference)
        posed = self.warp.flow_network_ani(edges, rendering_edges, rendering)
        conditions = []
        if self.config.nonlinear:
            conditions = [self.img_ref_embedding(moved), self.img_ani_embedding(posed)]
        raw = self.netG(references, edges, conditions)
        frame = matted(raw, moved, posed) if self.config.matting else raw
        return Composed(frame, raw, moved, posed)

    def without_warps(self, references: References, edges: Tensor) -> Tensor:
        """The picture (B, 3, H, W) from -1 to 1 that is drawn by references and edges alone; for training."""
        picture: Tensor = self.netG(references, edges, [])
        return picture


class EncodeHalf(nn.Module):
    """References one by one, once per source."""

    def __init__(self, network: RhythmicNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, edges: Tensor) -> tuple[Tensor, ...]:
        """(B, S, S, 3) and (B, S, S, 1) uint8 to what `FewShotGenerator.encode_one` returns."""
        return self.network.netG.encode_one(signed(frames), planes(edges))


class RenderHalf(nn.Module):
    """Once per frame."""

    def __init__(self, network: RhythmicNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        edges: Tensor,
        reference: Tensor,
        reference_edges: Tensor,
        rendering: Tensor,
        rendering_edges: Tensor,
        keys: Tensor,
        pictures: Tensor,
        labels: Tensor,
        own_pictures: Tensor | None = None,
        own_labels: Tensor | None = None,
    ) -> Tensor:
        """Pictures (B, S, S, 3) and edges (B, S, S, 1) uint8, and the `References`, to the frame (B, S, S, 3) uint8."""
        composed = self.network.compose(
            References(keys, pictures, labels, own_pictures, own_labels),
            planes(edges),
            signed(reference),
            planes(reference_edges),
            signed(rendering),
            planes(rendering_edges),
        )
        return pixels(0.5 + 0.5 * composed.frame)


def signed(pictures: Tensor) -> Tensor:
    """(B, H, W, C) uint8 to (B, C, H, W) from -1 to 1."""
    return 2.0 * planes(pictures) - 1.0
