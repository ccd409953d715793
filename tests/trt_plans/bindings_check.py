"""Checks, beside real TensorRT bindings, everything that `trt_plans` uses of them. A program: needs them on the path.

    python tests/trt_plans/bindings_check.py        (see stub_libraries.py for how they get there)

The sources are read for names, members and calls, because what is called on TensorRT's objects cannot be executed here:
every one must exist, with as many arguments. The plugins are declared for real. Prints what was checked, as JSON.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import tensorrt  # noqa: E402

quick = importlib.import_module("tensorrt.plugin")

VARIABLES: dict[str, dict[str, Any]] = {
    "build.py": {
        "tensorrt": tensorrt,
        "builder": tensorrt.Builder,
        "network": tensorrt.INetworkDefinition,
        "parser": tensorrt.OnnxParser,
        "problem": tensorrt.ParserError,
        "config": tensorrt.IBuilderConfig,
        "profile": tensorrt.IOptimizationProfile,
        "timing_cache": tensorrt.ITimingCache,
        "flag": tensorrt.NetworkDefinitionCreationFlag,
        "kind": tensorrt.ILogger.Severity,
    },
    "runner.py": {
        "tensorrt": tensorrt,
        "self._runtime": tensorrt.Runtime,
        "engine": tensorrt.ICudaEngine,
        "self._engine": tensorrt.ICudaEngine,
        "context": tensorrt.IExecutionContext,
    },
    "plugins.py": {"quick": quick, "parameters": quick.KernelLaunchParams()},
    "store.py": {"self._tensorrt": tensorrt},
}
"What each source calls TensorRT's things."


def uses(file: str) -> Iterator[tuple[str, Any, ast.Attribute, ast.Call | None]]:
    """Every member of a variable of TensorRT's: variable, what it is, the member, and its call if it is called."""
    tree = ast.parse((ROOT / "trt_plans" / file).read_text(encoding="utf-8"))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            for variable, kind in VARIABLES[file].items():
                if owner == variable:
                    yield variable, kind, node, calls.get(id(node))
                elif owner.startswith(f"{variable}.") and inspect.ismodule(kind):
                    inner = kind
                    for part in owner.removeprefix(f"{variable}.").split("."):
                        inner = getattr(inner, part)
                    yield owner, inner, node, calls.get(id(node))


def argument_counts(function: Any) -> set[int] | None:
    """The numbers of arguments that a function takes, None where that cannot be known.

    pybind11 writes the signatures of functions, all overloads, into their docstrings.
    """
    if inspect.isfunction(function) or inspect.ismethod(function):
        return None  # written in Python, and executed below
    if inspect.isclass(function):
        function = function.__init__
    counts: set[int] = set()
    for signature in re.findall(r"\w+\((self: [^)]*(?:\([^)]*\)[^)]*)*)\) ->", function.__doc__ or ""):
        parameters = re.split(r", (?=\w+: )", signature)[1:]
        required = sum(" = " not in parameter for parameter in parameters)
        counts.update(range(required, len(parameters) + 1))
    return counts or None


def check_uses() -> dict[str, int]:
    """How many members and calls of each source were found right. Raises AssertionError."""
    members = calls = 0
    for file in VARIABLES:
        for variable, kind, node, call in uses(file):
            place = f"{file}:{node.lineno}: {variable}.{node.attr}"
            assert hasattr(kind, node.attr), f"{place} does not exist"
            members += 1
            if call is not None and not call.keywords:
                counts = argument_counts(getattr(kind, node.attr))
                of_class = variable not in VARIABLES[file] and inspect.isclass(kind)  # a base's method: self is given
                given = len(call.args) - of_class
                assert counts is None or given in counts, f"{place} is called with {given} arguments; takes {counts}"
                calls += counts is not None
    return {"members": members, "calls": calls}


def check_types() -> int:
    """Element types that our tables know by name. Returns how many."""
    from trt_plans.plugins import SCALARS
    from trt_plans.runner import ELEMENT_TYPES

    names = {*SCALARS, *ELEMENT_TYPES}
    missing = names - set(tensorrt.DataType.__members__)
    assert not missing, f"no such DataType: {missing}"
    assert set(SCALARS) <= set(ELEMENT_TYPES)
    return len(names)


def check_classes() -> None:
    """Those of ours that TensorRT calls back."""
    from trt_plans.build import make_logger, make_progress_monitor

    log = make_logger(tensorrt)
    log.log(tensorrt.ILogger.Severity.INFO, "nothing")
    log.log(tensorrt.ILogger.Severity.ERROR, "first")
    log.log(tensorrt.ILogger.Severity.INTERNAL_ERROR, "second")
    assert log.first_error == "first"
    told: list[tuple[str, int, int]] = []

    def tell(phase: str, done: int, steps: int) -> None:
        told.append((phase, done, steps))
        if done == 2:
            raise KeyboardInterrupt

    monitor = make_progress_monitor(tensorrt, tell)
    monitor.phase_start("tactics", None, 3)
    assert monitor.step_complete("tactics", 0)
    assert not monitor.step_complete("tactics", 1), "an interrupt must end the build"
    assert monitor.interrupted
    assert told == [("tactics", 0, 3), ("tactics", 1, 3), ("tactics", 2, 3)]


def check_plugins() -> dict[str, int]:
    """Declares all plugins, and asks one of each kernel for its outputs, its types and, where NVRTC is, its code."""
    from engine.kernels.compile import NvrtcUnavailableError
    from trt_plans import plugins
    from trt_plans.plugin_nodes import DOMAIN, PLUGINS

    plugins.declare_plugins(tensorrt, "90", lazily=True)
    plugins.declare_plugins(tensorrt, "90", lazily=True)  # a second time does nothing
    registry = importlib.import_module("tensorrt.plugin._lib").QDP_REGISTRY
    ranks = {
        "grid_sample_2d": (4, 4),
        "grid_sample_3d": (5, 5),
        "affine_sample": (4, 2, 2, 3),
        "dense_motion": (4, 4, 4, 3, 3, 4),
    }
    compiled, seen = 0, set()
    for plugin in PLUGINS.values():
        definition = registry[f"{DOMAIN}::{plugin.name}"]
        assert definition.aot_impl_func is not None, plugin.name
        assert definition.impl_func is None, "nothing may call back into Python while a plan runs"
        for dtype in (tensorrt.float32, tensorrt.float16, tensorrt.bfloat16):
            inputs = [
                quick.TensorDesc(quick.ShapeExprs(rank, _is_dummy=True), tensorrt.float32 if k else dtype)
                for k, rank in enumerate(ranks[plugin.kernel])
            ]
            output = definition.register_func(*inputs)
            assert output.dtype == dtype
            assert output.ndim == ranks[plugin.kernel][0]
        (tuned,) = definition.autotune_func(*inputs, (output,))
        assert len(tuned._get_combinations()) == 3, "one for each type of the data"
        if plugin.kernel in seen:
            continue
        seen.add(plugin.kernel)
        try:
            name, ptx, launch, sizes = definition.aot_impl_func(*inputs, (output,), 1)
        except NvrtcUnavailableError:
            continue
        entry = re.search(rf"\.entry {name}\((.*?)\)", ptx, re.DOTALL)
        assert entry is not None, f"{name} is not in its PTX"
        wanted = ["u64"] * len(inputs) + ["u32"] * len(sizes) + ["u64"]
        assert re.findall(r"\.param \.(\w+)", entry[1]) == wanted, "inputs, integers, outputs"
        assert isinstance(launch, quick.KernelLaunchParams)
        assert all(isinstance(size, quick.SymInt32) for size in sizes), "32-bit integers"
        compiled += 1
    return {"plugins": len(PLUGINS), "compiled": compiled}


class Length:
    """Stands for TensorRT's expression of a length, which cannot be made without its libraries."""

    def __init__(self, value: int) -> None:
        self.value = value


class Arithmetic:
    """Stands for what makes expressions of expressions: computes at once."""

    def constant(self, value: int) -> Length:
        return Length(value)

    def operation(self, operation: Any, first: Length, second: Length) -> Length:
        a, b = first.value, second.value
        found = {"SUM": a + b, "SUB": a - b, "PROD": a * b, "CEIL_DIV": -(-a // b), "MIN": min(a, b)}
        return Length(found[operation.name])


def check_launches() -> int:
    """The shapes and launches that the plugins write in TensorRT's symbols, beside the same in numbers. How many."""
    from trt_plans import plugins
    from trt_plans.plugin_nodes import PLUGINS

    symbols = importlib.import_module("tensorrt.plugin._tensor")
    shapes = {
        "grid_sample_2d": ((3, 70, 64, 48), (3, 33, 129, 2)),
        "grid_sample_3d": ((2, 5, 7, 9, 11), (2, 3, 50, 65, 3)),
        "affine_sample": ((2, 512, 64, 64), (2, 512), (2, 512), (2, 512, 2)),
        "dense_motion": ((8, 257, 64, 63), (8, 11, 64, 64), (8, 1, 64, 64), (8, 10, 2), (8, 10, 2), (8, 10, 2, 2)),
    }
    real, checked = tensorrt.IDimensionExpr, 0
    tensorrt.IDimensionExpr, symbols.SymIntExpr._exprBuilder = Length, Arithmetic()
    try:
        for plugin in PLUGINS.values():
            numbers = shapes[plugin.kernel]
            lengths = [[quick.ShapeExpr(length) for length in shape] for shape in numbers]
            output = plugins.output_shape(plugin, lengths)
            assert [length._expr.value for length in output] == list(plugins.output_shape(plugin, numbers))
            for each in plugins.EACH.values():
                symbolic = plugins.launch(plugin, lengths, each, quick.cdiv, quick.min)
                wanted = plugins.launch(plugin, numbers, each, lambda a, b: -(-a // b), min)
                parameters = quick.KernelLaunchParams(*symbolic.grid, *symbolic.block)
                kinds = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z")
                found = [getattr(parameters, kind)._expr.value for kind in kinds]
                assert found == [*wanted.grid, *wanted.block], f"{plugin.name}: {found}"
                sizes = [size._expr.value for size in quick.SymIntExprs.from_tuple(symbolic.sizes)]
                assert sizes == list(wanted.sizes), f"{plugin.name}: {sizes}"
                checked += 1
    finally:
        tensorrt.IDimensionExpr, symbols.SymIntExpr._exprBuilder = real, None
    return checked


def check_that_checks_can_fail() -> None:
    """TensorRT's own checks of a declaration, and ours of members and calls."""
    try:
        quick.register(f"{__name__}::nothing", lazy_register=True)(lambda data: data)
    except ValueError:
        pass
    else:
        raise AssertionError("a declaration without annotations was accepted")
    assert not hasattr(tensorrt.IBuilderConfig, "set_int8_everything")
    assert argument_counts(tensorrt.IExecutionContext.execute_async_v3) == {1}
    assert argument_counts(tensorrt.Builder.create_network) == {0, 1}


if __name__ == "__main__":
    check_that_checks_can_fail()
    checked = {"version": tensorrt.__version__, **check_uses(), "types": check_types(), **check_plugins()}
    checked["launches"] = check_launches()
    check_classes()
    print(json.dumps(checked))
