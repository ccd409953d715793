"""What is folded into constants, and that it changes nothing."""

from __future__ import annotations

import numpy as np

from trt_plans.simplify import simplified

# The gain is 1.5 and 0.5, in the bits that the textual form has for float16.
MODEL = """
agraph (float[B, 2, 3, 3] x) => (float[B, 2, 3, 3] y)
<float16[2] half_gain = {15872, 14336}, float[2] shift = {0.25, -1},
 float[2] mean = {0.5, 2}, float[2] variance = {4, 1}>
{
    gain = Cast <to: int = 1> (half_gain)
    y = BatchNormalization <epsilon: float = 0.01> (x, gain, shift, mean, variance)
}
"""


def test_constants_are_cast_and_normalisation_is_a_scale(execute, parse, random):
    before = parse(MODEL)
    after = simplified(before)
    assert [node.op_type for node in after.graph.node] == ["Mul", "Add"]
    inputs = {"x": random.standard_normal((2, 2, 3, 3)).astype(np.float32)}
    np.testing.assert_allclose(execute(after, inputs)["y"], execute(before, inputs)["y"], rtol=1e-6, atol=1e-6)


def test_model_that_is_given_stays_as_it_is(parse):
    before = parse(MODEL)
    content = before.SerializeToString(deterministic=True)
    simplified(before)
    assert before.SerializeToString(deterministic=True) == content


def test_normalisation_by_statistics_of_the_input_stays(parse):
    model = parse(
        """
        agraph (float[1, 2, 3, 3] x, float[2] mean) => (float[1, 2, 3, 3] y)
        <float[2] gain = {1, 1}, float[2] shift = {0, 0}, float[2] variance = {1, 1}>
        { y = BatchNormalization (x, gain, shift, mean, variance) }
        """
    )
    assert [node.op_type for node in simplified(model).graph.node] == ["BatchNormalization"]
