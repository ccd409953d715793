"""The plugins' CUDA sources, with the parameters that TensorRT passes: run on the processor beside their functions.

The very text that a plan gets as PTX, and the launch that TensorRT is told, thread by thread.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_plans.plugin_nodes import DOMAIN, PLUGINS, Plugin
from trt_plans.plugin_source import entry_name, plugin_definitions, plugin_source
from trt_plans.plugins import EACH, channels_each, launch, output_shape, ptx_architecture

pytest.importorskip("torch", reason="kernels run on the processor by a launcher of torch's tensors (extra: torch)")

SHAPES = {
    # Odd, larger than a block, and with a rest of channels.
    "grid_sample_2d": {"input": (2, 5, 9, 11), "grid": (2, 10, 35, 2)},
    "grid_sample_3d": {"input": (2, 5, 3, 5, 7), "grid": (2, 3, 5, 33, 3)},
    "affine_sample": {"features": (2, 3, 13, 37), "scale": (2, 3), "angle": (2, 3), "translation": (2, 3, 2)},
    "dense_motion": {
        "features": (2, 19, 10, 14),
        "mask_logits": (2, 4, 5, 7),
        "occlusion_logits": (2, 1, 5, 7),
        "source_points": (2, 3, 2),
        "points": (2, 3, 2),
        "matrices": (2, 3, 2, 2),
    },
}


def inputs_of(plugin: Plugin, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Coordinates are also outside."""
    return {name: random.uniform(-1.3, 1.3, shape).astype(np.float32) for name, shape in SHAPES[plugin.kernel].items()}


def wanted_output(plugin: Plugin, inputs: dict[str, np.ndarray], execute: Any) -> np.ndarray:
    rank = len(inputs[plugin.inputs[0]].shape)
    graph = helper.make_graph(
        [helper.make_node(plugin.name, list(plugin.inputs), ["out"], "node", domain=DOMAIN)],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name, values in inputs.items()],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["?"] * rank)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, functions=[plugin.function()], opset_imports=opsets, ir_version=10)
    return np.asarray(execute(model, inputs)["out"])


def run_on_host(plugin: Plugin, inputs: dict[str, np.ndarray], tactic: int, folder: Path) -> np.ndarray:
    """inputs: float32, but for the first, which may be float16."""
    from engine.kernels.host import FLAGS
    from engine.kernels.source import FOLDER

    compiler = shutil.which("g++") or shutil.which("clang++") or pytest.skip("no C++ compiler")
    scalar = str(inputs[plugin.inputs[0]].dtype)
    definitions = plugin_definitions(plugin, scalar, channels_each(plugin, tactic))
    host = (FOLDER / "host.cuh").read_text(encoding="utf-8").replace("#pragma once\n", "")
    text = "\n".join(
        (
            *(f"#define {name} {value}" for name, value in {**definitions, "COOPERATIVE": "1"}.items()),
            host,
            plugin_source(plugin),
            'extern "C" void run(const unsigned int* shape, void** arguments) '
            f"{{ host::launch({entry_name(plugin)}, shape, arguments, 0); }}\n",
        )
    )
    library = folder / f"{plugin.name}_{tactic}.so"
    command = [compiler, *FLAGS, "-x", "c++", "-", "-o", str(library)]
    compiled = subprocess.run(command, input=text, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr[-3000:]

    arrays = [np.ascontiguousarray(inputs[name]) for name in plugin.inputs]
    shapes = [array.shape for array in arrays]
    output = np.full(output_shape(plugin, shapes), np.nan, arrays[0].dtype)
    started = launch(plugin, shapes, EACH[tactic], lambda a, b: math.ceil(a / b), min)
    values = [
        *(ctypes.c_void_p(array.ctypes.data) for array in arrays),
        *(ctypes.c_int32(size) for size in started.sizes),
        ctypes.c_void_p(output.ctypes.data),
    ]
    addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    ctypes.CDLL(str(library)).run((ctypes.c_uint * 6)(*started.grid, *started.block), addresses)
    return output


@pytest.mark.parametrize("name", PLUGINS)
def test_entry_computes_what_the_function_does(name, execute, random, tmp_path):
    plugin = PLUGINS[name]
    inputs = inputs_of(plugin, random)
    found = run_on_host(plugin, inputs, 1, tmp_path)
    np.testing.assert_allclose(found, wanted_output(plugin, inputs, execute), atol=2e-5)


@pytest.mark.parametrize("name", ["grid_sample_3d_zeros", "dense_motion", "affine_sample"])
def test_every_tactic_computes_the_same(name, random, tmp_path):
    plugin = PLUGINS[name]
    inputs = inputs_of(plugin, random)
    first, *others = (run_on_host(plugin, inputs, tactic, tmp_path) for tactic in EACH)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_data_of_16_bits(execute, random, tmp_path):
    plugin = PLUGINS["grid_sample_2d_zeros"]
    inputs = inputs_of(plugin, random)
    inputs["input"] = inputs["input"].astype(np.float16)
    found = run_on_host(plugin, inputs, 2, tmp_path)
    assert found.dtype == np.float16
    wanted = wanted_output(plugin, {**inputs, "input": inputs["input"].astype(np.float32)}, execute)
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=1e-3)


def test_scalar_that_a_kernel_is_not_made_for_is_refused():
    with pytest.raises(ValueError, match="no kernel for uint8"):
        plugin_definitions(PLUGINS["dense_motion"], "uint8", 1)


@pytest.mark.parametrize(
    ("capability", "architecture"), [((7, 5), "75"), ((8, 7), "86"), ((9, 0), "90"), ((10, 3), "100"), ((12, 1), "120")]
)
def test_ptx_is_for_the_newest_architecture_that_the_gpu_runs(capability, architecture):
    assert ptx_architecture(capability) == architecture


def test_gpu_older_than_the_kernels_is_refused():
    with pytest.raises(RuntimeError, match=r"compute capability 7\.0 is older"):
        ptx_architecture((7, 0))
