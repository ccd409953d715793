"""Graphs that are executed in ONNX Runtime, in 32 bits and as if in 16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="plans are made of ONNX files (extra: export)")
pytest.importorskip("onnxruntime", reason="graphs are checked in ONNX Runtime (extra: ort)")

Arrays = Mapping[str, NDArray[Any]]
Execute = Callable[[Any, Arrays], dict[str, NDArray[Any]]]


@pytest.fixture(scope="session")
def execute() -> Execute:
    """Runs a model as it is written: without optimisations, which would leave out what is to be checked."""
    import onnxruntime

    def run(model: Any, inputs: Arrays) -> dict[str, NDArray[Any]]:
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Any]:
    """A model of ONNX's textual form."""
    return lambda text: onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)
