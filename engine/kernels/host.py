"""Kernels run on the processor, thread by thread, from the very source that a GPU runs: a check without one.

Slow (every thread is a call), and the same in every run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from engine.kernels.launch import Argument, LaunchShape
from engine.kernels.source import FOLDER, check_scalar, entry_points, kernel_source

FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off", "-Wno-unknown-pragmas")
"No fused multiply-adds, which double precision in the kernels rules out by intrinsics; pixels are cast to wider words."


class NoCompilerError(RuntimeError):
    """There is no C++ compiler."""


class HostLauncher:
    """Runs kernels on tensors in the processor's memory. Compiles a source when it is first wanted, about a second."""

    def __init__(self, compiler: str | None = None, backwards: bool = False) -> None:
        """compiler: a program that takes g++'s options, else CXX of the environment, g++, clang++ or c++.

        backwards: the last block and thread first, to show that their order does not matter. Raises NoCompilerError.
        """
        found = compiler or os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
        if found is None:
            raise NoCompilerError("no C++ compiler: install g++ or clang++, or name one in CXX")
        self.backwards = backwards
        self._compiler = found
        self._folder = tempfile.TemporaryDirectory(prefix="visavis-kernels-")
        self._libraries: dict[tuple[str, str], ctypes.CDLL] = {}
        # A library keeps the indices of the thread that runs in variables of its own.
        self._lock = threading.Lock()

    def launch(self, kernel: str, entry: str, scalar: str, shape: LaunchShape, arguments: Sequence[Argument]) -> None:
        """As `Launcher`, but returns when it is done."""
        values = [_value(argument) for argument in arguments]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        with self._lock:
            function = getattr(self._library(kernel, scalar), f"launch_{entry}")
            function((ctypes.c_uint * 6)(*shape.grid, *shape.block), addresses, int(self.backwards))

    def _library(self, kernel: str, scalar: str) -> ctypes.CDLL:
        key = kernel, scalar
        if key not in self._libraries:
            self._libraries[key] = self._compiled(kernel, scalar)
        return self._libraries[key]

    def _compiled(self, kernel: str, scalar: str) -> ctypes.CDLL:
        check_scalar(kernel, scalar)
        path = Path(self._folder.name) / f"{kernel}_{scalar}.so"
        run = subprocess.run(
            [self._compiler, *FLAGS, "-x", "c++", "-", "-o", str(path)],
            input=host_source(kernel, scalar),
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f"{kernel}.cu does not compile for the processor:\n{run.stderr[-4000:]}")
        return ctypes.CDLL(str(path))


def host_source(kernel: str, scalar: str) -> str:
    """C++ of a kernel, with a function `launch_<entry>` for each of its entry points."""
    text = kernel_source(kernel)
    launches = [
        f'extern "C" void launch_{entry}(const unsigned int* shape, void** arguments, int backwards) '
        f"{{ host::launch({entry}, shape, arguments, backwards); }}"
        for entry in entry_points(kernel)
    ]
    defines = [f"#define SCALAR {scalar}"]
    if "__syncthreads" in text:
        defines.append("#define COOPERATIVE")
    header = (FOLDER / "host.cuh").read_text(encoding="utf-8").replace("#pragma once\n", "")
    return "\n".join((*defines, header, text, *launches, ""))


def _value(argument: Argument) -> Any:
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p(None if argument is None else argument.data_ptr())
    if isinstance(argument, np.float32):
        return ctypes.c_float(argument.item())
    return (ctypes.c_int32 if isinstance(argument, np.int32) else ctypes.c_int64)(argument.item())
