"""Shared fixtures: the face clips beside the checkout, where they are, and networks with random weights."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from torch import nn

    from engine.nets.adaat import AdaATConfig, AdaATNetwork
    from engine.nets.first_order import FirstOrderConfig, FirstOrderModel

    NetworkT = TypeVar("NetworkT", bound=nn.Module)

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class DataPack:
    """Clips with landmarks, split by person; see its README for the terms (development and tests only)."""

    root: Path

    def rows(self, split: str, kinds: tuple[str, ...] = ("speech", "expression")) -> list[dict[str, str]]:
        with open(self.root / "manifest.csv", newline="") as file:
            return [row for row in csv.DictReader(file) if row["split"] == split and row["kind"] in kinds]

    def landmarks(self, clip: str) -> NDArray[np.float32]:
        """(T, 478, 3), fractions of width and height, NaN rows where no face was found."""
        with np.load(self.root / "landmarks" / f"{clip}.npz") as archive:
            return np.ascontiguousarray(archive["lm"], dtype=np.float32)

    def clip(self, clip: str, size: int = 256) -> Path:
        return self.root / "clips" / str(size) / f"{clip}.mp4"


@pytest.fixture(scope="session", autouse=True)
def empty_data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Weights that whoever runs the tests has imported play no part in them."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("data_home")
        patch.setenv("XDG_DATA_HOME", str(home))
        patch.delenv("VISAVIS_WEIGHTS", raising=False)
        yield home


@pytest.fixture(scope="session")
def data_pack() -> DataPack:
    root = Path(os.environ.get("VISAVIS_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "manifest.csv").is_file():
        pytest.skip(f"no face clips at {root}; set VISAVIS_DATA to a data pack to run this test")
    return DataPack(root)


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Inputs and outputs of published networks with random weights, and the lists of their keys; see its README."""
    root = Path(os.environ.get("VISAVIS_PARITY", ROOT.parent / "shared" / "parity"))
    if not (root / "README.md").is_file():
        pytest.skip(f"no parity fixtures at {root}; set VISAVIS_PARITY to their folder to run this test")
    return root


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
