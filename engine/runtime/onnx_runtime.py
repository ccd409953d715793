"""Runs exported networks by ONNX Runtime on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Tensors
from engine.generators.neural import Network, NetworkSpec, TensorSpec
from engine.runtime.base import DEFAULT, RuntimeConfig, RuntimeUnavailableError
from engine.runtime.network_runtime import GraphRuntime, require_fit, unreadable

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}

_ERRORS_ONLY = 3
"Its log level: what else it has to say concerns those who make graphs."


class OnnxRuntime(GraphRuntime):
    name: ClassVar[str] = "onnxruntime"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        super().__init__(config)
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailableError(
                "runtime onnxruntime: the package is not installed: pip install onnxruntime"
            ) from error
        onnxruntime.disable_telemetry_events()  # its builds for Windows report to their maker otherwise
        self._package = onnxruntime

    def load(self, path: Path, spec: NetworkSpec) -> Network:
        options = self._package.SessionOptions()
        options.intra_op_num_threads = self.config.threads_each()
        options.log_severity_level = _ERRORS_ONLY
        # Threads that wait for the next operation by spinning take the core from the rest of the call.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = self._package.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no other base class, and differ by what is wrong with the file
            raise unreadable(path, self.name, error) from error
        require_fit(path, NetworkSpec(_specs(session.get_inputs()), _specs(session.get_outputs())), spec)
        names = [output.name for output in spec.outputs]

        def run(inputs: Tensors) -> dict[str, NDArray[Any]]:
            results = session.run(names, {entry.name: inputs[entry.name] for entry in spec.inputs})
            return dict(zip(names, results, strict=True))

        return run


def _specs(nodes: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            node.name,
            tuple(length if isinstance(length, int) else str(length) for length in node.shape[1:]),
            _TYPES.get(node.type, np.void),
        )
        for node in nodes
    )
