"""CUDA C to machine code or PTX by NVRTC, also without a GPU: what compile checks and plugins start from.

Needs the library alone (`pip install nvidia-cuda-nvrtc`, part of `visavis[gpu]`): no toolkit, no driver, no headers.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Literal

from engine.kernels.source import check_scalar, kernel_source

ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
"Compute capabilities that are kept working: Turing, Ampere (A100; RTX 30), Ada, Hopper, Blackwell (B200; RTX 50)."

OPTIONS = ("--std=c++17",)
"Beside the architecture. No fast maths: what is not a number, and what is tiny, is part of what the kernels promise."


class CompileError(RuntimeError):
    """A source that NVRTC refuses, with its log."""


class NvrtcUnavailableError(ImportError):
    """The compiler's library is not installed."""


def compile_kernel(kernel: str, scalar: str, architecture: str, form: Literal["cubin", "ptx"] = "cubin") -> bytes:
    """Machine code for one compute capability ("90"), or PTX that a driver takes on that and later ones.

    scalar: the type of the pixels, see `engine.kernels.source.SCALARS`. Raises ValueError where there is no such
    kernel, CompileError with the compiler's log, NvrtcUnavailableError with what to install.
    """
    text = kernel_source(kernel)
    check_scalar(kernel, scalar)
    target = f"{'sm' if form == 'cubin' else 'compute'}_{architecture}"
    return compile_text(text, f"{kernel}.cu", (*OPTIONS, f"--gpu-architecture={target}", f"-DSCALAR={scalar}"), form)


def compile_text(text: str, name: str, options: Sequence[str], form: Literal["cubin", "ptx"]) -> bytes:
    """Machine code or PTX of any CUDA C that needs no file.

    name: what messages call it, as `warp.cu`. options: NVRTC's, `--gpu-architecture` among them: `sm_90` for machine
    code, `compute_90` for PTX. Raises CompileError with the compiler's log, NvrtcUnavailableError.
    """
    library = _nvrtc()
    program = ctypes.c_void_p()
    created = library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    _check(created, "create a program")
    try:
        encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), encoded):
            log = _read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").rstrip(b"\0\n").decode()
            raise CompileError(f"{name} with {' '.join(options)}:\n{log}")
        if form == "cubin":
            return _read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        return _read(program, "nvrtcGetPTXSize", "nvrtcGetPTX").rstrip(b"\0")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def nvrtc_version() -> tuple[int, int]:
    """Raises NvrtcUnavailableError."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "version")
    return major.value, minor.value


def _read(program: ctypes.c_void_p, size_call: str, call: str) -> bytes:
    library, size = _nvrtc(), ctypes.c_size_t()
    _check(getattr(library, size_call)(program, ctypes.byref(size)), size_call)
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(library, call)(program, buffer), call)
    return buffer.raw


def _check(status: int, what: str) -> None:
    if status:
        raise CompileError(f"NVRTC could not {what}: {_nvrtc().nvrtcGetErrorString(status).decode()}")


@cache
def _nvrtc() -> ctypes.CDLL:
    path = _library_path()
    if path is None:
        raise NvrtcUnavailableError(
            "NVRTC, CUDA's runtime compiler, is not installed: pip install 'visavis[gpu]' (or nvidia-cuda-nvrtc alone)"
        )
    library = ctypes.CDLL(path)
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _library_path() -> str | None:
    """Of the wheel, else what the system finds."""
    pattern = "nvrtc64_*.dll" if sys.platform == "win32" else "libnvrtc.so.*"
    for package in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12"):
        try:
            listed = files(package) or []
        except PackageNotFoundError:
            continue
        for file in listed:
            if file.match(pattern) and "alt" not in file.name and Path(str(file.locate())).is_file():
                return str(file.locate())
    return ctypes.util.find_library("nvrtc")
