"""Pictures of 8 bits: nothing inside a graph sees them, and every level comes out as before."""

from __future__ import annotations

import numpy as np

from trt_plans.eight_bit import eight_bit_at_border
from trt_plans.graph import Graph
from trt_plans.operators import obstacles

PICTURE = """
agraph (uint8[B, 2, 2, 3] frame) => (uint8[B, 2, 2, 3] out, float[B, 3, 2, 2] seen)
<float[1] factor = {0.9}, float low = {0}, float high = {255}>
{
    planes = Transpose <perm: ints = [0, 3, 1, 2]> (frame)
    seen = Cast <to: int = 1> (planes)
    darker = Mul (seen, factor)
    rounded = Round (darker)
    clipped = Clip (rounded, low, high)
    levels = Cast <to: int = 2> (clipped)
    out = Transpose <perm: ints = [0, 2, 3, 1]> (levels)
}
"""
ALL_LEVELS = np.resize(np.arange(256, dtype=np.uint8), (22, 2, 2, 3))


def test_pictures_are_cast_where_they_come_and_go(execute, parse):
    before = parse(PICTURE)
    after = eight_bit_at_border(before)
    assert {entry.what for entry in obstacles(before)} == {"uint8 inside the graph"}
    assert obstacles(after) == []
    for name, wanted in execute(before, {"frame": ALL_LEVELS}).items():
        np.testing.assert_array_equal(execute(after, {"frame": ALL_LEVELS})[name], wanted)


def test_cast_that_cuts_something_off_becomes_a_floor(execute, parse):
    model = parse(
        """
        agraph (float[8] x) => (float[8] y)
        { levels = Cast <to: int = 2> (x) y = Cast <to: int = 1> (levels) }
        """
    )
    inputs = {"x": np.linspace(0, 255, 8, dtype=np.float32)}
    after = eight_bit_at_border(model)
    assert "Floor" in {node.op_type for node in after.graph.node}
    np.testing.assert_array_equal(execute(after, inputs)["y"], execute(model, inputs)["y"])


def test_graph_whose_casts_are_at_the_border_already_stays(parse):
    model = parse(
        """
        agraph (uint8[4] x) => (uint8[4] y)
        { wide = Cast <to: int = 1> (x) more = Relu (wide) y = Cast <to: int = 2> (more) }
        """
    )
    assert eight_bit_at_border(model).graph.node == Graph(model).model().graph.node
