"""Our sampling kernels as nodes of an ONNX graph, in the place of what TensorRT lacks or does in many passes.

Every plugin is also a function of the model, made of ONNX's own operators: with it the graph runs in any runtime, and
is checked there; TensorRT gets the graph without the functions and finds the plugins by the names of the nodes.

A plugin has no attributes, a name for each combination of options instead: parsers of different versions hand integers
over differently, and plans of plugins compiled ahead of time hold none. The first input is data, in 16 or 32 bits, the
output has its type; all others are float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from onnx import FunctionProto, ModelProto, helper, parser

DOMAIN = "visavis"
"Of the nodes, and the plugins' namespace."

Kernel = Literal["grid_sample_2d", "grid_sample_3d", "affine_sample", "dense_motion"]


@dataclass(frozen=True)
class Plugin:
    """A kernel with its options."""

    name: str
    "The nodes' type."
    kernel: Kernel
    "The file of engine/kernels, and of trt_plans/plugin_entries."
    inputs: tuple[str, ...]
    body: str
    "The same in ONNX's textual form, from `inputs` to `output`; `data` is the first input in float32."
    options: Mapping[str, int] = field(default_factory=dict)
    "Constants that the kernel is compiled with."

    def function(self) -> FunctionProto:
        """What the plugin computes, in ONNX's operators."""
        first, names = self.inputs[0], ", ".join(self.inputs)
        return parser.parse_function(
            f'<opset_import: ["" : 20], domain: "{DOMAIN}"> {self.name} ({names}) => (output) {{ '
            f"data = Cast <to: int = 1> ({first}) {self.body} output = CastLike (wide_output, {first}) }}"
        )


def _grid_sample(kernel: Kernel, border: bool, corners: bool) -> Plugin:
    name = f"{kernel}_{'border' if border else 'zeros'}{'_corners' if corners else ''}"
    mode = f'mode: string = "linear", padding_mode: string = "{"border" if border else "zeros"}"'
    body = f"wide_output = GridSample <align_corners: int = {int(corners)}, {mode}> (data, grid)"
    return Plugin(name, kernel, ("input", "grid"), body, {"BORDER": int(border), "CORNERS": int(corners)})


_CONSTANTS = """
    shape = Shape (data)
    zero = Constant <value_int: int = 0> () one = Constant <value_int: int = 1> ()
    two = Constant <value_int: int = 2> () three = Constant <value_int: int = 3> ()
    start = Constant <value_ints: ints = [0]> () behind = Constant <value_ints: ints = [1]> ()
    pair = Constant <value_ints: ints = [2]> ()
    last = Constant <value_ints: ints = [-1]> () last_two = Constant <value_ints: ints = [-2, -1]> ()
    unit = Constant <value_float: float = 1.0> () double = Constant <value_float: float = 2.0> ()
"""


def _axis(name: str, length: str) -> str:
    """-1 to 1 along an axis whose length is the tensor `length`."""
    return f"""
    {name}_numbers = Range (zero, {length}, one) {name}_floats = Cast <to: int = 1> ({name}_numbers)
    {name}_length = Cast <to: int = 1> ({length}) {name}_steps = Sub ({name}_length, unit)
    {name}_step = Div (double, {name}_steps) {name}_scaled = Mul ({name}_floats, {name}_step)
    {name} = Sub ({name}_scaled, unit)
    """


def _affine_sample(corners: bool) -> Plugin:
    body = f"""
    {_CONSTANTS} height = Gather (shape, two) width = Gather (shape, three)
    {_axis("x", "width")} {_axis("row", "height")} y = Unsqueeze (row, last)
    cosine = Cos (angle) sine = Sin (angle)
    turned_x = Mul (scale, cosine) turned_y = Mul (scale, sine)
    c = Unsqueeze (turned_x, last_two) s = Unsqueeze (turned_y, last_two)
    across = Gather <axis: int = 2> (translation, zero) down = Gather <axis: int = 2> (translation, one)
    across_map = Unsqueeze (across, last_two) down_map = Unsqueeze (down, last_two)
    cx = Mul (c, x) sy = Mul (s, y) sx = Mul (s, x) cy = Mul (c, y)
    u_turned = Sub (cx, sy) v_turned = Add (sx, cy)
    u = Add (u_turned, across_map) v = Add (v_turned, down_map)
    u_last = Unsqueeze (u, last) v_last = Unsqueeze (v, last) grids = Concat <axis: int = -1> (u_last, v_last)
    size = Gather (shape, last_two)
    single = Constant <value_ints: ints = [-1, 1]> ()
    maps_shape = Concat <axis: int = 0> (single, size) grids_shape = Concat <axis: int = 0> (last, size, pair)
    maps = Reshape (data, maps_shape) flat_grids = Reshape (grids, grids_shape)
    moved = GridSample <align_corners: int = {int(corners)}, mode: string = "linear"> (maps, flat_grids)
    wide_output = Reshape (moved, shape)
    """
    name = "affine_sample_corners" if corners else "affine_sample"
    return Plugin(name, "affine_sample", ("features", "scale", "angle", "translation"), body, {"CORNERS": int(corners)})


def _dense_motion(corners: bool) -> Plugin:
    resize = 'coordinate_transformation_mode: string = "half_pixel", mode: string = "linear"'
    body = f"""
    {_CONSTANTS} motion_shape = Shape (mask_logits)
    height = Gather (motion_shape, two) width = Gather (motion_shape, three)
    {_axis("x", "width")} {_axis("row", "height")} y = Unsqueeze (row, last)
    at_x = Gather <axis: int = 2> (points, zero) at_y = Gather <axis: int = 2> (points, one)
    from_x = Gather <axis: int = 2> (source_points, zero) from_y = Gather <axis: int = 2> (source_points, one)
    first_row = Gather <axis: int = 2> (matrices, zero) second_row = Gather <axis: int = 2> (matrices, one)
    m00 = Gather <axis: int = 2> (first_row, zero) m01 = Gather <axis: int = 2> (first_row, one)
    m10 = Gather <axis: int = 2> (second_row, zero) m11 = Gather <axis: int = 2> (second_row, one)
    at_x_map = Unsqueeze (at_x, last_two) at_y_map = Unsqueeze (at_y, last_two)
    from_x_map = Unsqueeze (from_x, last_two) from_y_map = Unsqueeze (from_y, last_two)
    m00_map = Unsqueeze (m00, last_two) m01_map = Unsqueeze (m01, last_two)
    m10_map = Unsqueeze (m10, last_two) m11_map = Unsqueeze (m11, last_two)
    across = Sub (x, at_x_map) down = Sub (y, at_y_map)
    p00 = Mul (m00_map, across) p01 = Mul (m01_map, down) p10 = Mul (m10_map, across) p11 = Mul (m11_map, down)
    turned_x = Add (p00, p01) turned_y = Add (p10, p11)
    moved_x = Add (turned_x, from_x_map) moved_y = Add (turned_y, from_y_map)
    masks = Softmax <axis: int = 1> (mask_logits)
    end = Gather (motion_shape, behind)
    still = Slice (masks, start, behind, behind) shares = Slice (masks, behind, end, behind)
    still_x = Mul (still, x) still_y = Mul (still, y)
    parts_x = Mul (shares, moved_x) parts_y = Mul (shares, moved_y)
    sum_x = ReduceSum (parts_x, behind) sum_y = ReduceSum (parts_y, behind)
    flow_x = Add (still_x, sum_x) flow_y = Add (still_y, sum_y)
    flow = Concat <axis: int = 1> (flow_x, flow_y)
    area = Gather (shape, last_two) of_batch = Slice (motion_shape, start, behind)
    flow_size = Concat <axis: int = 0> (of_batch, pair, area)
    seen_size = Concat <axis: int = 0> (of_batch, behind, area)
    flow_sized = Resize <{resize}> (flow,,, flow_size)
    grid = Transpose <perm: ints = [0, 2, 3, 1]> (flow_sized)
    occlusion = Sigmoid (occlusion_logits) occlusion_sized = Resize <{resize}> (occlusion,,, seen_size)
    warped = GridSample <align_corners: int = {int(corners)}, mode: string = "linear"> (data, grid)
    wide_output = Mul (warped, occlusion_sized)
    """
    inputs = ("features", "mask_logits", "occlusion_logits", "source_points", "points", "matrices")
    return Plugin(
        "dense_motion_corners" if corners else "dense_motion", "dense_motion", inputs, body, {"CORNERS": int(corners)}
    )


PLUGINS: Mapping[str, Plugin] = {
    plugin.name: plugin
    for plugin in (
        *(
            _grid_sample(kernel, border, corners)
            for kernel in ("grid_sample_2d", "grid_sample_3d")
            for border in (False, True)
            for corners in (False, True)
        ),
        *(_affine_sample(corners) for corners in (False, True)),
        *(_dense_motion(corners) for corners in (False, True)),
    )
}
"By the type of their nodes."


def without_functions(model: ModelProto) -> ModelProto:
    """What TensorRT's parser reads: no functions, and nodes that say whose plugins they ask for, compiled ahead."""
    bare = ModelProto()
    bare.CopyFrom(model)
    del bare.functions[:]
    for node in bare.graph.node:
        if node.domain == DOMAIN:
            values = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}
            node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
    return bare


def plugins_in(model: ModelProto) -> list[Plugin]:
    """Those whose nodes are in a model, each once."""
    return [PLUGINS[name] for name in sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})]
