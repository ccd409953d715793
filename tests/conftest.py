"""Shared fixtures: the face clips beside the checkout, where they are."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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
