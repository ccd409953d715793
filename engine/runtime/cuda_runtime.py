"""Runs networks by torch on an NVIDIA GPU: 16 bits, our kernels, CUDA graphs, participants batched."""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import TYPE_CHECKING, ClassVar

from engine.runtime.base import DEFAULT, RuntimeConfig, RuntimeUnavailableError
from engine.runtime.static_runtime import StaticRuntime

if TYPE_CHECKING:
    import torch

    from engine.runtime.mixed_precision import Precision
    from engine.runtime.static_network import Capture

logger = logging.getLogger(__name__)


class CudaRuntime(StaticRuntime):
    """Convolutions in float16. Without CuPy torch does the sampling, which is said in one line."""

    name: ClassVar[str] = "cuda"
    precision: ClassVar[Precision] = "fp16"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        require_cuda(f"runtime {self.name}")
        import torch

        from engine.runtime.mixed_precision import PrecisionConfig

        self._index: int = torch.cuda.current_device()
        device = torch.device("cuda", self._index)
        super().__init__(config, str(device), PrecisionConfig(self.precision, kernels=_kernels_run(device)))

    def capture(self) -> Capture:
        import torch

        from engine.runtime.cuda_graph import CudaGraphs

        return CudaGraphs(torch.device("cuda", self._index))


class CudaBf16Runtime(CudaRuntime):
    """Convolutions in bfloat16: the range of float32, for weights whose maps float16 cannot hold."""

    name: ClassVar[str] = "cuda-bf16"
    precision: ClassVar[Precision] = "bf16"


class CudaFp32Runtime(CudaRuntime):
    """Everything in 32 bits: to tell what 16 bits change."""

    name: ClassVar[str] = "cuda-fp32"
    precision: ClassVar[Precision] = "fp32"


def require_cuda(wanted: str, otherwise: str = "use runtime auto") -> None:
    """Raises RuntimeUnavailableError where there is no driver, no torch, or torch finds no GPU; asked in this order, as
    importing torch takes seconds. wanted, otherwise: what asks, and what to do instead, for the message."""
    if not _driver_finds_gpu():
        raise RuntimeUnavailableError(
            f"{wanted}: no NVIDIA GPU on this machine, or no driver for it (what does nvidia-smi say?); {otherwise}"
        )
    try:
        import torch
    except ImportError as error:
        raise RuntimeUnavailableError(f"{wanted}: torch is not installed: pip install 'visavis[torch,gpu]'") from error
    if not torch.cuda.is_available():
        raise RuntimeUnavailableError(
            f"{wanted}: torch {torch.__version__} finds no GPU although there is one; install a build for CUDA "
            f"(https://pytorch.org), else {otherwise}"
        )


def _driver_finds_gpu() -> bool:
    """Asked of the driver itself, which takes no package."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _kernels_run(device: torch.device) -> bool:
    import torch

    from engine.kernels.launch import KernelsUnavailableError, launcher_of

    try:
        launcher_of(torch.empty(0, device=device))
    except KernelsUnavailableError as error:
        logger.warning("%s; torch does the sampling instead, slower", error)
        return False
    return True
