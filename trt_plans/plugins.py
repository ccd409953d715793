"""Our kernels declared to TensorRT, from Python: what they return, how they may be launched, and their machine code.

They are compiled ahead of time: a plan holds their PTX, and whoever runs it needs neither this package nor a compiler.
"""

# No `from __future__ import annotations`: TensorRT reads the annotations of the functions that it is given.

import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from engine.kernels.compile import ARCHITECTURES, OPTIONS, compile_text
from trt_plans.errors import PlanBuildError
from trt_plans.plugin_nodes import DOMAIN, PLUGINS, Plugin
from trt_plans.plugin_source import entry_name, plugin_definitions, plugin_source

ROW, COLUMN = 32, 8
"Threads of a block along x and y, as the kernels' own wrappers start them."
MOST_BLOCKS = 65_535
"Along y and z; the kernels walk over what is beyond."
EACH = {1: 16, 2: 4, 3: 1}
"""By the tactic's number: how many channels a thread samples where it found the neighbours once (of dense_motion 16
times as many, because a block shares them). TensorRT measures which is the fastest for a shape, and keeps that."""

SCALARS = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
"The kernels' names for TensorRT's types."


class Launch(NamedTuple):
    """How a plugin is started, in symbols of its tensors' sizes."""

    sizes: tuple[Any, ...]
    "The integers that the entry takes."
    grid: tuple[Any, Any, Any]
    block: tuple[int, int, int]


def declare_plugins(tensorrt: Any, architecture: str, lazily: bool = False) -> None:
    """Register all plugins; once a process. architecture: compute capability as in "90", see `ptx_architecture`.

    lazily: do not tell TensorRT's registry before a plugin is first used: for checks without its libraries.
    """
    quick = importlib.import_module("tensorrt.plugin")
    for plugin in PLUGINS.values():
        if not hasattr(quick.op, DOMAIN) or not _is_declared(getattr(quick.op, DOMAIN), plugin.name):
            _declare(tensorrt, quick, plugin, architecture, lazily)


def ptx_architecture(compute_capability: tuple[int, int]) -> str:
    """The newest architecture that we compile for and that a GPU of this compute capability runs.

    Raises PlanBuildError for a GPU that is older than all of them.
    """
    major, minor = compute_capability
    fitting = [name for name in ARCHITECTURES if int(name) <= 10 * major + minor]
    if not fitting:
        raise PlanBuildError(
            f"a GPU of compute capability {major}.{minor} is older than our kernels support; use runtime torch"
        )
    return max(fitting, key=int)


@cache
def plugin_ptx(plugin: str, scalar: str, each: int, architecture: str) -> str:
    """Compiled by NVRTC. Raises NvrtcUnavailableError, CompileError."""
    wanted = PLUGINS[plugin]
    definitions = (f"-D{name}={value}" for name, value in plugin_definitions(wanted, scalar, each).items())
    options = (*OPTIONS, f"--gpu-architecture=compute_{architecture}", *definitions)
    return compile_text(plugin_source(wanted), f"{plugin}.cu", options, "ptx").decode()


def output_shape(plugin: Plugin, shapes: Sequence[Any]) -> tuple[Any, ...]:
    """Of the one output. shapes: of the inputs; lengths may be numbers or symbols."""
    if plugin.kernel in ("grid_sample_2d", "grid_sample_3d"):
        data, grid = shapes
        return (data[0], data[1], *(grid[axis] for axis in range(1, len(grid) - 1)))
    return tuple(shapes[0])


def launch(plugin: Plugin, shapes: Sequence[Any], each: int, parts: Callable[[Any, int], Any], least: Any) -> Launch:
    """How to start it. parts: division, rounded up. least: the smaller of two; both of symbols, or of numbers."""
    data, output = shapes[0], output_shape(plugin, shapes)
    batch, channels = data[0], data[1]
    if plugin.kernel == "dense_motion":
        mask, points = shapes[1], shapes[4]
        grid = (parts(data[2] * data[3], ROW), parts(channels, 16 * each), least(batch, MOST_BLOCKS))
        return Launch((*data, points[1], mask[2], mask[3]), grid, (ROW * COLUMN, 1, 1))
    if plugin.kernel == "affine_sample":
        grid = (parts(data[3], ROW), parts(data[2], COLUMN * each), least(batch * channels, MOST_BLOCKS))
        return Launch(tuple(data), grid, (ROW, COLUMN, 1))
    rows = output[2] if plugin.kernel == "grid_sample_2d" else output[2] * output[3]
    maps = batch * parts(channels, each)
    grid = (parts(output[-1], ROW), least(parts(rows, COLUMN), MOST_BLOCKS), least(maps, MOST_BLOCKS))
    return Launch((*data, *output[2:]), grid, (ROW, COLUMN, 1))


def channels_each(plugin: Plugin, tactic: int) -> int:
    """What the entry is compiled with as CHANNELS_EACH."""
    each = EACH.get(tactic, EACH[1])
    return 16 * each if plugin.kernel == "dense_motion" else each


def _is_declared(namespace: Any, name: str) -> bool:
    return name in vars(namespace)


def _declare(tensorrt: Any, quick: Any, plugin: Plugin, architecture: str, lazily: bool) -> None:
    identity = f"{DOMAIN}::{plugin.name}"
    of_tensor = quick.TensorDesc

    def describe(*inputs: Any) -> Any:
        shape = output_shape(plugin, [entry.shape_expr for entry in inputs])
        return quick.from_shape_expr(shape, inputs[0].dtype)

    def tune(*arguments: Any) -> Any:
        exact = ["FP32"] * (len(plugin.inputs) - 1)
        types = ["FP32|FP16|BF16", *exact, "FP32|FP16|BF16"]
        return [quick.AutoTuneCombination(", ".join(types), "LINEAR", list(EACH))]

    def compiled(*arguments: Any) -> Any:
        *inputs, _outputs, tactic = arguments
        scalar = SCALARS[inputs[0].dtype.name]
        started = launch(
            plugin, [list(entry.shape_expr) for entry in inputs], EACH.get(tactic, EACH[1]), quick.cdiv, quick.min
        )
        parameters = quick.KernelLaunchParams()
        parameters.grid_x, parameters.grid_y, parameters.grid_z = started.grid
        parameters.block_x, parameters.block_y, parameters.block_z = started.block
        ptx = plugin_ptx(plugin.name, scalar, channels_each(plugin, tactic), architecture)
        return entry_name(plugin), ptx, parameters, quick.SymIntExprs.from_tuple(started.sizes)

    quick.register(identity, lazy_register=lazily)(_signed(describe, plugin.inputs, of_tensor, {}, of_tensor))
    outputs = {"outputs": tuple[of_tensor]}  # type: ignore[valid-type]
    quick.autotune(identity)(_signed(tune, plugin.inputs, of_tensor, outputs, list[quick.AutoTuneCombination]))
    of_code = tuple[str | bytes, str | bytes, quick.KernelLaunchParams, quick.SymIntExprs]
    quick.aot_impl(identity)(_signed(compiled, plugin.inputs, of_tensor, {**outputs, "tactic": int}, of_code))


def _signed(
    function: Callable[..., Any], inputs: Sequence[str], kind: Any, others: dict[str, Any], result: Any
) -> Callable[..., Any]:
    """A function that takes any arguments, with the signature that TensorRT asks plugins' functions for."""
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
        for name, annotation in {**dict.fromkeys(inputs, kind), **others}.items()
    ]

    def signed(*arguments: Any) -> Any:
        return function(*arguments)

    signed.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return signed
