"""Exact rewrites that leave TensorRT's parser nothing to decide: constants as constants, normalisations as scales."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from trt_plans.graph import Graph, as_type, attribute, cast_target


def simplified(model: ModelProto) -> ModelProto:
    """An equal model without casts of constants and without batch normalisation."""
    graph = Graph(model)
    _fold_constant_casts(graph)
    _scale_instead_of_normalise(graph)
    return graph.model()


def _fold_constant_casts(graph: Graph) -> None:
    """Exported files store weights as float16 and widen them at every load: here once."""
    for node in list(graph.nodes):
        target = cast_target(node)
        if target is None or node.input[0] not in graph.constants or node.output[0] in graph.outputs:
            continue
        graph.constants[node.output[0]] = as_type(graph.constants[node.input[0]], target)
        graph.nodes.remove(node)


def _scale_instead_of_normalise(graph: Graph) -> None:
    """Batch normalisation of fixed statistics is one multiplication and one addition a channel."""
    _, shapes = graph.inferred()
    for node in list(graph.nodes):
        if node.op_type != "BatchNormalization" or any(name not in graph.constants for name in node.input[1:]):
            continue
        gain, shift, mean, variance = (graph.constants[name].astype(np.float64) for name in node.input[1:])
        scale = gain / np.sqrt(variance + float(attribute(node, "epsilon", 1e-5)))
        rank = len(shapes[node.input[0]])
        over_channels = (1, -1, *(1 for _ in range(rank - 2)))
        kind = graph.constants[node.input[1]].dtype
        graph.nodes.remove(node)
        output = node.output[0]
        factor = graph.add_constant(f"{output}_scale", scale.astype(kind).reshape(over_channels))
        offset = graph.add_constant(f"{output}_shift", (shift - mean * scale).astype(kind).reshape(over_channels))
        scaled = graph.add_node("Mul", [node.input[0], factor], graph.unused_name(f"{output}_scaled"))
        graph.add_node("Add", [scaled, offset], output)
