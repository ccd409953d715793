"""The kernels' sources, as whoever compiles them takes them: one text each, its headers inside."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
SCALARS = ("float32", "float16", "bfloat16", "uint8")
"What `SCALAR`, the type of the pixels, can be defined as."

KERNELS = {
    "grid_sample_2d": SCALARS[:3],
    "grid_sample_3d": SCALARS[:3],
    "affine_sample": SCALARS[:3],
    "dense_motion": SCALARS[:3],
    "mesh_warp": SCALARS,
    "color_convert": SCALARS[3:],
    "paste_back": SCALARS[3:],
}
"The sources by name, and the scalars that each is compiled for."

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)
_PRAGMA_ONCE = "#pragma once\n"
_ENTRY = re.compile(r'^extern "C" __global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\(', re.MULTILINE)


@cache
def kernel_source(kernel: str) -> str:
    """The text of `<kernel>.cu` with its headers in place: to be compiled with SCALAR defined, without any file.

    Raises ValueError for a kernel that does not exist.
    """
    if kernel not in KERNELS:
        raise ValueError(f"no kernel {kernel!r}; there are {', '.join(KERNELS)}")
    return _with_headers(f"{kernel}.cu", set())


def entry_points(kernel: str) -> tuple[str, ...]:
    """The names of the `__global__` functions in a kernel's source."""
    return tuple(_ENTRY.findall(kernel_source(kernel)))


def check_scalar(kernel: str, scalar: str) -> None:
    """Raises ValueError where a kernel is not made for a scalar."""
    if scalar not in KERNELS[kernel]:
        raise ValueError(f"{kernel}: no kernel for {scalar}; it takes {', '.join(KERNELS[kernel])}")


def _with_headers(name: str, seen: set[str]) -> str:
    def header(match: re.Match[str]) -> str:
        if match[1] in seen:
            return ""
        seen.add(match[1])
        return _with_headers(match[1], seen)

    text = (FOLDER / name).read_text(encoding="utf-8").replace(_PRAGMA_ONCE, "")
    return _INCLUDE.sub(header, text)
