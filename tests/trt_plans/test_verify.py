"""Two networks side by side: which differences are taken, and what is said about the others."""

from __future__ import annotations

import numpy as np
import pytest

from engine.generators.neural import NetworkSpec, TensorSpec
from trt_plans.errors import PlanMismatchError
from trt_plans.network import AxisRange, PreparedNetwork
from trt_plans.runner import in_batches
from trt_plans.runtime import CheckedNetwork
from trt_plans.verify import as_record, check_inputs, compare, worst

EXAMPLES = [{"x": np.linspace(0, 200, 50, dtype=np.float32)[None] + number} for number in range(2)]


def network(error: float = 0.0):
    """A picture in levels and a map."""

    def run(inputs):
        return {"frame": (inputs["x"] + error).astype(np.uint8), "map": inputs["x"] * (1 + error / 1000)}

    return run


def test_networks_that_agree_are_reported():
    found = compare(network(), network(), EXAMPLES, "fp16", "a-plan")
    assert found["frame"].largest == found["map"].largest == 0
    record = as_record(compare(network(0.2), network(), EXAMPLES, "fp16", "a-plan"))
    assert record["frame"]["largest"] == 1
    assert worst(record).startswith("frame 1 (")


@pytest.mark.parametrize("error", [30.0, float("nan")])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_plan_that_does_not_agree_is_refused_with_the_reason(error):
    with pytest.raises(PlanMismatchError, match=r"the plan a-plan is refused: its output \w+ differs from torch by"):
        compare(network(error), network(), EXAMPLES, "fp16", "a-plan")


def test_more_is_forgiven_to_fewer_bits():
    compare(network(1.2), network(), EXAMPLES, "bf16", "a-plan")
    for precision in ("fp16", "fp32"):
        with pytest.raises(PlanMismatchError):
            compare(network(1.2), network(), EXAMPLES, precision, "a-plan")


def checked(error: float) -> CheckedNetwork:
    plan = network(error)
    return CheckedNetwork(plan, lambda inputs: compare(plan, network(), inputs, "fp16", "a-plan"), network)


def test_plan_is_used_once_its_first_inputs_agree():
    both = checked(0.2)
    for inputs in EXAMPLES:
        np.testing.assert_array_equal(both(inputs)["map"], network(0.2)(inputs)["map"])


def test_torch_takes_over_from_a_plan_that_is_refused_with_one_line(caplog):
    both = checked(30.0)
    for inputs in EXAMPLES:
        np.testing.assert_array_equal(both(inputs)["frame"], network()(inputs)["frame"])
    (record,) = caplog.records
    assert record.message.startswith("the plan a-plan is refused")
    assert record.message.endswith("torch runs this network instead")


SPEC = NetworkSpec(
    (TensorSpec("x", (4, "sources"), np.float32), TensorSpec("y", (2,), np.float32)),
    (TensorSpec("z", (1,), np.float32),),
)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"x": (1, 4, 3)}, "input y is missing; given: x"),
        ({"x": (1, 5, 3), "y": (1, 2)}, r"input x: expected \(batch, 4, sources\), got \(1, 5, 3\)"),
        ({"x": (4, 3), "y": (1, 2)}, r"got \(4, 3\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shapes, words):
    with pytest.raises(PlanMismatchError, match=words):
        check_inputs(SPEC, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def test_gpu_that_fails_while_a_plan_is_checked_leaves_it_to_torch(caplog):
    def fail(inputs):
        raise RuntimeError("CUDA out of memory\nwhat to read about it")

    both = CheckedNetwork(network(), fail, network)
    np.testing.assert_array_equal(both(EXAMPLES[0])["frame"], network()(EXAMPLES[0])["frame"])
    assert [record.message for record in caplog.records] == ["CUDA out of memory; torch runs this network instead"]


def test_batches_of_different_lengths_are_refused():
    with pytest.raises(PlanMismatchError, match="inputs of different batches: x 2, y 3"):
        check_inputs(SPEC, {"x": np.zeros((2, 4, 1), np.float32), "y": np.zeros((3, 2), np.float32)})


@pytest.mark.parametrize("length", [1, 8, 9, 20])
def test_longer_batches_than_a_plan_is_for_are_divided(length):
    seen = []

    def plan(inputs):
        seen.append(len(inputs["x"]))
        return {"y": 2 * inputs["x"] + inputs["z"]}

    inputs = {"x": np.arange(3.0 * length).reshape(length, 3), "z": np.ones((length, 1))}
    np.testing.assert_array_equal(in_batches(plan, 8)(inputs)["y"], 2 * inputs["x"] + 1)
    assert max(seen) <= 8
    assert sum(seen) == length


def test_inputs_that_fit_are_taken():
    check_inputs(SPEC, {"x": np.zeros((8, 4, 9), np.float32), "y": np.zeros((8, 2), np.float32)})


def test_profile_has_the_lengths_of_open_axes(parse):
    model = parse("agraph (float[B, 4, S] x, float[B, 2] y) => (float[B, 1] z) { z = Relu (x) }")
    axes = {"batch": AxisRange(1, 2, 8), "sources": AxisRange(1, 1, 4)}
    network = PreparedNetwork("small", model, SPEC, "fp16", axes)
    assert network.shapes() == {"x": ((1, 4, 1), (2, 4, 1), (8, 4, 4)), "y": ((1, 2), (2, 2), (8, 2))}
    assert network.profile == "batch=1:2:8 sources=1:1:4"
    assert network.identity == network.identity


def test_axis_without_an_order_is_refused():
    with pytest.raises(ValueError, match="1 <= least <= best <= most"):
        AxisRange(2, 1, 8)
