"""Sizes, costs and special parts of the First Order Motion Model's networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from engine.keypoint_motion import inverse as inverse_by_numpy
from engine.nets.antialias import AntialiasedDownscale
from engine.nets.dense_motion import DenseMotionConfig, sparse_motions
from engine.nets.first_order import DetectHalf, EncodeHalf, FirstOrderConfig, FirstOrderModel, RenderHalf
from engine.nets.hourglass import Hourglass, HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig, KeypointDetector
from engine.nets.local_frames import frame_change, inverse
from engine.nets.patch_discriminator import KeypointDiscriminator

SMALL_HOURGLASS = HourglassConfig(width=4, limit=16, blocks=2)
SMALL = FirstOrderConfig(
    detector=KeypointConfig(keypoints=3, hourglass=SMALL_HOURGLASS, downscale=2),
    motion=DenseMotionConfig(hourglass=SMALL_HOURGLASS, downscale=4),
    width=8,
    limit=32,
    residual_blocks=1,
)


@pytest.fixture(scope="module")
def full_size():
    """The published model for faces, of which nothing is computed but shapes."""
    with torch.device("meta"):
        return FirstOrderModel().eval()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gmacs(work: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e9


def test_sizes_are_the_published_ones(full_size):
    assert parameters(full_size.kp_detector) == 14_215_368
    assert parameters(full_size.generator) == 45_575_391
    assert parameters(full_size.generator.dense_motion_network) == 37_730_268
    with torch.device("meta"):
        assert parameters(KeypointDiscriminator()) == 2_769_089


def test_what_depends_on_the_source_alone_is_not_in_the_cost_of_a_frame(full_size):
    picture = torch.empty(1, 3, 256, 256, device="meta")
    generator = full_size.generator
    source, (points, jacobians) = full_size.encode(picture)
    assert gmacs(lambda: full_size.detect(picture)) == pytest.approx(1.31 - 0.031, abs=1e-3)  # its Gaussian is strided
    assert gmacs(lambda: full_size.encode(picture)) == pytest.approx(11.6, abs=0.05)
    assert gmacs(lambda: generator.render(source, points, jacobians)) == pytest.approx(43.4, abs=0.05)
    assert gmacs(lambda: generator.dense_motion_network(source.view, points, jacobians)) == pytest.approx(
        4.092, abs=1e-3
    )
    assert gmacs(lambda: generator.bottleneck(source.features)) == pytest.approx(28.991, abs=1e-3)
    assert gmacs(lambda: generator.enlarge(source.features)) == pytest.approx(10.280, abs=1e-3)
    assert source.features.shape == (1, 256, 64, 64)
    assert source.view.small.shape == (1, 3, 64, 64)
    assert (points.shape, jacobians.shape) == ((1, 10, 2), (1, 10, 2, 2))


@torch.no_grad()
def test_one_encoded_source_serves_many_frames(random_first_order):
    model = random_first_order(SMALL, 0).double()
    source, frames = torch.rand(1, 3, 64, 32, dtype=torch.float64), torch.rand(3, 3, 64, 32, dtype=torch.float64)
    encoded, keypoints = model.encode(source)
    for frame in frames:
        points, jacobians = model.detect(frame[None])
        rendered = model.generator.render(encoded, points, frame_change(keypoints.jacobians, jacobians))
        torch.testing.assert_close(rendered, model(source, frame[None]), atol=0, rtol=0)
    assert rendered.shape == (1, 3, 64, 32)
    assert 0 < float(rendered.min()) < float(rendered.max()) < 1


@torch.no_grad()
def test_flow_is_enlarged_to_the_features(random_first_order):
    model = random_first_order(replace(SMALL, down_blocks=1), 0)
    encoded, keypoints = model.encode(torch.rand(1, 3, 64, 32))
    identity = torch.eye(2).expand(1, 3, 2, 2)
    parts = model.generator.compose(encoded, keypoints.points + 0.1, identity)
    assert parts.moved.motion.flow.shape == (1, 16, 8, 2)
    assert parts.moved.flow.shape == (1, 32, 16, 2)
    wanted = functional.interpolate(parts.moved.motion.flow.permute(0, 3, 1, 2), size=(32, 16), mode="bilinear")
    torch.testing.assert_close(parts.moved.flow.permute(0, 3, 1, 2), wanted)
    torch.testing.assert_close(parts.moved.kept, parts.moved.warped * parts.moved.occlusion)


@torch.no_grad()
def test_model_without_occlusion_keeps_all(random_first_order):
    motion = replace(SMALL.motion, occlusion=False, downscale=1)
    model = random_first_order(replace(SMALL, motion=motion), 0)
    encoded, keypoints = model.encode(torch.rand(1, 3, 32, 32))
    parts = model.generator.compose(encoded, keypoints.points, frame_change(keypoints.jacobians, keypoints.jacobians))
    assert parts.moved.occlusion is None
    assert parts.moved.kept is parts.moved.warped


@pytest.mark.parametrize("half", ["detect", "encode", "render"])
@torch.no_grad()
def test_halves_are_graphs_of_fixed_shapes_that_runtimes_can_do(random_first_order, half):
    model = random_first_order(SMALL, 0)
    frames = (255 * torch.rand(1, 64, 64, 3)).to(torch.uint8)
    features, small, heatmaps, points, jacobians = EncodeHalf(model)(frames)
    others = DetectHalf(model)(255 - frames)
    module, inputs = {
        "detect": (DetectHalf(model), (frames,)),
        "encode": (EncodeHalf(model), (frames,)),
        "render": (
            RenderHalf(model),
            (features, small, heatmaps, points, others[0], frame_change(jacobians, others[1])),
        ),
    }[half]
    graph = torch.export.export(module, inputs)
    used = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    assert not [name for name in used if "inv" in name or "grid_sampler_3d" in name]
    samplers = [node for node in graph.graph.nodes if "grid_sampler" in str(node.target)]
    assert len(samplers) == (2 if half == "render" else 0)  # all motions at once, then the features
    assert all(node.meta["val"].ndim <= 5 for node in graph.graph.nodes if hasattr(node.meta.get("val"), "ndim"))
    expected, computed = module(*inputs), graph.module()(*inputs)
    torch.testing.assert_close(computed, expected, atol=0, rtol=0)


def test_sparse_motions_are_the_affine_maps_around_the_keypoints():
    random = np.random.default_rng(0)
    source, points = random.uniform(-1, 1, (2, 1, 4, 2))
    matrices = random.normal(size=(1, 4, 2, 2))
    motions = sparse_motions(*(torch.from_numpy(one) for one in (source, points, matrices)), 5, 7).numpy()
    assert motions.shape == (1, 5, 5, 7, 2)
    for row in range(5):
        for column in range(7):
            z = np.array((2 * column / 6 - 1, 2 * row / 4 - 1))
            np.testing.assert_allclose(motions[0, 0, row, column], z, atol=1e-12)
            for k in range(4):
                moved = source[0, k] + matrices[0, k] @ (z - points[0, k])
                np.testing.assert_allclose(motions[0, k + 1, row, column], moved, atol=1e-12)


def test_inverse_is_the_one_of_what_crosses_the_wire():
    matrices = np.concatenate(
        (np.random.default_rng(0).normal(size=(20, 2, 2)), [[[1, 2], [2, 4]], [[1, 0], [0, -1e-6]]])
    )
    ours = inverse(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(ours, inverse_by_numpy(matrices), rtol=1e-12)
    np.testing.assert_allclose(ours[:20], np.linalg.inv(matrices[:20]), rtol=1e-9)


@torch.no_grad()
def test_keypoints_are_where_the_map_is_brightest():
    config = replace(SMALL.detector, keypoints=1, temperature=0.01)
    detector = KeypointDetector(config).eval()
    nn.init.zeros_(detector.kp.weight)
    nn.init.zeros_(detector.kp.bias)
    detector.kp.weight[0, -3, 3, 3] = 10.0  # the red channel of the picture, as the hourglass keeps it
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, 0, 30:34, 14:18] = 1.0
    points = detector(picture).points[0, 0]
    # Cell 16 of rows and 8 of columns, of which 3 on each side see no whole neighbourhood.
    np.testing.assert_allclose(points, (2 * (8 - 3) / 25 - 1, 2 * (16 - 3) / 25 - 1), atol=1e-4)


@pytest.mark.parametrize("kind", ["each", "shared", "none"])
@torch.no_grad()
def test_jacobians_begin_as_identities(kind):
    detector = KeypointDetector(replace(SMALL.detector, jacobians=kind)).eval()
    parts = detector.detect(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(parts.keypoints.jacobians, torch.eye(2).expand(2, 3, 2, 2), atol=1e-6, rtol=0)
    assert (parts.jacobian_maps is None) == (kind == "none")
    if kind == "shared":
        assert parts.jacobian_maps.shape[1] == 4
        nn.init.normal_(detector.jacobian.weight, 0.0, 0.05)
        parts = detector.detect(torch.rand(1, 3, 64, 64))
        wanted = torch.einsum("bkhw,bjhw->bkj", parts.shares, parts.jacobian_maps).view(1, 3, 2, 2)
        torch.testing.assert_close(parts.keypoints.jacobians, wanted)


@pytest.mark.parametrize(("factor", "taps"), [(2, 5), (4, 13), (8, 29)])
def test_gaussian_of_a_factor(factor, taps):
    kernel = AntialiasedDownscale(2, factor).weight
    assert kernel.shape == (2, 1, taps, taps)
    assert float(kernel[1].sum()) == pytest.approx(1.0, abs=1e-6)
    if factor == 4:
        profile = (8.922e-05, 0.0010282, 0.0075974, 0.03599435, 0.10934117, 0.21296753, 0.26596427)
        np.testing.assert_allclose(kernel[0, 0].sum(0)[:7], profile, atol=1e-7)


def test_size_that_does_not_divide_is_named(random_first_order):
    model = random_first_order(SMALL, 0)
    with pytest.raises(ValueError, match="picture: 40x64 pixels; both sides must be divisible by 16"):
        model.encode(torch.rand(1, 3, 64, 40))
    with pytest.raises(ValueError, match="a map of 6x8; both sides must be divisible by 4"):
        Hourglass(3, SMALL_HOURGLASS)(torch.rand(1, 3, 8, 6))
