"""What a file of weights says of itself, read without torch: the header of a safetensors file.

Eight bytes of length, little end first, then JSON: per tensor `dtype`, `shape` and `data_offsets`, and `__metadata__`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.weights import WeightsError

LIMIT = 1 << 24
"Bytes; the header of a damaged file may claim any length."

_LENGTH = 8


@dataclass(frozen=True)
class StoredHeader:
    """The tensors of a file and its metadata."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_header(path: Path) -> StoredHeader:
    """The header of a file.

    Raises WeightsError for a file of another kind and for one that was cut short, OSError for one that cannot be read.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        text = file.read(length) if 0 < length <= LIMIT else b""
        size = os.fstat(file.fileno()).st_size
    try:
        content: Any = json.loads(text)
        about = dict(content.pop("__metadata__", None) or {})
        shapes = {str(name): tuple(int(side) for side in tensor["shape"]) for name, tensor in content.items()}
        end = _LENGTH + length + max((int(tensor["data_offsets"][1]) for tensor in content.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise WeightsError(f"{path}: not a safetensors file, or a damaged one") from error
    if size < end:
        raise WeightsError(f"{path}: cut short, {size} bytes of {end}")
    return StoredHeader(shapes, {str(name): str(value) for name, value in about.items()})
