"""Two 3x3 convolutions in a row, with nothing between, as one of 5x5: where the condition has few channels, much less.

A SPADE layer of IP-LAP reads its condition with a wide convolution and makes scale and shift of it with two more. The
product of both is a single kernel of 5x5 from the condition's channels. It is the same everywhere but at the border:
there the second convolution saw zeros, where the merged one sees what the first would have made of the padding. That
much is taken off again, from the outermost pixels alone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.iplap import IPLAPRenderer
from engine.nets.iplap_blocks import Modulation, SpadeLayer


class MergedSpadeLayer(nn.Module):
    """An equal of a `SpadeLayer`: what is left of it are products of its weights."""

    def __init__(self, layer: SpadeLayer, repeats: int = 1) -> None:
        """repeats: so many neighbouring channels of the condition are always the same, and are looked at once."""
        super().__init__()
        inner, outer = layer.conv1.weight, torch.cat((layer.gamma.weight, layer.beta.weight))
        inner_bias, outer_bias = layer.conv1.bias, torch.cat((_bias(layer.gamma), _bias(layer.beta)))
        assert inner_bias is not None
        self._repeats = repeats
        dtype = inner.dtype
        inner, outer, inner_bias = (one.detach().double() for one in (inner, outer, inner_bias))

        def conv(rows: slice, columns: slice, behind: tuple[slice, slice], bias: Tensor | None = None) -> nn.Conv2d:
            """The product of some taps of the outer convolution with some of the inner one."""
            taps = outer[:, :, rows, columns]
            kernel = functional.conv_transpose2d(taps, inner[:, :, behind[0], behind[1]])
            kernel = kernel.reshape(len(kernel), -1, repeats, *kernel.shape[2:]).sum(dim=2)
            constant = torch.einsum("omij,m->o", taps, inner_bias) + (0.0 if bias is None else bias.double())
            shape = kernel.shape
            made = nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]), device=kernel.device, dtype=dtype)
            made.requires_grad_(False)
            made.weight.copy_(kernel)
            made.bias.copy_(constant)  # type: ignore[union-attr]
            return made

        first, last, every = slice(0, 1), slice(2, 3), slice(0, 3)
        with torch.no_grad():
            self.whole = conv(every, every, (every, every), outer_bias.detach())
            self.above, self.below = conv(first, every, (last, every)), conv(last, every, (first, every))
            self.left, self.right = conv(every, first, (every, last)), conv(every, last, (every, first))
            self.corners = nn.ModuleList(
                conv(rows, columns, (last if rows == first else first, last if columns == first else first))
                for rows in (first, last)
                for columns in (first, last)
            )

    def modulation(self, condition: Tensor) -> Modulation:
        """As `SpadeLayer.modulation`."""
        once = condition[:, :: self._repeats]
        scale, shift = (self.whole(functional.pad(once, (2, 2, 2, 2))) - self._beyond(once)).chunk(2, dim=1)
        return Modulation(1.0 + scale, shift)

    def _beyond(self, once: Tensor) -> Tensor:
        """(B, 2 C, H, W) what the outer convolution would have made of the ring around the inner one's map."""
        height, width = once.shape[-2] - 1, once.shape[-1] - 1
        pad = functional.pad
        top = pad(self.above(pad(once[:, :, :1], (2, 2))), (0, 0, 0, height))
        bottom = pad(self.below(pad(once[:, :, -1:], (2, 2))), (0, 0, height, 0))
        left = pad(self.left(pad(once[..., :1], (0, 0, 2, 2))), (0, width))
        right = pad(self.right(pad(once[..., -1:], (0, 0, 2, 2))), (width, 0))
        total: Tensor = top + bottom + left + right
        # The ring's corners are in two of them.
        for number, corner in enumerate(self.corners):
            down, across = divmod(number, 2)
            row, column = once[:, :, -1:] if down else once[:, :, :1], slice(-1, None) if across else slice(0, 1)
            there = (width if across else 0, 0 if across else width, height if down else 0, 0 if down else height)
            total = total - pad(corner(row[..., column]), there)
        return total


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def merging_pays(layer: SpadeLayer, repeats: int = 1) -> bool:
    """Whether the merged layer has fewer multiplications for a pixel."""
    hidden, condition = layer.conv1.weight.shape[:2]
    outputs = 2 * layer.gamma.weight.shape[0]
    return 25 * (condition // repeats) * outputs < 9 * hidden * (condition + outputs)


def merge_modulations(module: nn.Module, repeats: int = 1) -> None:
    """Replace, in place, all SPADE layers in a module for which it pays; it can only be used for inference then.

    repeats: of the channels of all their conditions, see `MergedSpadeLayer`.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SpadeLayer) and merging_pays(child, repeats):
                setattr(parent, name, MergedSpadeLayer(child, repeats))


def merged_for_inference(network: IPLAPRenderer) -> IPLAPRenderer:
    """An equal of a renderer with fewer multiplications: half of them, where it has the published widths."""
    network = copy.deepcopy(network).eval()
    merge_modulations(network.flow_module, repeats=3)  # of drawings, red, green and blue are the same
    merge_modulations(network.translation)
    return network
