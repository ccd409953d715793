"""Patterns that are replaced by our kernels, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest

from trt_plans.fusion import with_plugins

# engine.nets.adaat.transform_channels, as torch's exporter writes it. The last two are the translation's indices.
AFFINE = """
agraph (float[2, 3, 4, 5] f, float[2, 3] scale, float[2, 3] angle, float[2, 3, 2] shift) => (float[2, 3, 4, 5] y)
<int64[2] ends = {{-2, -1}}, int64[1] last = {{-1}}, int64[1] one = {{1}}, int64 first = {{{first}}}, int64 second = {{{second}}},
 int64[4] maps = {{6, 1, 4, 5}}, int64[4] grids = {{6, 4, 5, 2}}, int64[4] shape = {{2, 3, 4, 5}}, int64[3] flat = {{6, 4, 5}},
 float[4, 5] x = {{-1, -0.5, 0, 0.5, 1, -1, -0.5, 0, 0.5, 1, -1, -0.5, 0, 0.5, 1, -1, -0.5, 0, 0.5, 1}},
 float[4, 5] v = {{-1, -1, -1, -1, -1, -0.33333334, -0.33333334, -0.33333334, -0.33333334, -0.33333334,
                  0.33333334, 0.33333334, 0.33333334, 0.33333334, 0.33333334, 1, 1, 1, 1, 1}}>
{{
    cosine = Cos (angle) turned_cosine = Mul (scale, cosine) c = Unsqueeze (turned_cosine, ends)
    sine = Sin (angle) turned_sine = Mul (scale, sine) s = Unsqueeze (turned_sine, ends)
    right = Gather <axis: int = 2> (shift, first) across = Unsqueeze (right, ends)
    below = Gather <axis: int = 2> (shift, second) down = Unsqueeze (below, ends)
    cx = Mul (c, x) sv = Mul (s, v) rotated = Sub (cx, sv) u = Add (rotated, across)
    sx = Mul (s, x) cv = Mul (c, v) also = Add (sx, cv) w = Add (also, down)
    u_last = Unsqueeze (u, last) w_last = Unsqueeze (w, last) both = Concat <axis: int = -1> (u_last, w_last)
    planes = Reshape (f, flat) map = Unsqueeze (planes, one) grid = Reshape (both, grids)
    moved = GridSample <align_corners: int = 0, mode: string = "{mode}"> (map, grid)
    y = Reshape (moved, shape)
}}
"""  # noqa: E501


def affine(parse, first=0, second=1, mode="linear"):
    return parse(AFFINE.format(first=first, second=second, mode=mode))


@pytest.fixture
def inputs(random):
    return {
        "f": random.standard_normal((2, 3, 4, 5)).astype(np.float32),
        "scale": random.uniform(0.5, 1.5, (2, 3)).astype(np.float32),
        "angle": random.uniform(-3, 3, (2, 3)).astype(np.float32),
        "shift": random.uniform(-0.5, 0.5, (2, 3, 2)).astype(np.float32),
    }


def test_maps_moved_by_a_similarity_each_are_one_node(parse, execute, inputs):
    before = affine(parse)
    after = with_plugins(before)
    assert [node.op_type for node in after.graph.node] == ["affine_sample"]
    np.testing.assert_allclose(execute(after, inputs)["y"], execute(before, inputs)["y"], atol=1e-5)


def test_translation_the_other_way_round_is_something_else(parse, execute, inputs):
    before = affine(parse, first=1, second=0)
    after = with_plugins(before)
    assert "affine_sample" not in {node.op_type for node in after.graph.node}
    np.testing.assert_allclose(execute(after, inputs)["y"], execute(before, inputs)["y"], atol=1e-5)


def test_another_interpolation_stays_as_it_is(parse):
    kinds = {node.op_type for node in with_plugins(affine(parse, mode="nearest")).graph.node}
    assert "GridSample" in kinds
    assert not kinds & {"affine_sample", "grid_sample_2d_zeros"}


def test_only_the_kernels_asked_for_are_put_in(parse):
    kinds = {node.op_type for node in with_plugins(affine(parse), ("grid_sample_2d",)).graph.node}
    assert "grid_sample_2d_zeros" in kinds
    assert "affine_sample" not in kinds
