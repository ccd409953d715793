"""An ONNX graph while it is changed: who makes a tensor, who uses it, its type, its constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx.inliner
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

FLOAT = int(TensorProto.FLOAT)
PLAIN_DOMAINS = ("", "ai.onnx")


class Graph:
    """A model's graph. The model given stays as it is; `model()` returns the changed one.

    `nodes` may be changed freely, in any order: `model()` sorts them and leaves out what nothing uses.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = ModelProto()
        self._model.CopyFrom(model)
        self.nodes: list[NodeProto] = list(self._model.graph.node)
        self.constants: dict[str, NDArray[Any]] = {
            entry.name: numpy_helper.to_array(entry) for entry in self._model.graph.initializer
        }
        self.functions: list[FunctionProto] = list(self._model.functions)
        self._names = {name for node in self.nodes for name in (node.name, *node.input, *node.output)}
        self._names |= {*self.constants, *self.inputs, *self.outputs}

    @property
    def inputs(self) -> list[str]:
        return [entry.name for entry in self._model.graph.input]

    @property
    def outputs(self) -> list[str]:
        return [entry.name for entry in self._model.graph.output]

    def input_type(self, name: str) -> int:
        """Element type (a TensorProto enum) of an input or output of the graph."""
        entries = (*self._model.graph.input, *self._model.graph.output)
        return next(int(entry.type.tensor_type.elem_type) for entry in entries if entry.name == name)

    def unused_name(self, wish: str) -> str:
        """`wish`, or with a number behind it; taken from then on."""
        name, number = wish, 0
        while name in self._names:
            number += 1
            name = f"{wish}_{number}"
        self._names.add(name)
        return name

    def add_constant(self, wish: str, values: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        name = self.unused_name(wish)
        self.constants[name] = values
        return name

    def add_node(self, op_type: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        """A new node that makes the tensor `output`, a name from `unused_name` or of a node that went; returns it."""
        name = self.unused_name(f"{op_type.lower()}_{output}")
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name, domain=domain, **attributes))
        return output

    def producers(self) -> dict[str, NodeProto]:
        """By the name of each output."""
        return {output: node for node in self.nodes for output in node.output if output}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """By the name of each input."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def redirect(self, old: str, new: str, except_for: Iterable[NodeProto] = ()) -> None:
        """Whoever uses the tensor `old` uses `new` from now on."""
        spared = {id(node) for node in except_for}
        for node in self.nodes:
            if id(node) not in spared and old in node.input:
                names = [new if name == old else name for name in node.input]
                del node.input[:]
                node.input.extend(names)

    def inferred(self) -> tuple[dict[str, int], dict[str, tuple[int | str, ...]]]:
        """Element types and shapes of all tensors, as far as they can be inferred; '?' for an unknown axis."""
        model = self.model(keep_unused=True)
        # Types of a node outside ONNX are those that its function gives.
        model = shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model), data_prop=True)
        types: dict[str, int] = {
            name: int(helper.np_dtype_to_tensor_dtype(values.dtype)) for name, values in self.constants.items()
        }
        shapes: dict[str, tuple[int | str, ...]] = {name: values.shape for name, values in self.constants.items()}
        for entry in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            tensor = entry.type.tensor_type
            types[entry.name] = int(tensor.elem_type)
            if tensor.HasField("shape"):
                shapes[entry.name] = tuple(
                    axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim
                )
        return types, shapes

    def model(self, keep_unused: bool = False) -> ModelProto:
        """The changed model."""
        changed = ModelProto()
        changed.CopyFrom(self._model)
        nodes = self._sorted(self.nodes if keep_unused else self._used())
        used = {name for node in nodes for name in node.input} | set(self.outputs)
        del changed.graph.node[:]
        changed.graph.node.extend(nodes)
        del changed.graph.initializer[:]
        changed.graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in self.constants.items() if name in used
        )
        del changed.graph.value_info[:]  # of before the changes
        del changed.functions[:]
        called = {(node.domain, node.op_type) for node in nodes}
        changed.functions.extend(entry for entry in self.functions if (entry.domain, entry.name) in called)
        known = {entry.domain for entry in changed.opset_import}
        for domain in sorted({node.domain for node in nodes} - known - set(PLAIN_DOMAINS)):
            changed.opset_import.append(helper.make_opsetid(domain, 1))
        return changed

    def _used(self) -> list[NodeProto]:
        producers = self.producers()
        wanted, kept = list(self.outputs), set()
        while wanted:
            node = producers.get(wanted.pop())
            if node is not None and id(node) not in kept:
                kept.add(id(node))
                wanted.extend(node.input)
        return [node for node in self.nodes if id(node) in kept]

    def _sorted(self, nodes: Sequence[NodeProto]) -> list[NodeProto]:
        """Each after what it uses, else in the order given."""
        producers = {output: node for node in nodes for output in node.output if output}
        done: set[int] = set()
        ordered: list[NodeProto] = []
        for first in nodes:
            stack = [(first, False)]
            while stack:
                node, ready = stack.pop()
                if id(node) in done:
                    continue
                if ready:
                    done.add(id(node))
                    ordered.append(node)
                    continue
                stack.append((node, True))
                stack.extend((producers[name], False) for name in reversed(node.input) if name in producers)
        return ordered


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute; text as str."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def cast_target(node: NodeProto) -> int | None:
    """What a Cast casts to; None for any other node."""
    return int(attribute(node, "to")) if node.op_type == "Cast" and node.domain in PLAIN_DOMAINS else None


def as_type(values: NDArray[Any], element_type: int) -> NDArray[Any]:
    """A constant in another type, which may be bfloat16."""
    return np.asarray(values).astype(helper.tensor_dtype_to_np_dtype(element_type))
