"""Executes a plan: tensors bound by name, data that stays on the GPU, and one CUDA graph for each set of shapes."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Tensors
from engine.generators.neural import Network, NetworkSpec
from trt_plans.build import make_logger
from trt_plans.errors import PlanMismatchError
from trt_plans.network import AxisRange
from trt_plans.verify import check_inputs

if TYPE_CHECKING:
    from torch import Tensor

Shapes = tuple[tuple[int, ...], ...]
"Of the inputs, in the order of the network's."

logger = logging.getLogger(__name__)

ELEMENT_TYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "UINT8": "uint8", "INT32": "int32"}
"TensorRT's names of types, and torch's."

_SHAPES_KEPT = 8
"Sets of shapes whose buffers and graph are kept: the batches from 1 to 8."
_WARM_UP_RUNS = 2
"Before a graph is captured: TensorRT allocates in the first run, which a capture forbids."


@dataclass(frozen=True, eq=False)
class _Bound:
    """One set of shapes: an execution context with its own buffers, and a graph that replays it."""

    context: Any
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    graph: Any
    "A torch.cuda.CUDAGraph, None where the plan cannot be captured."


def in_batches(network: Network, most: int) -> Network:
    """A network that takes batches of any length and gives `network` no more than `most` at once."""

    def run(inputs: Tensors) -> Tensors:
        length = max((len(values) for values in inputs.values()), default=0)
        if length <= most:
            return network(inputs)
        parts = [
            network({name: values[start : start + most] for name, values in inputs.items()})
            for start in range(0, length, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run


class PlanRunner:
    """A plan on the current CUDA device of torch, ready to be called from any thread, one call at a time.

    `with PlanRunner(...) as runner:` frees its memory at the end. Buffers, streams and graphs are torch's, which the
    reference and the fallback need anyway.
    """

    def __init__(
        self, tensorrt: Any, plan: bytes, spec: NetworkSpec, axes: Mapping[str, AxisRange], cuda_graphs: bool = True
    ) -> None:
        """axes: those that the plan was built for. Raises PlanMismatchError for a plan that cannot be loaded, or whose
        tensors are not the network's."""
        import torch

        self._torch = torch
        self._trt = tensorrt
        self._log = make_logger(tensorrt)
        self._runtime = tensorrt.Runtime(self._log)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanMismatchError(
                f"TensorRT {tensorrt.__version__} cannot load the plan: {self._log.first_error}; build it again: "
                "visavis plans build"
            )
        self._engine: Any = engine
        self._spec = spec
        self._axes = axes
        self._cuda_graphs = cuda_graphs
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        self._bound: OrderedDict[Shapes, _Bound] = OrderedDict()
        found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        wanted = {entry.name for entry in (*spec.inputs, *spec.outputs)}
        if found != wanted:
            raise PlanMismatchError(
                f"the plan has the tensors {', '.join(sorted(found))}, the network {', '.join(sorted(wanted))}; "
                "build it again: visavis plans build"
            )

    def __enter__(self) -> PlanRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the plan's memory on the GPU. A second call does nothing."""
        with self._lock:
            self._bound.clear()
            self._engine = None

    def __call__(self, **inputs: Tensor | NDArray[Any]) -> dict[str, Tensor]:
        """Outputs on the GPU, the caller's to keep. Inputs on the GPU stay there, arrays are copied to it.

        Ordered after what torch's current stream has, and before what it gets. Raises PlanMismatchError for inputs that
        do not fit, or lie outside the lengths that the plan was built for.
        """
        torch = self._torch
        check_inputs(self._spec, inputs)
        shapes = tuple(tuple(inputs[entry.name].shape) for entry in self._spec.inputs)
        with self._lock:
            if self._engine is None:
                raise PlanMismatchError("the plan was closed")
            caller = torch.cuda.current_stream()
            self._stream.wait_stream(caller)
            with torch.cuda.stream(self._stream), torch.inference_mode():
                bound = self._for(shapes)
                for name, buffer in bound.inputs.items():
                    given = inputs[name]
                    source = given if isinstance(given, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(given))
                    if source.dtype != buffer.dtype:
                        raise PlanMismatchError(f"input {name}: expected {buffer.dtype}, got {source.dtype}")
                    buffer.copy_(source)
                if bound.graph is not None:
                    bound.graph.replay()
                else:
                    self._execute(bound.context)
                results = {name: buffer.clone() for name, buffer in bound.outputs.items()}
            caller.wait_stream(self._stream)
            for result in results.values():
                result.record_stream(caller)
        return results

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Arrays in, arrays out: an `engine.generators.neural.Network`."""
        return {name: result.cpu().numpy() for name, result in self(**inputs).items()}

    def _for(self, shapes: Shapes) -> _Bound:
        if shapes in self._bound:
            self._bound.move_to_end(shapes)
            return self._bound[shapes]
        self._require_in_range(shapes)
        bound = self._bind(shapes)
        if len(self._bound) == _SHAPES_KEPT:
            self._bound.popitem(last=False)
        self._bound[shapes] = bound
        return bound

    def _require_in_range(self, shapes: Shapes) -> None:
        for entry, shape in zip(self._spec.inputs, shapes, strict=True):
            for axis, length in zip(("batch", *entry.shape), shape, strict=True):
                wanted = self._axes[axis] if isinstance(axis, str) else None
                if wanted is not None and not wanted.least <= length <= wanted.most:
                    raise PlanMismatchError(
                        f"input {entry.name}: {axis} is {length}; the plan is for {wanted.least} to {wanted.most}; "
                        "give fewer, or use runtime torch"
                    )

    def _bind(self, shapes: Shapes) -> _Bound:
        torch = self._torch
        context = self._engine.create_execution_context()
        if context is None:
            raise PlanMismatchError(f"TensorRT made no context for the plan: {self._log.first_error}")
        context.set_optimization_profile_async(0, self._stream.cuda_stream)
        inputs, outputs = {}, {}
        for entry, shape in zip(self._spec.inputs, shapes, strict=True):
            if not context.set_input_shape(entry.name, shape):
                raise PlanMismatchError(f"the plan takes no {entry.name} of {shape}: {self._log.first_error}")
            inputs[entry.name] = torch.zeros(shape, dtype=self._dtype(entry.name), device="cuda")
        for entry in self._spec.outputs:
            shape = tuple(context.get_tensor_shape(entry.name))
            outputs[entry.name] = torch.empty(shape, dtype=self._dtype(entry.name), device="cuda")
        for name, buffer in {**inputs, **outputs}.items():
            context.set_tensor_address(name, buffer.data_ptr())
        for _ in range(_WARM_UP_RUNS):
            self._execute(context)
        self._stream.synchronize()
        return _Bound(context, inputs, outputs, self._captured(context) if self._cuda_graphs else None)

    def _captured(self, context: Any) -> Any:
        """A graph of one execution: its launches in one call, which is most of what a small network costs. None, with a
        line in the log, for a plan that does what a graph cannot hold."""
        torch = self._torch
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may allocate meanwhile, which a global capture would forbid them.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._execute(context)
        except RuntimeError as error:
            self._cuda_graphs = False  # nor with other shapes
            logger.warning("the plan runs without a CUDA graph, slower: %s", str(error).partition("\n")[0])
            return None
        return graph

    def _execute(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise PlanMismatchError(f"TensorRT could not execute the plan: {self._log.first_error}")

    def _dtype(self, name: str) -> Any:
        kind = self._engine.get_tensor_dtype(name)
        if kind.name not in ELEMENT_TYPES:
            raise PlanMismatchError(f"tensor {name} of the plan is {kind.name}, which no network of ours has")
        return getattr(self._torch, ELEMENT_TYPES[kind.name])
