"""Rhythmic Head Motion's hybrid embedding: reference pictures, weighed by attention, and weights made of them."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.precision import full_precision, widened
from engine.nets.rhythmic_blocks import (
    ConvUnit,
    Modulation,
    PointConv,
    PreActivationBlock,
    Predicted,
    activated,
    spectral,
)

LEVELS = 6
"Times that the encoders halve their maps or change their width."
PREDICTED_LEVELS = 4
"Up blocks whose first modulation is predicted."


class References(NamedTuple):
    """What `encode` makes of n reference pictures, at a quarter of the frame's side h x w, D channels."""

    keys: Tensor
    "(B, n, D, h, w) of the attention."
    pictures: Tensor
    "(B, n, D, h, w)"
    labels: Tensor
    "(B, n, D, h, w) of their edges."
    own_pictures: Tensor | None
    "(B, D, h, w) of all at once, before bias and norm; None without the hybrid step."
    own_labels: Tensor | None


class Attention(nn.Module):
    """How much each reference counts at each place, by the edges of references and target."""

    def __init__(self, widths: tuple[int, ...], spectral_norm: bool) -> None:
        super().__init__()
        for kind in ("query", "key"):
            self.add_module(f"atn_{kind}_first", ConvUnit(1, widths[0], 1, spectral_norm))
            self.add_module(f"atn_{kind}_0", ConvUnit(widths[0], widths[1], 2, spectral_norm))
            self.add_module(f"atn_{kind}_1", ConvUnit(widths[1], widths[2], 2, spectral_norm))

    def keys(self, edges: Tensor) -> Tensor:
        """(N, 1, H, W) edges of references to (N, D, H / 4, W / 4)."""
        return self._through("key", edges)

    def forward(self, edges: Tensor, keys: Tensor) -> Tensor:
        """(B, n, 1, h, w) weights, 1 in sum over n. edges: (B, 1, H, W) of the target. keys: (B, n, D, h, w)."""
        query = self._through("query", edges)
        with full_precision(query):
            energy = (widened(query)[:, None] * widened(keys)).sum(dim=2, keepdim=True)
            return energy.softmax(dim=1)

    def _through(self, kind: str, x: Tensor) -> Tensor:
        for part in ("first", "0", "1"):
            x = self.get_submodule(f"atn_{kind}_{part}")(x)
        return x


class HybridEncoder(nn.Module):
    """References and their edges to one map each, mixed with one another where they are joined."""

    def __init__(self, widths: tuple[int, ...], references: int, spectral_norm: bool) -> None:
        super().__init__()
        self.references = references
        self.conv1 = ConvUnit(3, widths[0], 1, spectral_norm)
        self.conv2 = ConvUnit(1, widths[0], 1, spectral_norm)
        for number in range(5):
            for kind in ("img", "lmark"):
                unit = ConvUnit(widths[number], widths[number + 1], 2, spectral_norm)
                self.add_module(f"ref_down_{kind}_{number}", unit)
        width = widths[2]
        self.fusion = PreActivationBlock(2 * width, width, spectral_norm)
        self.fusion1 = ConvUnit(2 * width, width, 1, spectral_norm)
        self.fusion2 = ConvUnit(2 * width, width, 1, spectral_norm)
        self.atten1 = ConvUnit(references * width, width, 1, spectral_norm)
        self.atten2 = ConvUnit(references * width, width, 1, spectral_norm)

    def features(self, pictures: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) and (N, 1, H, W) to two (N, D, H / 4, W / 4)."""
        picture, label = self.conv1(pictures), self.conv2(edges)
        for number in range(2):
            picture = self.get_submodule(f"ref_down_img_{number}")(picture)
            label = self.get_submodule(f"ref_down_lmark_{number}")(label)
        return picture, label

    def mixed(self, picture: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The same of each reference, mixed with one another."""
        middle = self.fusion(torch.cat((picture, label), dim=1))
        return self.fusion1(torch.cat((picture, middle), dim=1)), self.fusion2(torch.cat((label, middle), dim=1))

    def own(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n, D, h, w) features of all references to (B, D, h, w), without bias and norm."""
        return (
            _convolved(self.atten1, pictures.flatten(1, 2)),
            _convolved(self.atten2, labels.flatten(1, 2)),
        )

    def own_by_slot(self, picture: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D, h, w) features to (N, n, D, h, w): what a reference adds to `own` as the first, the second, ... one.

        So references can be encoded one by one and merged by a sum.
        """
        return _by_slot(self.atten1, picture, self.references), _by_slot(self.atten2, label, self.references)

    def joined(self, weights: Tensor, references: References) -> tuple[Tensor, Tensor]:
        """The references' sums by attention and what they are all together, two (B, D, h, w)."""
        picture, label = weighed(weights, references.pictures), weighed(weights, references.labels)
        assert references.own_pictures is not None
        assert references.own_labels is not None
        return (
            picture + _activated_own(self.atten1, references.own_pictures),
            label + _activated_own(self.atten2, references.own_labels),
        )

    def forward(self, picture: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """What is `joined` to the smallest maps."""
        for number in range(2, 5):
            picture = self.get_submodule(f"ref_down_img_{number}")(picture)
            label = self.get_submodule(f"ref_down_lmark_{number}")(label)
        return picture, label


class PlainEncoder(nn.Module):
    """One of the two separate encoders of the plain variant, of pictures or of edges."""

    def __init__(self, channels: int, widths: tuple[int, ...], spectral_norm: bool) -> None:
        super().__init__()
        self.conv1 = ConvUnit(channels, widths[0], 1, spectral_norm)
        for number in range(5):
            self.add_module(f"ref_down_{number}", ConvUnit(widths[number], widths[number + 1], 2, spectral_norm))

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, D, H / 4, W / 4)."""
        x = self.conv1(x)
        for number in range(2):
            x = self.get_submodule(f"ref_down_{number}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The joined features to the smallest map."""
        for number in range(2, 5):
            x = self.get_submodule(f"ref_down_{number}")(x)
        return x


class CombEncoder(nn.Module):
    """How the joined picture and label go together: a matrix for each level of the weight generator."""

    def __init__(self, widths: tuple[int, ...], spare: bool, spectral_norm: bool) -> None:
        """spare: whether the narrowest units, which nothing needs, are there too."""
        super().__init__()
        for number in range(0 if spare else 1, 5):
            for kind in ("img", "label"):
                unit = ConvUnit(widths[number + 1], widths[number], 1, spectral_norm)
                self.add_module(f"ref_{kind}_up_{number}", unit)

    def forward(self, picture: Tensor, label: Tensor) -> list[Tensor]:
        """Two (B, C, h, w) to the (B, w, w) of the levels 0 to 3, w their width."""
        matrices = []
        for number in range(4, 0, -1):
            picture = self.get_submodule(f"ref_img_up_{number}")(picture)
            label = self.get_submodule(f"ref_label_up_{number}")(label)
            with full_precision(picture):
                shares = widened(label).softmax(dim=1)
                matrices.append(widened(picture).flatten(2) @ shares.flatten(2).transpose(1, 2))
        return matrices[::-1]


class WeightGenerator(nn.Module):
    """The matrices of the comb encoder to 1x1 convolutions, three linear layers in a row for each."""

    def __init__(self, widths: tuple[int, ...], spectral_norm: bool) -> None:
        super().__init__()
        self._widths = widths
        for level in range(PREDICTED_LEVELS):
            below, width = widths[level], widths[level + 1]
            for kind, out in (("0", 2 * below + 2), ("1", below + 1), ("s", 2 * below + 2), ("e", below + 1)):
                layers = [nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, out)]
                stack = nn.Sequential(*(spectral(layer, spectral_norm) for layer in layers))
                self.add_module(f"fc_spade_{kind}_{level}", stack)

    def forward(self, matrices: list[Tensor]) -> tuple[list[Predicted], list[PointConv]]:
        """For each level the modulations of its up block, and the transposed convolution of the label embedding."""
        blocks, embeddings = [], []
        for level, matrix in enumerate(matrices):
            below, width = self._widths[level], self._widths[level + 1]
            flat = {kind: self.get_submodule(f"fc_spade_{kind}_{level}")(matrix).flatten(1) for kind in "01se"}
            blocks.append(
                Predicted(
                    _modulation(flat["0"], width, below),
                    _modulation(flat["1"], below, below),
                    _modulation(flat["s"], width, below),
                )
            )
            # Stored as a transposed convolution's, (in, out); of its biases, one for each input, the first count.
            weight = flat["e"][:, : width * below].view(-1, width, below).transpose(1, 2)
            embeddings.append(PointConv(weight, flat["e"][:, width * below : width * below + below]))
        return blocks, embeddings


class LabelEmbedding(nn.Module):
    """The target's edges at six sizes, (B, c, h, w) from the largest map to the smallest."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv_first = nn.Sequential(nn.Conv2d(1, widths[0], 3, padding=1))
        for number in range(5):
            conv = nn.Conv2d(widths[number], widths[number + 1], 3, 2, 1)
            self.add_module(f"down_{number}", nn.Sequential(conv))
        self.up_4 = nn.Sequential(nn.ConvTranspose2d(widths[5], widths[4], 3, 2, 1, output_padding=1))

    def forward(self, edges: Tensor, predicted: list[PointConv]) -> list[Tensor]:
        """edges: (B, 1, H, W). predicted: from the `WeightGenerator`."""
        x = activated(self.conv_first(edges))
        for number in range(5):
            x = activated(self.get_submodule(f"down_{number}")(x))
        maps = [x, activated(self.up_4(x))]
        for convolution in reversed(predicted):
            maps.append(spread(convolution, maps[-1]))
        return maps[::-1]


def spread(convolution: PointConv, x: Tensor) -> Tensor:
    """A transposed 1x1 convolution of stride 2 with output padding 1: every second pixel, elsewhere the bias."""
    batch, _, height, width = x.shape
    apart = PointConv(convolution.weight, torch.zeros_like(convolution.bias))(x)
    apart = functional.pad(apart.view(batch, -1, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
    bias = convolution.bias.to(apart.dtype)
    return apart.reshape(batch, -1, 2 * height, 2 * width) + bias[:, :, None, None]


def _modulation(flat: Tensor, out_channels: int, in_channels: int) -> Modulation:
    gamma, beta = flat.chunk(2, dim=1)
    return Modulation(_point_conv(gamma, out_channels, in_channels), _point_conv(beta, out_channels, in_channels))


def _point_conv(flat: Tensor, out_channels: int, in_channels: int) -> PointConv:
    size = out_channels * in_channels
    return PointConv(flat[:, :size].view(-1, out_channels, in_channels), flat[:, size:])


def grouped(x: Tensor, count: int) -> Tensor:
    """(B n, ...) to (B, n, ...)."""
    return x.view(-1, count, *x.shape[1:])


def weighed(weights: Tensor, maps: Tensor) -> Tensor:
    """(B, D, h, w) sum of (B, n, D, h, w) by weights (B, n, 1, h, w)."""
    return (weights.to(maps.dtype) * maps).sum(dim=1)


def _convolved(unit: ConvUnit, x: Tensor) -> Tensor:
    """The unit's convolution without its bias."""
    bias = unit.conv.bias
    assert bias is not None
    return cast(Tensor, unit.conv(x)) - bias[:, None, None]


def _by_slot(unit: ConvUnit, x: Tensor, slots: int) -> Tensor:
    width = x.shape[1]
    kernel = unit.conv.weight.reshape(-1, slots, width, 3, 3).transpose(0, 1).flatten(0, 1)
    added = functional.conv2d(x, kernel, padding=1)
    return added.view(-1, slots, added.shape[1] // slots, *added.shape[2:])


def _activated_own(unit: ConvUnit, own: Tensor) -> Tensor:
    bias = unit.conv.bias
    assert bias is not None
    return unit.activate(own + bias[:, None, None])
