"""LPIPS: perceptual distance of two pictures in the features of a network trained to recognise things."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.quality.errors import MetricUnavailableError
from engine.quality.image import Picture, check_pictures

if TYPE_CHECKING:
    from torch import Tensor

_GET = (
    "a state dict with AlexNet's or VGG16's convolutions in torchvision's layout (alexnet-owt-7be5be79.pth or "
    "vgg16-397923af.pth, published with torchvision), .pth or .safetensors"
)

# Per convolution: its index in torchvision's `features`, stride, padding, whether pooling comes before it, whether
# the features after its ReLU count.
_Layer = tuple[int, int, int, bool, bool]
_ALEX: tuple[_Layer, ...] = (
    (0, 4, 2, False, True),
    (3, 1, 2, True, True),
    (6, 1, 1, True, True),
    (8, 1, 1, False, True),
    (10, 1, 1, False, True),
)
_VGG16: tuple[_Layer, ...] = (
    (0, 1, 1, False, False), (2, 1, 1, False, True),
    (5, 1, 1, True, False), (7, 1, 1, False, True),
    (10, 1, 1, True, False), (12, 1, 1, False, False), (14, 1, 1, False, True),
    (17, 1, 1, True, False), (19, 1, 1, False, False), (21, 1, 1, False, True),
    (24, 1, 1, True, False), (26, 1, 1, False, False), (28, 1, 1, False, True),
)  # fmt: skip

# ImageNet's mean and deviation of the channels, for input of -1 to 1.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """LPIPS v0.1 of Zhang et al. (2018), for AlexNet ("alex") or VGG16 ("vgg"), whichever the weights are of.

    Its linear heads come with torchmetrics; the network's weights do not, and have to be named.
    """

    def __init__(self, weights: Path | None) -> None:
        """weights: the recognition network's file. Raises MetricUnavailableError without it, torch or torchmetrics."""
        if weights is None:
            raise MetricUnavailableError(f"LPIPS needs the weights of a recognition network, not shipped: name {_GET}")
        if not weights.is_file():
            raise MetricUnavailableError(f"{weights}: no such file; LPIPS needs {_GET}")
        package = find_spec("torchmetrics")
        if package is None or not package.submodule_search_locations or find_spec("torch") is None:
            raise MetricUnavailableError("LPIPS needs torch and torchmetrics: pip install 'visavis[bench]'")
        state = _read(weights)
        self.network = _network_of(state)
        self._layers = _ALEX if self.network == "alex" else _VGG16
        needed = {f"features.{layer[0]}.{kind}" for layer in self._layers for kind in ("weight", "bias")}
        if not self.network or (missing := sorted(needed - state.keys())):
            lacks = f", it lacks {missing[0]}" if self.network else ""
            raise MetricUnavailableError(f"{weights}: neither AlexNet nor VGG16{lacks}; LPIPS needs {_GET}")
        self._state = {name: state[name].float() for name in needed}
        heads = Path(package.submodule_search_locations[0]) / f"functional/image/lpips_models/{self.network}.pth"
        self._heads = [head.float() for _, head in sorted(_read(heads).items())]

    def __call__(self, rendered: Picture, truth: Picture) -> float:
        """0 for equal pictures; both (H, W, 3) uint8 RGB of one size, at least 64 pixels a side."""
        check_pictures(rendered, truth)
        if min(truth.shape[:2]) < 64:
            raise ValueError(f"LPIPS needs 64 pixels a side, got {truth.shape[1]}x{truth.shape[0]}")
        import torch

        with torch.inference_mode():
            pair = torch.from_numpy(np.stack((rendered, truth)).astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1.0
            pair = (pair - pair.new_tensor(_SHIFT)[:, None, None]) / pair.new_tensor(_SCALE)[:, None, None]
            distance = 0.0
            for features, head in zip(self._features(pair), self._heads, strict=True):
                unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
                difference = (unit[:1] - unit[1:]).square()
                distance += float(torch.nn.functional.conv2d(difference, head).mean())
        return distance

    def _features(self, x: Tensor) -> list[Tensor]:
        from torch.nn.functional import conv2d, max_pool2d, relu

        window = 3 if self.network == "alex" else 2
        found = []
        for index, stride, padding, pool, counts in self._layers:
            if pool:
                x = max_pool2d(x, window, stride=2)
            weight, bias = self._state[f"features.{index}.weight"], self._state[f"features.{index}.bias"]
            x = relu(conv2d(x, weight, bias, stride=stride, padding=padding))
            if counts:
                found.append(x)
        return found


def _read(path: Path) -> dict[str, Any]:
    """The state dict in a file. Raises MetricUnavailableError for one that holds something else."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # what torch and safetensors raise for a damaged file differs by the damage
        raise MetricUnavailableError(f"{path}: cannot be read as weights ({error}); LPIPS needs {_GET}") from error
    if not isinstance(state, dict):
        raise MetricUnavailableError(f"{path}: holds {type(state).__name__}, not a state dict; LPIPS needs {_GET}")
    return state


def _network_of(state: dict[str, Any]) -> str:
    """Which network the weights are of, by its first layer; empty for another one."""
    shape = tuple(getattr(state.get("features.0.weight"), "shape", ()))
    return {(64, 3, 11, 11): "alex", (64, 3, 3, 3): "vgg"}.get(shape, "")
