"""Kernels started through CuPy: on the stream that torch works on, in the memory that torch holds.

CuPy is imported when a kernel is first started, so that everything else works without it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from engine.kernels.compile import NvrtcUnavailableError, compile_kernel

Argument = Tensor | np.int32 | np.int64 | np.float32 | None
"Of a kernel: a tensor's address (its strides are arguments of their own), a number, or no address."

LONGEST = 2**31 - 1025
"Along an axis: threads of the last block, of up to 1,024, that are beyond it still count in 32 bits."


class LaunchShape(NamedTuple):
    """How many blocks there are, and threads in each, along x, y and z."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]


class Launcher(Protocol):
    """What executes kernels."""

    def launch(self, kernel: str, entry: str, scalar: str, shape: LaunchShape, arguments: Sequence[Argument]) -> None:
        """Start the function `entry` of `<kernel>.cu`, compiled for `scalar`. All tensors are on one device."""


class KernelsUnavailableError(RuntimeError):
    """There is no CuPy, or no GPU that it can use."""


class CupyLauncher:
    """Starts kernels on the GPU that their tensors are on, and returns before they have run."""

    def launch(self, kernel: str, entry: str, scalar: str, shape: LaunchShape, arguments: Sequence[Argument]) -> None:
        """As `Launcher`; ordered after what torch's current stream already has. Raises KernelsUnavailableError.

        A kernel's first start on a device loads it, which CUDA refuses while a graph is captured: start it once before.
        """
        cupy = _cupy()
        device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
        stream = torch.cuda.current_stream(device)
        with cupy.cuda.Device(device.index), cupy.cuda.Stream.from_external(_ForeignStream(stream.cuda_stream)):
            function = _function(kernel, entry, scalar, cupy.cuda.Device().compute_capability)
            function(shape.grid, shape.block, tuple(_address(argument) for argument in arguments))


class _ForeignStream:
    """A stream's handle in the form in which CuPy takes others' streams."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


def launcher_of(first: Tensor, *others: Tensor | None) -> Launcher | None:
    """What runs kernels on these tensors: CuPy on a GPU, None on the processor, where the reference is computed.

    Raises ValueError for tensors on several devices, on a device of another kind, or that gradients are asked of.
    """
    tensors = [first, *(other for other in others if other is not None)]
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ValueError(f"tensors on several devices: {', '.join(sorted(map(str, devices)))}; move them to one")
    if first.device.type == "cpu":
        return None
    if first.device.type != "cuda":
        raise ValueError(f"kernels run on CUDA devices; these tensors are on {first.device}")
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise ValueError("kernels compute no gradients: call them under torch.no_grad(), or train with the reference")
    return _cupy_launcher()


def scalar_name(dtype: torch.dtype) -> str:
    """float32 for torch.float32: what `SCALAR` is defined as."""
    return str(dtype).removeprefix("torch.")


def strides(tensor: Tensor, but: int | None = None) -> list[np.int64]:
    """In elements, as arguments; without that of the axis `but`."""
    return [np.int64(stride) for axis, stride in enumerate(tensor.stride()) if axis != but]


def sizes(*lengths: int) -> list[np.int32]:
    """As arguments. Raises ValueError for a length that a kernel cannot count."""
    if max(lengths) > LONGEST:
        raise ValueError(f"an axis of {max(lengths)}: kernels count at most 2^31 - 1025 along one")
    return [np.int32(length) for length in lengths]


def float32s(*values: float) -> list[np.float32]:
    """As arguments."""
    return [np.float32(value) for value in values]


def _address(argument: Argument) -> np.generic:
    if argument is None:
        return np.uint64(0)
    if isinstance(argument, Tensor):
        return np.uint64(argument.data_ptr())
    return argument


@cache
def _function(kernel: str, entry: str, scalar: str, architecture: str) -> Any:
    """CuPy keeps in it what it looked up on each device; a new one would be looked up at every start."""
    return _module(kernel, scalar, architecture).get_function(entry)


@cache
def _module(kernel: str, scalar: str, architecture: str) -> Any:
    """Compiled when it is first wanted, a third of a second, and loaded per device by CuPy."""
    # Not by CuPy's compiler, which adds options of its own, flushing what is tiny to 0 among them: what runs is the
    # machine code that is checked without a GPU.
    try:
        code = compile_kernel(kernel, scalar, architecture)
    except NvrtcUnavailableError as error:
        raise KernelsUnavailableError(str(error)) from error
    path = Path(_folder().name) / f"{kernel}_{scalar}_{architecture}.cubin"
    path.write_bytes(code)
    return _cupy().RawModule(path=str(path))


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    # CuPy reads a module's file again for every further device: it stays as long as the process.
    return tempfile.TemporaryDirectory(prefix="visavis-kernels-")


@cache
def _cupy_launcher() -> CupyLauncher:
    _cupy()
    return CupyLauncher()


@cache
def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise KernelsUnavailableError("CuPy is not installed: pip install 'visavis[gpu]'") from error
    if not cupy.cuda.is_available():
        raise KernelsUnavailableError(
            "CuPy finds no GPU: it needs an NVIDIA driver for CUDA 13 (what does nvidia-smi say?); "
            "tensors on the processor need no kernels"
        )
    return cupy
