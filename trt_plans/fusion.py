"""Finds in a graph what our kernels do in one pass, and puts their plugins there.

A pattern is recognised by the operators between its ends, as torch's exporter writes the modules of `engine.nets`;
where a piece looks otherwise, the graph stays as it is. Whether what was found was the right thing is checked
numerically afterwards, as all of a plan is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from onnx import ModelProto, NodeProto

from trt_plans.graph import Graph, attribute
from trt_plans.plugin_nodes import DOMAIN, PLUGINS, Kernel

ALL: tuple[Kernel, ...] = ("grid_sample_2d", "grid_sample_3d", "affine_sample", "dense_motion")
NEEDED: tuple[Kernel, ...] = ("grid_sample_3d",)
"Without which TensorRT takes no network that has a rank-5 GridSample."

_LINEAR = ("linear", "bilinear")
"The mode's name from opset 20 on, and before."


class _Search:
    """Producers and consumers of a graph, and steps along them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers: Mapping[str, NodeProto] = graph.producers()
        self.consumers: Mapping[str, list[NodeProto]] = graph.consumers()

    def made_by(self, name: str, *kinds: str) -> NodeProto | None:
        """The node that makes a tensor, if it is of one of these kinds."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def behind(self, name: str, *kinds: str) -> str:
        """The tensor that nodes of these kinds were made of, first inputs only."""
        while (node := self.made_by(name, *kinds)) is not None:
            name = node.input[0]
        return name

    def operands(self, name: str, kind: str) -> tuple[str, str] | None:
        node = self.made_by(name, kind)
        return (node.input[0], node.input[1]) if node is not None else None

    def only_consumer(self, name: str, *kinds: str) -> NodeProto | None:
        users = self.consumers.get(name, [])
        return users[0] if len(users) == 1 and users[0].op_type in kinds else None


_Pattern = Callable[[_Search, NodeProto], tuple[str, list[str], str] | None]


def with_plugins(model: ModelProto, kernels: Collection[Kernel] = ALL) -> ModelProto:
    """A model with plugins of these kernels wherever they fit; equal to the model given but for rounding."""
    graph = Graph(model)
    if "dense_motion" in kernels:
        _replace(graph, _dense_motion)
    if "affine_sample" in kernels:
        _replace(graph, _affine_sample)
    _, shapes = graph.inferred()
    for node in [node for node in graph.nodes if node.op_type == "GridSample"]:
        kernel: Kernel = "grid_sample_3d" if len(shapes.get(node.input[0], ())) == 5 else "grid_sample_2d"
        padding = attribute(node, "padding_mode", "zeros")
        if kernel in kernels and attribute(node, "mode", "linear") in _LINEAR and padding in ("zeros", "border"):
            _put(graph, f"{kernel}_{padding}{_corners(node)}", list(node.input), node.output[0])
    used = {node.op_type for node in graph.nodes if node.domain == DOMAIN}
    graph.functions.extend(PLUGINS[name].function() for name in sorted(used))
    return graph.model()


def _replace(graph: Graph, pattern: _Pattern) -> None:
    for sampler in [node for node in graph.nodes if node.op_type == "GridSample"]:
        found = pattern(_Search(graph), sampler)
        if found is not None:
            _put(graph, *found)


def _put(graph: Graph, name: str, inputs: list[str], output: str) -> None:
    """A plugin that makes the tensor `output`, instead of the node that made it."""
    graph.nodes.remove(graph.producers()[output])
    graph.add_node(name, inputs, output, domain=DOMAIN)


def _corners(sampler: NodeProto) -> str:
    return "_corners" if attribute(sampler, "align_corners", 0) else ""


def _samples_zeros(sampler: NodeProto) -> bool:
    return attribute(sampler, "mode", "linear") in _LINEAR and attribute(sampler, "padding_mode", "zeros") == "zeros"


def _affine_sample(search: _Search, sampler: NodeProto) -> tuple[str, list[str], str] | None:
    """`engine.nets.adaat.transform_channels`: plugin, inputs, and the output that it takes over."""
    features = search.behind(sampler.input[0], "Unsqueeze", "Reshape")
    both = search.made_by(search.behind(sampler.input[1], "Reshape"), "Concat")
    result = search.only_consumer(sampler.output[0], "Reshape")
    if both is None or result is None or len(both.input) != 2 or not _samples_zeros(sampler):
        return None
    across = _turned(search, search.behind(both.input[0], "Unsqueeze"), "Sub")
    down = _turned(search, search.behind(both.input[1], "Unsqueeze"), "Add")
    if across is None or down is None or across[:3] != down[:3]:
        return None
    (scale, angle, translation, first), (*_, second) = across, down
    if (first, second) != (0, 1):
        return None
    return f"affine_sample{_corners(sampler)}", [features, scale, angle, translation], result.output[0]


def _turned(search: _Search, name: str, sign: str) -> tuple[str, str, str, int] | None:
    """Scale, angle and translation of `s cos(a) x -+ s sin(a) y + t[i]`, and i."""
    outer = search.operands(name, "Add")
    terms = search.operands(outer[0], sign) if outer else None
    if outer is None or terms is None:
        return None
    moved = search.made_by(search.behind(outer[1], "Unsqueeze"), "Gather")
    index = search.graph.constants.get(moved.input[1]) if moved else None
    turns = {}
    for term in terms:
        factors = search.operands(term, "Mul")
        similar = search.operands(search.behind(factors[0], "Unsqueeze"), "Mul") if factors else None
        turn = search.made_by(similar[1], "Cos", "Sin") if similar else None
        if similar is None or turn is None:
            return None
        turns[turn.op_type] = (similar[0], turn.input[0])
    if moved is None or index is None or len(turns) != 2 or turns["Cos"] != turns["Sin"]:
        return None
    scale, angle = turns["Cos"]
    return scale, angle, moved.input[0], int(index)


def _dense_motion(search: _Search, sampler: NodeProto) -> tuple[str, list[str], str] | None:
    """`engine.nets.first_order.FeatureWarp.move`, from the motion network's logits on."""
    result = search.only_consumer(sampler.output[0], "Mul")
    if result is None or not _samples_zeros(sampler):
        return None
    gate = next(name for name in result.input if name != sampler.output[0])
    seen = search.made_by(search.behind(gate, "Resize"), "Sigmoid")
    summed = search.made_by(search.behind(sampler.input[1], "Transpose", "Resize"), "ReduceSum")
    parts = search.operands(summed.input[0], "Mul") if summed else None
    if seen is None or parts is None:
        return None
    masks = search.made_by(search.behind(parts[0], "Unsqueeze"), "Softmax")
    motions = search.made_by(parts[1], "Concat")
    stacked = search.made_by(motions.input[1], "Concat") if motions else None
    if masks is None or stacked is None or len(stacked.input) != 2:
        return None
    rows = [_sparse_motion(search, search.behind(name, "Unsqueeze")) for name in stacked.input]
    if rows[0] is None or rows[0] != rows[1]:
        return None
    source_points, points, matrices = rows[0]
    inputs = [sampler.input[0], masks.input[0], seen.input[0], source_points, points, matrices]
    return f"dense_motion{_corners(sampler)}", inputs, result.output[0]


def _sparse_motion(search: _Search, name: str) -> tuple[str, str, str] | None:
    """Source points, points and matrices of one coordinate of `engine.nets.dense_motion.sparse_motions`."""
    outer = search.operands(name, "Add")
    turned = search.operands(outer[0], "Add") if outer else None
    if outer is None or turned is None:
        return None
    found: set[tuple[str, str]] = set()
    for term in turned:
        factors = search.operands(term, "Mul")
        step = search.operands(search.behind(factors[1], "Unsqueeze"), "Sub") if factors else None
        if factors is None or step is None:
            return None
        matrices = search.behind(factors[0], "Unsqueeze", "Gather")
        found.add((search.behind(step[1], "Slice"), matrices))
    if len(found) != 1:
        return None
    ((points, matrices),) = found
    return search.behind(outer[1], "Gather", "Unsqueeze"), points, matrices
