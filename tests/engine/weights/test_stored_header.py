"""The header of a file of weights, as safetensors writes it and as damage leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.weights import WeightsError
from engine.weights.stored_header import LIMIT, read_header


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    numpy_files = pytest.importorskip("safetensors.numpy", reason="needs safetensors (extra: torch)")
    tensors = {"first.weight": np.zeros((8, 3, 7, 7), np.float16), "gamma": np.ones(1, np.float32)}
    numpy_files.save_file(tensors, tmp_path / "some.safetensors", metadata={"licence": "ours"})
    return tmp_path / "some.safetensors"


def test_shapes_and_metadata_are_those_that_were_saved(weights: Path) -> None:
    header = read_header(weights)
    assert header.shapes == {"first.weight": (8, 3, 7, 7), "gamma": (1,)}
    assert header.metadata == {"licence": "ours"}


def test_file_that_was_cut_short_is_refused_wherever_it_ends(weights: Path) -> None:
    whole = weights.read_bytes()
    for length in range(len(whole)):
        weights.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"some\.safetensors: (not a safetensors file|cut short)"):
            read_header(weights)


@pytest.mark.parametrize(
    "content",
    [[], 3, {"a": 1}, {"a": {"shape": [1]}}, {"a": {"shape": ["x"], "data_offsets": [0, 0]}}, {"__metadata__": [1]}],
    ids=str,
)
def test_header_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    text = json.dumps(content).encode()
    (tmp_path / "some.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_header(tmp_path / "some.safetensors")


def test_length_that_a_damaged_file_claims_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes((LIMIT + 1).to_bytes(8, "little") + b"{}" + bytes(LIMIT))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_header(path)
    path.write_bytes((4_000_000).to_bytes(8, "little") + b"[" * 4_000_000)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_header(path)


def test_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "nowhere.safetensors")
