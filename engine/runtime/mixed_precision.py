"""A network in 16 bits where they are enough: convolutions and the maps between them.

Coordinates, softmaxes, statistics, the linear layers that coordinates come from, and the heads that keypoints and masks
come from keep 32 bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from engine.nets.adaat import FirstLayers
from engine.nets.blocks import ResBlock, SameBlock
from engine.nets.precision import widened
from engine.runtime.kernel_networks import use_kernels
from engine.runtime.kernel_operators import grid_sample_2d, grid_sample_3d

Precision = Literal["fp32", "fp16", "bf16"]

DTYPES: Mapping[Precision, torch.dtype] = MappingProxyType(
    {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class PrecisionConfig:
    """What is variable about the conversion."""

    precision: Precision = "fp16"
    "Of convolutions."
    keep: tuple[str, ...] = ("kp", "jacobian", "mask")
    """Convolutions of these names stay as they are: the heads of keypoint detector and motion network, whose logits are
    multiplied by ten before a softmax, or decide where a pixel is taken from."""
    kernels: bool = True
    "Whether our kernels sample; else torch, in 32 bits."


class MixedPrecision(nn.Module):
    """A copy of a network in eval mode that computes as `config` says; inputs and outputs may have any types."""

    def __init__(self, network: nn.Module, config: PrecisionConfig = PrecisionConfig()) -> None:
        super().__init__()
        with torch.no_grad():  # what spectral normalisation computed can only be copied so
            self.network = copy.deepcopy(network).eval().requires_grad_(False)
        fold_batch_norms(self.network)
        narrow(self.network, config)
        if config.kernels:
            use_kernels(self.network)
        # Cores for matrices read channels together.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._rules = _Rules(config.kernels)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with self._rules:
            results = self.network(*inputs)
        return (results,) if isinstance(results, Tensor) else tuple(results)


def narrow(network: nn.Module, config: PrecisionConfig) -> None:
    """Give the convolutions of a network their types."""
    for name, part in network.named_modules():
        # A weight that is divided by its spectrum at every call belongs to no half that is executed.
        stays = name.rpartition(".")[2] in config.keep or hasattr(part, "weight_orig")
        if isinstance(part, CONVOLUTIONS) and not stays:
            part.to(DTYPES[config.precision])


def fold_batch_norms(network: nn.Module) -> None:
    """Put batch norms that follow a convolution into its weights: one step less, and rounded once.

    Not the first one of AdaAT, of whose convolution an identity holds a share: it would not be that of other runtimes.
    """
    shared = {id(part.in_conv) for part in network.modules() if isinstance(part, FirstLayers)}
    for part in network.modules():
        if isinstance(part, SameBlock) and id(part) not in shared:
            _fold(part, "conv", "norm")
        elif isinstance(part, ResBlock):
            _fold(part, "conv1", "norm2")


def _fold(block: nn.Module, convolution: str, norm: str) -> None:
    follows = getattr(block, norm)
    if isinstance(follows, nn.BatchNorm2d):
        setattr(block, convolution, fuse_conv_bn_eval(getattr(block, convolution), follows))
        setattr(block, norm, nn.Identity())


class _Rules(TorchFunctionMode):
    """How functions of torch are computed while a network runs in this thread."""

    def __init__(self, kernels: bool) -> None:
        super().__init__()
        self._sample = _sample_by_kernel if kernels else _sample_by_torch

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.grid_sample:
            return self._sample(*args, **kwargs)
        if func in _AS_WEIGHTS:
            return _as_weights(func, *args, **kwargs)
        if func in _WIDE:
            return func(widened(args[0]), *args[1:], **kwargs)
        if func is functional.instance_norm:
            return func(widened(args[0]), *args[1:], **kwargs).to(args[0].dtype)
        return func(*args, **kwargs)


_AS_WEIGHTS = frozenset({torch.conv1d, torch.conv2d, torch.conv_transpose2d, functional.linear})
"Functions whose first argument takes the type of the second."
_WIDE = frozenset({torch.softmax, functional.softmax, Tensor.softmax})
"Functions that compute, and return, 32 bits at least."


def _as_weights(func: Callable[..., Any], input: Tensor, weight: Tensor, *others: Any, **named: Any) -> Any:
    return func(input.to(weight.dtype), weight, *others, **named)


def _sample_by_torch(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """In the wider one of the two types, which torch wants to be the same; returned in the input's."""
    wide = torch.promote_types(input.dtype, grid.dtype)
    sampled = functional.grid_sample(input.to(wide), grid.to(wide), mode, padding_mode, align_corners)
    return sampled.to(input.dtype)


def _sample_by_kernel(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    if mode != "bilinear" or padding_mode not in ("zeros", "border"):
        return _sample_by_torch(input, grid, mode, padding_mode, align_corners)
    kernel = grid_sample_2d if input.ndim == 4 else grid_sample_3d
    sampled: Tensor = kernel(input, grid, padding_mode, bool(align_corners))
    return sampled
