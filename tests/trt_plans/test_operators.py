"""What TensorRT does not take, and what is said then."""

from __future__ import annotations

import numpy as np
import pytest

from trt_plans.fusion import NEEDED, with_plugins
from trt_plans.network import prepared
from trt_plans.operators import REPLACEMENTS, UnsupportedOperatorError, obstacles, require_supported

VOLUME = """
agraph (float[B, 2, 4, 5, 6] volume, float[B, 3, 4, 5, 3] grid) => (float[B, 2, 3, 4, 5] y)
{ y = GridSample <align_corners: int = 1, mode: string = "linear", padding_mode: string = "border"> (volume, grid) }
"""


def test_sample_of_a_volume_is_an_obstacle_and_gets_our_kernel(parse, execute, random):
    before = parse(VOLUME)
    assert [entry.what for entry in obstacles(before)] == ["GridSample of rank 5"]
    assert "GridSample of rank 5" in REPLACEMENTS
    after = with_plugins(before, NEEDED)
    assert [node.op_type for node in after.graph.node] == ["grid_sample_3d_border_corners"]
    assert obstacles(after) == []
    inputs = {
        "volume": random.standard_normal((2, 2, 4, 5, 6)).astype(np.float32),
        "grid": random.uniform(-1.2, 1.2, (2, 3, 4, 5, 3)).astype(np.float32),
    }
    np.testing.assert_array_equal(execute(after, inputs)["y"], execute(before, inputs)["y"])


def test_sample_by_a_mode_that_our_kernel_lacks_is_refused(parse):
    model = parse(VOLUME.replace('"linear"', '"nearest"'))
    with pytest.raises(UnsupportedOperatorError, match=r"GridSample of rank 5 .*use another runtime"):
        prepared(model, "fp16")


@pytest.mark.parametrize(
    ("node", "what"),
    [
        ("y = Det (x)", "Det"),
        ("y = other.Thing (x)", r"other\.Thing"),
        ("y = visavis.no_such_kernel (x)", "unknown plugin no_such_kernel"),
    ],
)
def test_unknown_operator_is_named(parse, node, what):
    text = f"agraph (float[1, 2, 2] x) => (float[1] y) {{ {node} }}"
    model = parse(text) if "." not in node else _with_domains(text)
    with pytest.raises(UnsupportedOperatorError, match=what):
        require_supported(model)


def _with_domains(text):
    from onnx import parser

    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20, "other" : 1, "visavis" : 1]> {text}')


def test_resize_whose_coordinates_tensorrt_lacks_is_refused(parse):
    model = parse(
        """
        agraph (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y) <float[4] scales = {1, 1, 2, 2}, float[8] roi = {0, 0, 0, 0, 1, 1, 1, 1}>
        { y = Resize <coordinate_transformation_mode: string = "tf_crop_and_resize", mode: string = "linear"> (x, roi, scales) }
        """  # noqa: E501
    )
    assert [entry.what for entry in obstacles(model)] == ["Resize with tf_crop_and_resize"]
