"""Runs exported networks by OpenVINO on the processor."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Tensors
from engine.generators.neural import Network, NetworkSpec, TensorSpec
from engine.runtime.base import DEFAULT, RuntimeConfig, RuntimeUnavailableError
from engine.runtime.network_runtime import GraphRuntime, require_fit, unreadable

if TYPE_CHECKING:
    import openvino

Shapes = tuple[tuple[int, ...], ...]
"Of the inputs."

_SHAPES_KEPT = 4
"Executables kept, one for each combination of input shapes; a call uses one."


class OpenVinoRuntime(GraphRuntime):
    name: ClassVar[str] = "openvino"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        super().__init__(config)
        try:
            import openvino  # noqa: F401
        except ImportError as error:
            raise RuntimeUnavailableError(
                "runtime openvino: the package is not installed: pip install openvino"
            ) from error
        self._core = _core_of_process()

    def load(self, path: Path, spec: NetworkSpec) -> Network:
        """As `GraphRuntime.load`. Compiled at once for batches and named axes of 1, for others when they come."""
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": self.config.at_once,
            "INFERENCE_NUM_THREADS": self.config.at_once * self.config.threads_each(),
            "ENABLE_CPU_PINNING": False,  # the other side of a call may sit on the same cores
            # Left alone it computes in bfloat16 where the processor can, too coarse for coordinates of pixels.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            model = self._core.read_model(path)
        except RuntimeError as error:
            raise unreadable(path, self.name, error) from error
        require_fit(path, NetworkSpec(_specs(model.inputs), _specs(model.outputs)), spec)

        compiling = threading.Lock()
        of_thread = threading.local()  # a request serves one call at a time

        @lru_cache(_SHAPES_KEPT)
        def compiled_for(shapes: Shapes) -> openvino.CompiledModel:
            # Fixed shapes run 5 % faster than open ones.
            model.reshape({entry.name: list(shape) for entry, shape in zip(spec.inputs, shapes, strict=True)})
            return self._core.compile_model(model, "CPU", settings)

        def request_for(shapes: Shapes) -> openvino.InferRequest:
            if not hasattr(of_thread, "requests"):
                of_thread.requests = {}
            requests: dict[Shapes, openvino.InferRequest] = of_thread.requests
            if shapes not in requests:
                if len(requests) == _SHAPES_KEPT:
                    requests.clear()
                with compiling:
                    requests[shapes] = compiled_for(shapes).create_infer_request()
            return requests[shapes]

        def run(inputs: Tensors) -> dict[str, NDArray[Any]]:
            arguments = {entry.name: inputs[entry.name] for entry in spec.inputs}
            request = request_for(tuple(array.shape for array in arguments.values()))
            # Outputs are not shared: the next call would overwrite what this one returned.
            results = request.infer(arguments, share_inputs=True, share_outputs=False)
            return {entry.name: results[index] for index, entry in enumerate(spec.outputs)}

        try:
            request_for(tuple((1, *(1 if isinstance(n, str) else n for n in entry.shape)) for entry in spec.inputs))
        except RuntimeError as error:
            raise unreadable(path, self.name, error) from error
        return run


@lru_cache(maxsize=1)
def _core_of_process() -> openvino.Core:
    """The one core of this process, never let go.

    Its processor plugin puts the thread that loads it on a signal stack of its own. Of two plugins the one that goes
    last restores the other's stack, which is freed by then: the next signal (Ctrl-C, a child that ends) would kill the
    process.
    """
    import openvino

    return openvino.Core()


def _specs(ports: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            port.any_name,
            tuple(length.get_length() if length.is_static else str(length) for length in list(port.partial_shape)[1:]),
            np.dtype(port.element_type.to_dtype()).type,
        )
        for port in ports
    )
