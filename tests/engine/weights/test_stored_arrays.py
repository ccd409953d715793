"""Weights without torch: what is stored, and what is no file of ours."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.weights import WeightsError
from engine.weights.stored_arrays import read_arrays


def write(path, arrays, metadata=None):
    """As the format says: a length, a header, the numbers."""
    header, data = {"__metadata__": metadata or {}}, b""
    for name, array in arrays.items():
        kind = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64"}[array.dtype.name]
        end = len(data) + array.nbytes
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_arrays_come_as_float32_with_the_metadata(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "b": np.array(1.5),
        "c": np.zeros((0, 4), np.float32),
    }
    found, about = read_arrays(write(tmp_path / "w.safetensors", arrays, {"task": "voice"}))
    assert about == {"task": "voice"}
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys("abc", np.dtype(np.float32))
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert not found[name].flags.writeable


def test_a_file_of_safetensors_is_read(tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy", reason="writes the file")
    value = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float16)
    numpy_files.save_file({"x": value}, tmp_path / "w.safetensors", {"k": "v"})
    np.testing.assert_array_equal(read_arrays(tmp_path / "w.safetensors")[0]["x"], value)


def test_damage_is_said(tmp_path):
    path = write(tmp_path / "w.safetensors", {"a": np.ones(100, np.float32)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match="cut short"):
        read_arrays(path)
    path.write_bytes(whole.replace(b'"shape": [100]', b'"shape": [101]'))
    with pytest.raises(WeightsError, match="a is not stored as floating-point numbers that fill their place"):
        read_arrays(path)
    with pytest.raises(WeightsError, match="not stored as floating-point"):
        read_arrays(write(path, {"a": np.ones(3, np.int64)}))
    with pytest.raises(WeightsError, match="not finite"):
        read_arrays(write(path, {"a": np.array([1.0, np.inf])}))
    path.write_bytes(b"\x89PNG and so on, no weights")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_arrays(path)
