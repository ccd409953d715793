"""Networks with random weights, for tests of the networks themselves and of what is built on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.export import Exported, export_generator
from engine.generators.base import FaceGenerator, Identity, Tensors
from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator, TensorSpec
from engine.motion import FaceState
from engine.weights import graph_name

if TYPE_CHECKING:
    from torch import nn

    from engine.face.model import Person
    from engine.nets.adaat import AdaATConfig, AdaATNetwork
    from engine.nets.first_order import FirstOrderConfig, FirstOrderModel

    NetworkT = TypeVar("NetworkT", bound=nn.Module)


@pytest.fixture(scope="session")
def random_network() -> Callable[[Callable[[], NetworkT], int], NetworkT]:
    """Makes a network with weights from a seed, in eval mode, that does not fade: no batch norm is the identity."""
    import torch
    from torch import nn

    def make(build: Callable[[], NetworkT], seed: int = 0) -> NetworkT:
        torch.manual_seed(seed)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0.0, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                if module.affine:
                    nn.init.normal_(module.weight, 1.0, 0.2)
                    nn.init.normal_(module.bias, 0.0, 0.2)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.Linear):  # AdaAT's, whose operators must move
                nn.init.normal_(module.weight, 0.0, 2.0 / module.in_features**0.5)
        return network.eval()

    return make


@pytest.fixture(scope="session")
def random_adaat(
    random_network: Callable[[Callable[[], AdaATNetwork], int], AdaATNetwork],
) -> Callable[[AdaATConfig, int], AdaATNetwork]:
    """The same for AdaAT."""
    from engine.nets.adaat import AdaATNetwork

    return lambda config, seed=0: random_network(lambda: AdaATNetwork(config), seed)


@pytest.fixture(scope="session")
def random_first_order(
    random_network: Callable[[Callable[[], FirstOrderModel], int], FirstOrderModel],
) -> Callable[[FirstOrderConfig, int], FirstOrderModel]:
    """The same for the First Order Motion Model, whose Jacobians are near the identity, but not there."""
    from torch import nn

    from engine.nets.first_order import FirstOrderModel

    def make(config: FirstOrderConfig, seed: int = 0) -> FirstOrderModel:
        model = random_network(lambda: FirstOrderModel(config), seed)
        if model.kp_detector.jacobian is not None:
            nn.init.normal_(model.kp_detector.jacobian.weight, 0.0, 0.01)
        return model

    return make


class SmallGenerator(NeuralGenerator, FaceGenerator):
    """Both halves are networks, of the operations that generators of the house use; renders 32x32."""

    name: ClassVar[str] = "small"
    sizes: ClassVar[tuple[int, ...]] = (32,)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, modules: dict[Half, nn.Module], folder: Path) -> None:
        super().__init__(32)
        self.modules = modules
        self.folder = folder
        "Where its exported networks are."

    def network_specs(self) -> dict[Half, NetworkSpec]:
        frame = TensorSpec("frame", (32, 32, 3), np.uint8)
        features = ("sources", 8, 16, 16)
        return {
            "encode": NetworkSpec((frame,), (TensorSpec("features", features[1:], np.float32),)),
            "render": NetworkSpec(
                (frame, TensorSpec("features", features, np.float32), TensorSpec("grid", (16, 16, 2), np.float32)),
                (TensorSpec("moved", (32, 32, 3), np.uint8),),
            ),
        }

    def torch_module(self, half: Half) -> nn.Module:
        return self.modules[half]

    def graph_path(self, half: Half) -> Path:
        return self.folder / graph_name(half, self.size)

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        return self.at(driving.translation)

    def at(self, offset: Sequence[float] | NDArray[np.float32]) -> Tensors:
        """Motion tensors that move the picture."""
        steps = (2 * np.arange(16, dtype=np.float32) + 1) / 16 - 1
        grid = np.stack(np.meshgrid(steps, steps), axis=-1) + np.float32(offset)
        return {"grid": grid[None]}

    def merge(self, identities: Sequence[Identity]) -> Identity:
        return {
            "frame": identities[0]["frame"],
            "features": np.concatenate([identity["features"] for identity in identities], axis=1),
        }

    def encode_with(
        self, network: Network | None, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]
    ) -> Identity:
        assert network is not None
        return {"frame": frames, "features": network({"frame": frames})["features"][:, None]}

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
        assert network is not None
        return network({**identity, **motion})["moved"]


@pytest.fixture
def small_generator(tmp_path: Path) -> SmallGenerator:
    """Its weights are random, and numbers that float16 represents; nothing of it is exported."""
    return _small_generator(tmp_path / "small")


@pytest.fixture(scope="session")
def exported_generator(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallGenerator, dict[Half, Exported]]:
    """The same, with its networks exported, and what the export reported. For all tests: leave it as it is."""
    torch = pytest.importorskip("torch", reason="export needs torch (extra: torch)")
    pytest.importorskip("onnxscript", reason="export needs onnxscript (extra: train)")
    generator = _small_generator(tmp_path_factory.mktemp("exported") / "small")
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    motions = [generator.at((0.1 * k, -0.2)) for k in range(3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine several wait for each other longer than they compute
    landmarks = np.zeros((1, 478, 3), np.float32)
    exported = export_generator(generator, frames, landmarks, motions, generator.folder)
    torch.set_num_threads(threads)
    return generator, exported


def _small_generator(folder: Path) -> SmallGenerator:
    torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")
    from torch import nn
    from torch.nn import functional

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(12, 8, 3, padding=1)

        def forward(self, frame: torch.Tensor) -> torch.Tensor:
            return functional.relu(self.conv(functional.pixel_unshuffle(frame.permute(0, 3, 1, 2) / 255.0, 2)))

    class Renderer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(12, 16, 3, stride=2, padding=1)
            self.hidden = nn.Linear(16, 8)
            self.join = nn.Conv2d(24, 16, 3, padding=1)
            self.out = nn.Conv2d(16, 12, 3, padding=1)

        def forward(self, frame: torch.Tensor, features: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            seen = frame.permute(0, 3, 1, 2) / 255.0
            coarse = functional.relu(self.stem(functional.pixel_unshuffle(seen, 2)))
            shares = torch.tanh(self.hidden(coarse.mean(dim=(2, 3))))[..., None, None]
            moved = functional.grid_sample(features.mean(dim=1), grid, align_corners=False) * shares
            enlarged = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
            change = self.out(functional.relu(self.join(torch.cat((enlarged, moved), dim=1))))
            frame = torch.sigmoid(functional.pixel_shuffle(change, 2) + 4.0 * seen - 2.0)
            return (frame * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)

    torch.manual_seed(0)
    modules: dict[Half, nn.Module] = {"encode": Encoder().eval(), "render": Renderer().eval()}
    for module in modules.values():
        for parameter in module.parameters():
            parameter.data = (5.0 * parameter.data).half().float()
    return SmallGenerator(modules, folder)
