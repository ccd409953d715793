"""8-bit pictures stay at a network's border: TensorRT takes uint8 as an input or output and converts it there, no more.

Source: NVIDIA's description of DataType.UINT8 (its conversion to or from float is all that layers do with it).
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto, TensorProto

from trt_plans.graph import FLOAT, Graph, cast_target

UINT8 = int(TensorProto.UINT8)
WHOLE = frozenset({"Round", "Floor", "Ceil"})
"What leaves whole numbers, so that a cast has nothing to cut off."


def eight_bit_at_border(model: ModelProto) -> ModelProto:
    """An equal model in which only casts beside its inputs and outputs see uint8."""
    graph = Graph(model)
    for name in [name for name in graph.inputs if graph.input_type(name) == UINT8]:
        if all(cast_target(node) is not None for node in graph.consumers().get(name, [])):
            continue
        wide = graph.add_node("Cast", [name], graph.unused_name(f"{name}_float"), to=FLOAT)
        graph.redirect(name, wide, except_for=graph.nodes[-1:])
    _without_inner_casts(graph)
    for name in [name for name in graph.outputs if graph.input_type(name) == UINT8]:
        producer = graph.producers()[name]
        if cast_target(producer) == UINT8:
            continue
        wide = graph.unused_name(f"{name}_float")
        producer.output[list(producer.output).index(name)] = wide
        graph.redirect(name, wide)
        graph.add_node("Cast", [wide], name, to=UINT8)
    _without_idle_casts(graph)
    return graph.model()


def _without_inner_casts(graph: Graph) -> None:
    """Casts to uint8 whose result goes on inside the graph: gone, or a floor where they cut something off."""
    producers = graph.producers()
    for node in list(graph.nodes):
        if cast_target(node) != UINT8 or node.output[0] in graph.outputs:
            continue
        values, result = node.input[0], node.output[0]
        if not _whole(values, producers):
            values = graph.add_node("Floor", [values], graph.unused_name(f"{result}_floor"))
        graph.nodes.remove(node)
        graph.redirect(result, values)


def _without_idle_casts(graph: Graph) -> None:
    """What widened the pictures before is a cast of float to float now."""
    types, _ = graph.inferred()
    for node in list(graph.nodes):
        target = cast_target(node)
        if target is not None and types.get(node.input[0]) == target and node.output[0] not in graph.outputs:
            graph.nodes.remove(node)
            graph.redirect(node.output[0], node.input[0])


def _whole(name: str, producers: Mapping[str, NodeProto]) -> bool:
    """Whether a tensor holds whole numbers, as `engine.nets.pictures.pixels` makes them: rounded, then clipped."""
    node = producers.get(name)
    while node is not None and node.op_type == "Clip":
        node = producers.get(node.input[0])
    return node is not None and node.op_type in WHOLE
