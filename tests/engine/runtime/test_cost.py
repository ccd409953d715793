"""Multiply-accumulates of a graph."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.cost import multiply_accumulates

onnx = pytest.importorskip("onnx", reason="needs onnx (extra: train)")


def write(
    path: Path, nodes: list[Any], constants: dict[str, tuple[int, ...]], shape: list[Any], out: list[Any]
) -> Path:
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [onnx.helper.make_tensor_value_info("x", floats, shape)],
        [onnx.helper.make_tensor_value_info("y", floats, out)],
        [onnx.helper.make_tensor(name, floats, dims, [0.0] * math.prod(dims)) for name, dims in constants.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), path)
    return path


def test_convolutions_count_their_outputs_times_what_each_sums_up(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    path = write(
        tmp_path / "convolutions.onnx",
        [
            node("Conv", ["x", "w"], ["h"], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Conv", ["h", "grouped"], ["g"], group=8),
            node("ConvTranspose", ["g", "up"], ["y"], strides=[2, 2]),
        ],
        {"w": (8, 4, 3, 3), "grouped": (8, 1, 1, 1), "up": (8, 5, 2, 2)},
        ["batch", 4, 16, 16],
        ["batch", 5, 16, 16],
    )
    expected = {"Conv": 8 * 8 * 8 * (4 * 9) + 8 * 8 * 8, "ConvTranspose": 8 * 8 * 8 * (5 * 4)}
    assert multiply_accumulates(path) == expected
    assert multiply_accumulates(path, {"batch": 3}) == {name: 3 * count for name, count in expected.items()}


def test_matrix_products(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    path = write(
        tmp_path / "products.onnx",
        [node("MatMul", ["x", "a"], ["h"]), node("Gemm", ["h", "b"], ["y"], transB=1)],
        {"a": (7, 11), "b": (13, 11)},
        ["batch", 7],
        ["batch", 13],
    )
    assert multiply_accumulates(path, {"batch": 2}) == {"MatMul": 2 * 7 * 11, "Gemm": 2 * 11 * 13}


def test_exported_network_counts_as_its_layers(exported_generator: Any) -> None:
    generator, _ = exported_generator
    counted = multiply_accumulates(generator.graph_path("render"))
    assert counted["Conv"] == 9 * (8 * 8 * 16 * 12 + 16 * 16 * 16 * 24 + 16 * 16 * 12 * 16)
    assert sum(counted.values()) - counted["Conv"] == 16 * 8
