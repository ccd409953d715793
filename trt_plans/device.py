"""The GPU that plans are for, asked of the driver itself: TensorRT ends the process where there is none."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from dataclasses import dataclass
from typing import Any

from engine.runtime.base import RuntimeUnavailableError

_COMPUTE_CAPABILITY = (75, 76)
"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of CUDA's driver interface."


@dataclass(frozen=True)
class Gpu:
    """What a plan depends on of the machine."""

    name: str
    compute_capability: tuple[int, int]
    driver: int
    "The newest CUDA that the driver runs: 1000 times the major version and 10 times the minor one."


def find_gpu(index: int = 0) -> Gpu:
    """The NVIDIA GPU of this number. Raises RuntimeUnavailableError where there is none, or no driver."""
    library = _driver()
    version, device = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    capability = (ctypes.c_int(), ctypes.c_int())
    _ask(library.cuInit(0), "start")
    _ask(library.cuDriverGetVersion(ctypes.byref(version)), "say its version")
    _ask(library.cuDeviceGet(ctypes.byref(device), index), f"find GPU {index}")
    _ask(library.cuDeviceGetName(name, len(name), device), "name the GPU")
    for value, attribute in zip(capability, _COMPUTE_CAPABILITY, strict=True):
        _ask(library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "describe the GPU")
    return Gpu(name.value.decode(), (capability[0].value, capability[1].value), version.value)


def _driver() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else ctypes.util.find_library("cuda") or "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise RuntimeUnavailableError(
            "runtime tensorrt: no NVIDIA driver on this machine; it needs an NVIDIA GPU. Use runtime auto"
        ) from error


def _ask(status: int, what: str) -> None:
    if status:
        raise RuntimeUnavailableError(
            f"runtime tensorrt: the NVIDIA driver could not {what} (CUDA error {status}); what does nvidia-smi say? "
            "Use runtime auto meanwhile"
        )
