"""The distance of two pictures as VGG19 sees them. Its weights are not ours to ship: they are read from a file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from engine.training.pyramid import antialiased

VARIABLE = "VISAVIS_VGG19"
"Environment variable with the file of VGG19's weights."

# Convolutions by their number in torchvision's `features`, block by block; a maximum pool lies between blocks.
_BLOCKS = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,))
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualWeightsError(ValueError):
    """The file holds no VGG19."""


class VGG19(nn.Module):
    """The part of VGG19 (Simonyan & Zisserman, 2015) up to relu5_1, frozen."""

    mean: Tensor
    spread: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """state: torchvision's names (`features.0.weight`), with or without the prefix; further layers are left out.

        Raises PerceptualWeightsError where one is missing.
        """
        super().__init__()
        plain = {key.removeprefix("features."): value for key, value in state.items()}
        self.convolutions = nn.ModuleDict()
        channels = 3
        for number in (number for block in _BLOCKS for number in block):
            weight, bias = plain.get(f"{number}.weight"), plain.get(f"{number}.bias")
            if weight is None or bias is None or weight.ndim != 4 or weight.shape[1:] != (channels, 3, 3):
                raise PerceptualWeightsError(
                    f"features.{number}: missing, or not a 3x3 convolution of {channels} channels; "
                    "the file should be the state dict of torchvision's vgg19 (without batch norm)"
                )
            channels = weight.shape[0]
            convolution = nn.Conv2d(weight.shape[1], channels, 3, padding=1)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions[str(number)] = convolution
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(_SPREAD).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of (N, 3, H, W) in [0, 1]; H and W at least 16."""
        x = (pictures - self.mean) / self.spread
        taps: list[Tensor] = []
        for block in _BLOCKS:
            if taps:
                x = functional.max_pool2d(x, 2)
            for number in block:
                x = functional.relu(self.convolutions[str(number)](x))
                if number == block[0]:
                    taps.append(x)
        return taps


class TapLoss:
    """Mean absolute difference of each of VGG19's taps, times a weight of its own, summed (LSR, ICCV 2021)."""

    def __init__(self, vgg: VGG19, weights: Sequence[float]) -> None:
        """weights: of the five taps, the first of them the finest."""
        self._vgg = vgg
        self._weights = weights

    def __call__(self, rendered: Tensor, truth: Tensor) -> Tensor:
        """A scalar, 0 for equal pictures, (N, 3, H, W) in [0, 1]. Gradients flow to `rendered` only."""
        with torch.no_grad():
            wanted = self._vgg(truth.detach().float())
        pairs = zip(self._weights, self._vgg(rendered.float()), wanted, strict=True)
        return torch.stack([weight * (shown - true).abs().mean() for weight, shown, true in pairs]).sum()


class PerceptualLoss:
    """Mean absolute difference of five VGG19 taps at four sizes, summed (First Order Motion Model, Eq. 12 and code)."""

    def __init__(self, vgg: VGG19, scales: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        """scales: the pictures are made that many times smaller; sizes below 32 pixels are left out."""
        self._vgg = vgg
        self._scales = scales

    def __call__(self, rendered: Tensor, truth: Tensor) -> Tensor:
        """A scalar, 0 for equal pictures, (N, 3, H, W) in [0, 1]. Gradients flow to `rendered` only."""
        total = torch.zeros((), device=rendered.device)
        for scale in self._scales:
            if min(rendered.shape[-2:]) // scale < 32:
                continue
            with torch.no_grad():
                wanted = self._vgg(antialiased(truth.detach(), scale))
            for shown, true in zip(self._vgg(antialiased(rendered, scale)), wanted, strict=True):
                total = total + (shown - true).abs().float().mean()
        return total


def find_vgg19(path: Path | None = None) -> Path | None:
    """The file that was named, or that the environment names; None where neither does."""
    named = os.environ.get(VARIABLE)
    return path or (Path(named) if named else None)


def load_vgg19(path: Path, device: torch.device) -> VGG19:
    """Read torchvision's state dict (.pth) or the same as safetensors. Raises PerceptualWeightsError."""
    try:
        if path.suffix == ".safetensors":
            state = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise PerceptualWeightsError(
            f"{path}: cannot be read as weights ({error}); name torchvision's vgg19 state dict (.pth or .safetensors) "
            f"in {VARIABLE}, or unset it to train without"
        ) from error
    try:
        return VGG19(state).to(device)
    except PerceptualWeightsError as error:
        raise PerceptualWeightsError(f"{path}: {error}") from error
