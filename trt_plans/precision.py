"""Which parts of a network compute in 16 bits, written into the graph as casts: TensorRT keeps to the types it finds.

Convolutions, and what carries their maps from one to the next, may have 16 bits. Coordinates, softmaxes, statistics and
whatever leads to them keep 32: near the border of a map 64 wide a half has steps of 1/30 pixel, and a keypoint's logits
are multiplied by ten before their softmax. What the decision goes by is the operator, what the tensor leads to, and the
name of a convolution's weights, which is the module's path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from trt_plans.graph import FLOAT, Graph, as_type, attribute
from trt_plans.plugin_nodes import DOMAIN

Precision = Literal["fp32", "fp16", "bf16"]

ELEMENT_TYPES: Mapping[Precision, int] = {
    "fp32": FLOAT,
    "fp16": int(TensorProto.FLOAT16),
    "bf16": int(TensorProto.BFLOAT16),
}

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
CARRIERS = frozenset(
    {"Add", "AveragePool", "Concat", "DepthToSpace", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize"}
    | {"Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
)
"Operators that hand maps on without adding up many values."
SAMPLERS = frozenset({"GridSample"})
"What they make are maps again, though they compute in 32 bits, as their coordinates do."
SINKS: Mapping[str, int] = {"GridSample": 1, "Softmax": 0}
"The input that must be exact, and all that leads to it."
SQUASHERS = frozenset({"Sigmoid", "Tanh"})
"Computed in 32 bits; of a map they make a map."
DATA_ONLY = frozenset({"Resize", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"})
"Operators whose first input alone is data; the others say how."


@dataclass(frozen=True)
class PrecisionRules:
    """What is variable about the decision."""

    keep: tuple[str, ...] = ("kp", "jacobian", "mask")
    """Convolutions with one of these in their module's path compute in 32 bits whatever they lead to: the heads of the
    keypoint detector and of the motion network."""


DEFAULT_RULES = PrecisionRules()


def with_precision(model: ModelProto, precision: Precision, rules: PrecisionRules = DEFAULT_RULES) -> ModelProto:
    """A model that computes in 16 bits where it may; its inputs and outputs keep their types.

    model: as `trt_plans.simplify.simplified` leaves it. fp32 returns an equal of the model.
    """
    graph = Graph(model)
    if precision == "fp32":
        return graph.model()
    types, _ = graph.inferred()
    _cast(graph, types, half_nodes(graph, rules), ELEMENT_TYPES[precision])
    return graph.model()


def half_nodes(graph: Graph, rules: PrecisionRules = DEFAULT_RULES) -> set[int]:
    """The ids of the nodes in `graph.nodes` that may compute in 16 bits."""
    exact = _leading_to_sinks(graph)
    half = {id(node) for node in graph.nodes if _may_convolve(node, graph, exact, rules)}
    maps = _maps(graph)
    # Backwards from the convolutions: a carrier goes along if what it carries arrives at one.
    consumers = graph.consumers()
    carriers = [node for node in graph.nodes if _is_plugin(node) or node.op_type in CARRIERS]
    grown = True
    while grown:
        grown = False
        for node in reversed(carriers):
            if id(node) in half or id(node) in exact or not maps.intersection(node.output):
                continue
            if any(id(user) in half for name in node.output for user in consumers.get(name, [])):
                half.add(id(node))
                grown = True
    return half


def _is_plugin(node: NodeProto) -> bool:
    return str(node.domain) == DOMAIN


def _may_convolve(node: NodeProto, graph: Graph, exact: set[int], rules: PrecisionRules) -> bool:
    if node.op_type not in CONVOLUTIONS or node.input[1] not in graph.constants or id(node) in exact:
        return False
    return not set(rules.keep).intersection(node.input[1].split("."))


def _leading_to_sinks(graph: Graph) -> set[int]:
    """The ids of the nodes from which an exact input is reached without passing a layer of weights.

    The layer itself is among them: it makes the logits.
    """
    producers = graph.producers()
    wanted = [node.input[SINKS[node.op_type]] for node in graph.nodes if node.op_type in SINKS]
    # A plugin's coordinates are as exact as those of the nodes that it stands for.
    wanted.extend(name for node in graph.nodes if _is_plugin(node) for name in node.input[1:])
    reached: set[int] = set()
    while wanted:
        node = producers.get(wanted.pop())
        if node is None or id(node) in reached:
            continue
        reached.add(id(node))
        weighted = node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}
        if not weighted or not any(name in graph.constants for name in node.input):
            wanted.extend(node.input)
    return reached


def _maps(graph: Graph) -> set[str]:
    """The names of tensors that come from convolutions and samplers by way of what hands maps on."""
    found: set[str] = set()
    for node in graph.model(keep_unused=True).graph.node:
        if node.op_type in CONVOLUTIONS or node.op_type in SAMPLERS or _is_plugin(node):
            found.update(node.output)
        elif node.op_type in CARRIERS or node.op_type in SQUASHERS:
            data = node.input[:1] if node.op_type in DATA_ONLY else node.input
            if found.intersection(data):
                found.update(node.output)
    return found


def _cast(graph: Graph, types: Mapping[str, int], half: set[int], element_type: int) -> None:
    """Give the nodes in `half` inputs of 16 bits and all others of 32, by casts where the two meet."""
    narrow = {name for node in graph.nodes if id(node) in half for name in node.output}
    made: dict[tuple[str, int], str] = {}

    def in_type(name: str, wanted: int) -> str:
        have = element_type if name in narrow else FLOAT
        if not name or types.get(name) != FLOAT or have == wanted:
            return name
        if (name, wanted) not in made:
            wish = f"{name}_{'wide' if wanted == FLOAT else 'half'}"
            if name in graph.constants:
                made[name, wanted] = graph.add_constant(wish, as_type(graph.constants[name], wanted))
            else:
                made[name, wanted] = graph.add_node("Cast", [name], graph.unused_name(wish), to=wanted)
        return made[name, wanted]

    for node in list(graph.nodes):
        wanted = element_type if id(node) in half else FLOAT
        one = _is_plugin(node) or (node.op_type in DATA_ONLY and node.op_type != "Pad")
        count = 1 if one else len(node.input)
        for index in range(count):
            node.input[index] = in_type(node.input[index], wanted)
    for name in graph.outputs:
        if name in narrow:
            producer = graph.producers()[name]
            inner = graph.unused_name(f"{name}_half")
            producer.output[list(producer.output).index(name)] = inner
            graph.redirect(name, inner)
            graph.add_node("Cast", [inner], name, to=FLOAT)


def in_emulated_precision(model: ModelProto, precision: Precision) -> ModelProto:
    """A model in 32 bits that rounds where `with_precision` has 16: for runtimes without such types.

    ONNX Runtime's processor provider takes no bfloat16, and leaves casts to float16 out between its operators. Sums are
    in 32 bits, as the matrix units of GPUs have them. model: as `with_precision` returns it.
    """
    graph = Graph(model)
    element_type = ELEMENT_TYPES[precision]
    types, _ = graph.inferred()
    for name, values in graph.constants.items():
        if types[name] == element_type:
            graph.constants[name] = values.astype(np.float32)
    for node in list(graph.nodes):
        if node.op_type == "Cast" and attribute(node, "to") == element_type:
            continue
        for index, name in enumerate(node.output):
            if types.get(name) == element_type:
                exact = graph.unused_name(f"{name}_exact")
                node.output[index] = exact
                graph.add_node("Cast", [exact], name, to=element_type)
        for index, name in enumerate(node.input):
            if types.get(name) == element_type and name not in graph.constants and node.op_type != "Cast":
                node.input[index] = graph.add_node("Cast", [name], graph.unused_name(f"{name}_wide"), to=FLOAT)
    return graph.model()
