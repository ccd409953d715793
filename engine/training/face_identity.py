"""Whether two pictures show one person, as VGGFace sees it (Parkhi et al., BMVC 2015): LSR's identity terms.

Its weights are not ours to ship: they are read from a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from engine.training.perceptual import PerceptualWeightsError

VARIABLE = "VISAVIS_VGGFACE"
"Environment variable with the file of VGGFace's weights."
SIDE = 224
"Pixels of the pictures that it was trained with, and that its dense layers want."

# VGG16's convolutions by their number in torchvision's `features`, block by block; a maximum pool follows each block.
_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_DENSE = (0, 3, 6)
"In torchvision's `classifier`."
_MEAN = (129.1863, 104.7624, 93.594)
"Of its training pictures, RGB, 0 to 255; they were not divided by anything."


class FaceFeatures(nn.Module):
    """VGGFace: VGG16 with 2622 people for classes, frozen."""

    mean: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """state: torchvision's names for VGG16, the first convolution for RGB.

        Raises PerceptualWeightsError where a layer is missing.
        """
        super().__init__()
        self.convolutions, self.dense = nn.ModuleDict(), nn.ModuleList()
        for number in (number for block in _BLOCKS for number in block):
            weight, bias = _layer(state, f"features.{number}", 4)
            self.convolutions[str(number)] = _filled(
                nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1), weight, bias
            )
        for number in _DENSE:
            weight, bias = _layer(state, f"classifier.{number}", 2)
            self.dense.append(_filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, bias))
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """relu1_1, relu2_1, ..., relu5_1, and the classes' logits, of (N, 3, H, W) in [0, 1]."""
        size = (SIDE, SIDE)
        x = functional.interpolate(pictures.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        x = 255.0 * x - self.mean
        taps: list[Tensor] = []
        for block in _BLOCKS:
            for number in block:
                x = functional.relu(self.convolutions[str(number)](x))
                if number == block[0]:
                    taps.append(x)
            x = functional.max_pool2d(x, 2)
        x = x.flatten(1)
        for layer in self.dense[:-1]:
            x = functional.relu(layer(x))
        return taps, self.dense[-1](x)

    def distances(self, rendered: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Mean absolute difference of the taps, summed over them, and of the logits. Gradients flow to `rendered`."""
        with torch.no_grad():
            wanted, wanted_logits = self(truth)
        shown, logits = self(rendered)
        taps = torch.stack([(one - other).abs().mean() for one, other in zip(shown, wanted, strict=True)]).sum()
        return taps, (logits - wanted_logits).abs().mean()


def find_vggface() -> Path | None:
    """The file that the environment names; None where it does not."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def load_vggface(path: Path, device: torch.device) -> FaceFeatures:
    """Read a state dict as safetensors. Raises PerceptualWeightsError."""
    try:
        return FaceFeatures(load_file(str(path))).to(device)
    except (OSError, SafetensorError) as error:
        raise PerceptualWeightsError(
            f"{path}: cannot be read as weights ({error}); name a .safetensors of VGGFace in {VARIABLE}, or unset it"
        ) from error
    except PerceptualWeightsError as error:
        raise PerceptualWeightsError(f"{path}: {error}") from error


def _layer(state: Mapping[str, Tensor], name: str, axes: int) -> tuple[Tensor, Tensor]:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None or weight.ndim != axes:
        raise PerceptualWeightsError(f"{name}: missing; the file should have torchvision's names for VGG16")
    return weight, bias


def _filled(layer: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
