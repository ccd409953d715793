"""The tensors of a safetensors file as numpy arrays, for what runs without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.weights import WeightsError
from engine.weights.stored_header import read_header

_KINDS: dict[str, np.dtype[np.floating]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def read_arrays(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """The floating-point tensors of a small file, as float32, and its metadata.

    Raises WeightsError for a file that is damaged, cut short or holds tensors of other kinds or numbers that are not
    finite, OSError for one that cannot be read.
    """
    header = read_header(path)
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:begin])
    arrays = {}
    for name, shape in header.shapes.items():
        kind = _KINDS.get(entries[name]["dtype"])
        first, last = (begin + int(offset) for offset in entries[name]["data_offsets"])
        if kind is None or not begin <= first <= last or last - first != kind.itemsize * int(np.prod(shape)):
            raise WeightsError(f"{path}: {name} is not stored as floating-point numbers that fill their place")
        values = np.frombuffer(data[first:last], kind).reshape(shape).astype(np.float32)
        if not np.isfinite(values).all():
            raise WeightsError(f"{path}: {name} holds numbers that are not finite")
        values.flags.writeable = False
        arrays[name] = values
    return arrays, dict(header.metadata)
