"""What has 16 bits and what has 32, and that the graph says so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from trt_plans.graph import Graph
from trt_plans.precision import PrecisionRules, in_emulated_precision, with_precision

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT

# A source's features, moved where a head of the network says: an encoder, a flow, a decoder.
NETWORK = """
agraph (float[B, 4, 8, 8] x, float[B, 8, 8, 2] place) => (float[B, 4, 8, 8] y, float[B, 4, 8, 8] mean)
{
    a = Conv <pads: ints = [1, 1, 1, 1]> (x, "encoder.weight", "encoder.bias")
    b = Relu (a)
    skip = Add (b, b)
    flow_head = Conv (skip, "flow.weight", "flow.bias")
    flow = Transpose <perm: ints = [0, 2, 3, 1]> (flow_head)
    grid = Add (place, flow)
    moved = GridSample <align_corners: int = 0, mode: string = "linear"> (skip, grid)
    joined = Concat <axis: int = 1> (moved, skip)
    y_raw = Conv (joined, "decoder.weight", "decoder.bias")
    y = Sigmoid (y_raw)
    mean = GlobalAveragePool (skip)
}
"""


@pytest.fixture
def network(parse, random):
    graph = Graph(parse(NETWORK))
    shapes = {"encoder": (4, 4, 3, 3), "flow": (2, 4, 1, 1), "decoder": (4, 8, 1, 1)}
    for name, shape in shapes.items():
        graph.constants[f"{name}.weight"] = (0.3 * random.standard_normal(shape)).astype(np.float32)
        graph.constants[f"{name}.bias"] = (0.1 * random.standard_normal(shape[0])).astype(np.float32)
    return graph.model()


@pytest.fixture
def inputs(random):
    return {
        "x": random.standard_normal((2, 4, 8, 8)).astype(np.float32),
        "place": random.uniform(-1, 1, (2, 8, 8, 2)).astype(np.float32),
    }


def types(model):
    return Graph(model).inferred()[0]


def test_convolutions_and_what_carries_their_maps_have_16_bits(network):
    found = types(with_precision(network, "fp16"))
    assert {name: found[name] for name in ("a", "b", "skip", "joined", "y_raw")} == dict.fromkeys(
        ("a", "b", "skip", "joined", "y_raw"), HALF
    )


def test_coordinates_what_leads_to_them_and_averages_have_32(network):
    found = types(with_precision(network, "fp16"))
    names = ("flow_head", "flow", "grid", "moved", "mean")
    assert {name: found[name] for name in names} == dict.fromkeys(names, FLOAT)


def test_inputs_and_outputs_keep_their_types(network):
    for entry in (*with_precision(network, "bf16").graph.input, *with_precision(network, "bf16").graph.output):
        assert entry.type.tensor_type.elem_type == FLOAT


def test_a_name_keeps_a_convolution_in_32(network):
    assert types(with_precision(network, "fp16", PrecisionRules(keep=("decoder",))))["y_raw"] == FLOAT


def test_fp32_changes_nothing(network, inputs, execute):
    after = with_precision(network, "fp32")
    assert "Cast" not in {node.op_type for node in after.graph.node}
    np.testing.assert_array_equal(execute(after, inputs)["y"], execute(network, inputs)["y"])


@pytest.mark.parametrize(("precision", "step"), [("fp16", 2**-11), ("bf16", 2**-8)])
def test_emulation_rounds_and_agrees(network, inputs, execute, precision, step):
    wanted = execute(network, inputs)["y"]
    found = execute(in_emulated_precision(with_precision(network, precision), precision), inputs)["y"]
    error = np.abs(found - wanted).max()
    assert 0.1 * step < error < 16 * step


def test_weights_are_stored_in_16_bits(network):
    model = with_precision(network, "fp16")
    kinds = {constant.name: constant.data_type for constant in model.graph.initializer}
    assert {kind for name, kind in kinds.items() if name.startswith(("encoder", "decoder"))} == {HALF}
    assert {kind for name, kind in kinds.items() if name.startswith("flow")} == {FLOAT}
