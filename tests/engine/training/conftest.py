"""A small task and its recipe, and a small pack of real clips."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.training.recipe import Recipe, from_table

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

CLIPS = ("p03_01", "p07_01")


@pytest.fixture(autouse=True)
def one_thread():
    """What is compared to the last bit is computed by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def toy_task_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`toy_task:ToyTask` can be named in a recipe."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("toy_task", None)


@pytest.fixture
def toy_recipe() -> Callable[..., Recipe]:
    """The recipe of a run of a second, with what matters to a test."""

    def make(**changes: object) -> Recipe:
        table = {
            "task": "toy_task:ToyTask",
            "seed": 3,
            "workers": 0,
            "ema_decay": 0.9,
            "loss": {"l1": 1.0, "gan": 0.01},
            "optimizer": {"warmup_steps": 5},
            "intervals": {"log": 5, "validate": 0, "sheet": 0, "checkpoint": 0},
            "stage": [
                {"size": 16, "steps": 40, "batch": 8, "lr": 1e-2},
                {"size": 24, "steps": 20, "batch": 4, "lr": 5e-3},
            ],
        }
        return from_table(Recipe, {**table, **changes}, "toy.toml")

    return make


@pytest.fixture(scope="module")
def small_pack(data_pack, tmp_path_factory) -> Path:
    """Two train clips of the pack under a manifest of their own."""
    folder = tmp_path_factory.mktemp("pack")
    rows = [row for row in data_pack.rows("train") if row["id"] in CLIPS]
    assert len(rows) == 2
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for name in ("clips", "landmarks"):
        (folder / name).symlink_to(data_pack.root / name)
    return folder
