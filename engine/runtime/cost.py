"""What an exported network costs: the multiply-accumulates of a frame, counted in its graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Shape = tuple[int, ...]


def multiply_accumulates(path: Path, lengths: Mapping[str, int] | None = None) -> dict[str, int]:
    """The multiply-accumulates of convolutions and matrix products, by type of node; what else there is costs little.

    lengths: of the named axes; 1 where nothing is said. Needs the package onnx. Raises ValueError where the graph does
    not let the shape of such a node be inferred.
    """
    import onnx

    model = onnx.load(path)
    _fix_axes(model, lengths or {})
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = _shapes(model)
    counts: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            try:
                count = _count(node, shapes)
            except KeyError as error:
                reason = f"the shape of {error.args[0]} cannot be inferred"
                raise ValueError(f"{path}: {node.name} cannot be counted: {reason}") from error
            counts[node.op_type] = counts.get(node.op_type, 0) + count
    return counts


def _fix_axes(model: ModelProto, lengths: Mapping[str, int]) -> None:
    for entry in (*model.graph.input, *model.graph.output):
        for axis in entry.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = lengths.get(axis.dim_param, 1)
    del model.graph.value_info[:]  # what the exporter inferred for axes of any length


def _shapes(model: ModelProto) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {constant.name: tuple(constant.dims) for constant in model.graph.initializer}
    for entry in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        axes = entry.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            shapes[entry.name] = tuple(axis.dim_value for axis in axes)
    return shapes


def _count(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    first, weights, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":  # weights (out, in / groups, ...)
        return math.prod(out) * math.prod(weights[1:])
    if node.op_type == "ConvTranspose":  # weights (in, out / groups, ...)
        return math.prod(first) * math.prod(weights[1:])
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(out) * first[0 if transposed else -1]
    return math.prod(out) * first[-1]
