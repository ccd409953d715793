"""What the plugins' functions compute, beside torch, and what TensorRT gets to read of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_plans.plugin_nodes import DOMAIN, PLUGINS, Plugin, plugins_in, without_functions

torch = pytest.importorskip("torch", reason="the reference is torch's (extra: torch)")


def model_of(plugin: Plugin, inputs: dict[str, np.ndarray], rank: int) -> Any:
    """One node."""
    graph = helper.make_graph(
        [helper.make_node(plugin.name, list(plugin.inputs), ["out"], "node", domain=DOMAIN)],
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
            for name, values in inputs.items()
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["?"] * rank)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, functions=[plugin.function()], opset_imports=opsets, ir_version=10)


def tensors(inputs: dict[str, np.ndarray]) -> list[Any]:
    return [torch.from_numpy(values) for values in inputs.values()]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("axes", [2, 3])
def test_grid_samples(execute, random, axes, padding, corners):
    inputs = {
        "input": random.standard_normal((2, 3, *(5, 6, 7)[:axes])).astype(np.float32),
        "grid": random.uniform(-1.4, 1.4, (2, *(3, 4, 5)[:axes], axes)).astype(np.float32),
    }
    plugin = PLUGINS[f"grid_sample_{axes}d_{padding}{'_corners' if corners else ''}"]
    wanted = torch.nn.functional.grid_sample(*tensors(inputs), padding_mode=padding, align_corners=corners)
    found = execute(model_of(plugin, inputs, axes + 2), inputs)["out"]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("corners", [False, True])
def test_affine_sample(execute, random, corners):
    from engine.nets.adaat import ChannelTransforms, transform_channels

    inputs = {
        "features": random.standard_normal((2, 3, 5, 8)).astype(np.float32),
        "scale": random.uniform(0.3, 1.7, (2, 3)).astype(np.float32),
        "angle": random.uniform(-3, 3, (2, 3)).astype(np.float32),
        "translation": random.uniform(-0.5, 0.5, (2, 3, 2)).astype(np.float32),
    }
    features, *transforms = tensors(inputs)
    wanted = transform_channels(features, ChannelTransforms(*transforms), corners)
    plugin = PLUGINS["affine_sample_corners" if corners else "affine_sample"]
    found = execute(model_of(plugin, inputs, 4), inputs)["out"]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(6, 7), (12, 14)], ids=str)
def test_dense_motion(execute, random, size):
    from engine.nets.dense_motion import sparse_motions
    from engine.nets.first_order import resized
    from engine.nets.sampling import sample

    inputs = {
        "features": random.standard_normal((2, 5, *size)).astype(np.float32),
        "mask_logits": random.standard_normal((2, 4, 6, 7)).astype(np.float32),
        "occlusion_logits": random.standard_normal((2, 1, 6, 7)).astype(np.float32),
        "source_points": random.uniform(-0.8, 0.8, (2, 3, 2)).astype(np.float32),
        "points": random.uniform(-0.8, 0.8, (2, 3, 2)).astype(np.float32),
        "matrices": random.uniform(-1, 1, (2, 3, 2, 2)).astype(np.float32),
    }
    features, masks, occlusion, source_points, points, matrices = tensors(inputs)
    motions = sparse_motions(source_points, points, matrices, 6, 7)
    flow = (torch.softmax(masks, 1)[..., None] * motions).sum(1)
    flow = resized(flow.permute(0, 3, 1, 2), features.shape[-2:]).permute(0, 2, 3, 1)
    wanted = sample(features, flow) * resized(torch.sigmoid(occlusion), features.shape[-2:])
    found = execute(model_of(PLUGINS["dense_motion"], inputs, 4), inputs)["out"]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_output_has_the_type_of_the_data(random):
    inputs = {
        "input": random.standard_normal((1, 2, 4, 4)).astype(np.float16),
        "grid": random.uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32),
    }
    from trt_plans.graph import Graph

    model = model_of(PLUGINS["grid_sample_2d_zeros"], inputs, 4)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert Graph(model).inferred()[0]["out"] == TensorProto.FLOAT16


def test_what_tensorrt_reads_has_no_functions_and_names_whose_plugins_it_wants(random):
    inputs = {"input": np.zeros((1, 1, 2, 2, 2), np.float32), "grid": np.zeros((1, 2, 2, 2, 3), np.float32)}
    model = model_of(PLUGINS["grid_sample_3d_zeros"], inputs, 5)
    bare = without_functions(model)
    assert len(bare.functions) == 0
    (node,) = bare.graph.node
    assert {entry.name: helper.get_attribute_value(entry) for entry in node.attribute} == {
        "plugin_namespace": b"visavis",
        "plugin_version": b"1",
        "aot": 1,
    }
    assert len(model.functions) == 1
    assert [plugin.name for plugin in plugins_in(model)] == ["grid_sample_3d_zeros"]
