"""Which of ONNX's operators TensorRT takes by itself, and what stands for those that it does not.

Source: the operator table of TensorRT's ONNX parser (docs/operators.md of onnx/onnx-tensorrt), its changelog up to
10.6, and for rank-5 GridSample NVIDIA/TensorRT issues 3890, 4618 and 4619. The table has what our networks are made of
and what was looked up for them: an operator that is not in it is refused until somebody has looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto

from trt_plans.errors import PlanError
from trt_plans.graph import PLAIN_DOMAINS, Graph, attribute, cast_target
from trt_plans.plugin_nodes import DOMAIN, PLUGINS

NATIVE = frozenset(
    {
        *("Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant"),
        *("ConstantOfShape", "Conv", "ConvTranspose", "Cos", "DepthToSpace", "Div", "Elu", "Equal", "Erf", "Exp"),
        *("Expand", "Flatten", "Floor", "Gather", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual"),
        *("GridSample", "Identity", "InstanceNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul"),
        *("Max", "MaxPool", "Min", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "Range", "Reciprocal"),
        *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Resize", "Round"),
        *("Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub"),
        *("Sum", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where"),
    }
)

REPLACEMENTS: Mapping[str, str] = {
    "GridSample of rank 5": "plugin grid_sample_3d (trt_plans.fusion)",
    "uint8 inside the graph": "casts at the border (trt_plans.eight_bit)",
    "Det": "closed form (engine.nets.local_frames.inverse)",
    "Inverse": "closed form, outside the networks (engine.nets.local_frames.inverse)",
}
"What TensorRT lacks, and what our networks have instead of it."

_RESIZE_COORDINATES = frozenset(
    {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
)
_RESIZE_MODES = frozenset({"nearest", "linear", "cubic"})
_UINT8 = int(TensorProto.UINT8)


class UnsupportedOperatorError(PlanError):
    """A network has what TensorRT cannot do and no plugin does."""


@dataclass(frozen=True)
class Obstacle:
    """A node that TensorRT does not take."""

    node: str
    what: str
    "A key of `REPLACEMENTS`, or a description."


def obstacles(model: ModelProto) -> list[Obstacle]:
    """What of a model TensorRT does not take by itself, nor by one of our plugins."""
    graph = Graph(model)
    types, shapes = graph.inferred()
    found = []
    for node in graph.nodes:
        what = _obstacle(node, types, shapes, graph)
        if what is not None:
            found.append(Obstacle(node.name, what))
    return found


def require_supported(model: ModelProto) -> None:
    """Raises UnsupportedOperatorError where there are obstacles."""
    found = obstacles(model)
    if found:
        listed = "; ".join(sorted({f"{entry.what} ({entry.node})" for entry in found})[:5])
        raise UnsupportedOperatorError(f"TensorRT cannot take this network: {listed}; use another runtime for it")


def _obstacle(
    node: NodeProto, types: Mapping[str, int], shapes: Mapping[str, tuple[int | str, ...]], graph: Graph
) -> str | None:
    if node.domain == DOMAIN:
        return None if node.op_type in PLUGINS else f"unknown plugin {node.op_type}"
    if node.domain not in PLAIN_DOMAINS or node.op_type not in NATIVE:
        return node.op_type if node.domain in PLAIN_DOMAINS else f"{node.domain}.{node.op_type}"
    if node.op_type == "GridSample" and len(shapes.get(node.input[0], ())) != 4:
        return "GridSample of rank 5"
    at_border = cast_target(node) is not None and (node.input[0] in graph.inputs or node.output[0] in graph.outputs)
    if not at_border and _UINT8 in {types.get(name) for name in (*node.input, *node.output)}:
        return "uint8 inside the graph"
    if node.op_type == "Resize":
        coordinates = attribute(node, "coordinate_transformation_mode", "half_pixel")
        if attribute(node, "mode", "nearest") not in _RESIZE_MODES or coordinates not in _RESIZE_COORDINATES:
            return f"Resize with {coordinates}"
    if node.op_type in ("Conv", "ConvTranspose") and len(shapes.get(node.input[0], ())) not in (3, 4, 5):
        return f"{node.op_type} of another rank"
    return None
