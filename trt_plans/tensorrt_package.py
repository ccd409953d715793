"""TensorRT's Python package: found, of a version that we were written for, or a line that says what is missing."""

from __future__ import annotations

import importlib
import re
from typing import Any

from engine.runtime.base import RuntimeUnavailableError

OLDEST, TOO_NEW = (10, 9), (12, 0)
"10.9 is the first whose plugins from Python can be compiled ahead of time; 12 is not known."


def load_tensorrt() -> Any:
    """The module. Raises RuntimeUnavailableError where it is missing, broken or of another version."""
    way_out = "pip install 'visavis[tensorrt]', or choose another runtime"
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError as error:  # also where its libraries are missing
        raise RuntimeUnavailableError(f"runtime tensorrt: TensorRT is not installed ({error}): {way_out}") from error
    found = tuple(map(int, re.findall(r"\d+", str(getattr(tensorrt, "__version__", "")))[:2]))
    if not OLDEST <= found < TOO_NEW:
        raise RuntimeUnavailableError(
            f"runtime tensorrt: TensorRT {'.'.join(map(str, found)) or '?'} is installed; wanted: at least "
            f"{'.'.join(map(str, OLDEST))} and below {TOO_NEW[0]}: {way_out}"
        )
    return tensorrt
