"""CUDA C of a plugin: the kernel of engine/kernels, and an entry with the parameters that TensorRT passes."""

from __future__ import annotations

import re
from pathlib import Path

from engine.kernels.source import check_scalar, kernel_source
from trt_plans.plugin_nodes import Plugin

FOLDER = Path(__file__).parent / "plugin_entries"

_ENTRY = re.compile(r'^extern "C" __global__ void (?:__launch_bounds__\(.*?\) )?', re.MULTILINE)
"How a kernel begins. It is a function where another entry calls it, and the other has the bounds."


def plugin_source(plugin: Plugin) -> str:
    """To be compiled with the definitions of `plugin_definitions`; needs no other file."""
    shared, entry = ((FOLDER / name).read_text(encoding="utf-8") for name in ("kernel.cuh", f"{plugin.kernel}.cu"))
    return "\n".join((_ENTRY.sub("__device__ void ", kernel_source(plugin.kernel)), shared, entry))


def plugin_definitions(plugin: Plugin, scalar: str, each: int) -> dict[str, str]:
    """The macros that make a variant. scalar: the type of the data. each: how many channels a thread samples at a
    position. Raises ValueError for a scalar that the kernel is not made for."""
    check_scalar(plugin.kernel, scalar)
    return {
        "SCALAR": scalar,
        "CHANNELS_EACH": str(each),
        **{name: str(value) for name, value in plugin.options.items()},
    }


def entry_name(plugin: Plugin) -> str:
    """Of the function that TensorRT launches."""
    return f"plugin_{plugin.kernel}"
