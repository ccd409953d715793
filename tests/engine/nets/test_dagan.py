"""Sizes, costs and special parts of DaGAN's networks: depth, the attention that it asks by, the SPADE decoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from engine.nets import depth_attention
from engine.nets.dagan import DaGANConfig, DaGANGenerator, DaGANModel, DetectHalf, EncodeHalf, RenderHalf
from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.depth_attention import DepthAttention, attend
from engine.nets.face_depth import FaceDepth, FaceDepthConfig, depth_of
from engine.nets.first_order import FirstOrderConfig
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from engine.nets.local_frames import frame_change
from engine.nets.patch_discriminator import DiscriminatorConfig, KeypointDiscriminator
from engine.nets.spade import Spade, SpadeDecoder, bake_spectral_norm

SMALL_HOURGLASS = HourglassConfig(width=4, limit=16, blocks=2)
WARP = FirstOrderConfig(
    detector=KeypointConfig(keypoints=3, channels=4, hourglass=SMALL_HOURGLASS),
    motion=DenseMotionConfig(hourglass=SMALL_HOURGLASS),
    width=8,
    limit=32,
    residual_blocks=1,
)
SMALL = DaGANConfig(WARP, FaceDepthConfig(width=8))
SMALL_SPADE = DaGANConfig(WARP, FaceDepthConfig(50, width=8), decoder="spade")


@pytest.fixture(scope="module")
def full_size():
    """The published models, of which nothing is computed but shapes: the paper's, and that with a SPADE decoder."""
    with torch.device("meta"):
        return DaGANModel().eval(), DaGANModel(DaGANConfig(depth=FaceDepthConfig(50), decoder="spade")).eval()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gmacs(work: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e9


def test_sizes_are_the_published_ones(full_size):
    model, spade = full_size
    generator = model.generator
    assert parameters(model.kp_detector) == 14_262_519
    assert parameters(generator) == 46_096_917
    assert parameters(generator.dense_motion_network) == 37_796_433
    assert parameters(generator.src_first) + parameters(generator.src_down_blocks) == 373_120
    assert parameters(generator.AttnModule) == 82_241
    assert parameters(model.depth.depth_encoder) == 11_176_512
    assert parameters(model.depth.depth_decoder) == 3_152_724
    assert parameters(spade.depth.depth_encoder) == 23_508_032
    assert parameters(spade.depth.depth_decoder) == 9_014_100
    assert parameters(spade.generator) == 67_545_305
    assert parameters(spade.generator.decoder) == 28_914_119
    with torch.device("meta"):
        assert parameters(KeypointDiscriminator(DiscriminatorConfig(keypoints=15))) == 2_774_209


def test_costs_are_the_published_ones_with_what_the_source_alone_decides_computed_once(full_size):
    model, spade = full_size
    picture = torch.empty(1, 3, 256, 256, device="meta")
    source, (points, jacobians) = model.encode(picture)
    generator, depth = model.generator, model.depth
    assert gmacs(lambda: depth.depth_encoder(picture)) == pytest.approx(2.369, abs=1e-3)
    assert gmacs(lambda: depth(picture)) == pytest.approx(2.369 + 1.897, abs=2e-3)  # with one disparity of four
    assert gmacs(lambda: depth.pyramid(picture)) == pytest.approx(2.369 + 1.905, abs=2e-3)
    assert gmacs(lambda: spade.depth.pyramid(picture)) == pytest.approx(5.338 + 3.491, abs=2e-3)
    # Gaussians are strided: 15 of 16 of their multiplications are left out.
    with_depth = torch.empty(1, 4, 256, 256, device="meta")
    assert gmacs(lambda: model.kp_detector(with_depth)) == pytest.approx(1.480 - 0.042, abs=1e-3)
    motion = gmacs(lambda: generator.dense_motion_network(source.view, points, jacobians))
    assert motion == pytest.approx(4.396 - 0.033, abs=1e-3)  # its Gaussian is part of `view`
    attention = gmacs(lambda: generator.AttnModule(source.queries, source.features))
    assert attention == pytest.approx(5.167 - 0.034, abs=1e-3)
    assert gmacs(lambda: generator.bottleneck(source.features)) == pytest.approx(28.991, abs=1e-3)
    assert gmacs(lambda: generator.enlarge(source.features)) == pytest.approx(10.280, abs=1e-3)
    assert gmacs(lambda: model.detect(picture)) == pytest.approx(5.75, abs=0.05)
    per_source = 2.369 + 1.897 + 1.438 + 10.280 + 9.869 + 0.034 + 0.002  # 26.0 less what is said above
    assert gmacs(lambda: model.encode(picture)) == pytest.approx(per_source, abs=3e-3)
    assert gmacs(lambda: generator.render(source, points, jacobians)) == pytest.approx(48.8, abs=0.05)
    assert gmacs(lambda: spade.generator.render(source, points, jacobians)) == pytest.approx(283, abs=0.5)
    assert source.queries.shape == (1, 32, 4096)


def test_attention_answers_as_plain_loops_do():
    random = np.random.default_rng(0)
    module = DepthAttention(16).double().eval()
    with torch.no_grad():
        module.gamma.fill_(0.7)
    depth, appearance = random.normal(size=(2, 1, 16, 3, 4))

    def projected(conv: nn.Conv2d, maps: np.ndarray) -> np.ndarray:
        weight, bias = conv.weight.detach().numpy()[:, :, 0, 0], conv.bias.detach().numpy()
        return np.maximum(weight @ maps[0].reshape(16, 12) + bias[:, None], 0)

    q, k, v = (
        projected(module.query_conv, depth),
        projected(module.key_conv, appearance),
        projected(module.value_conv, appearance),
    )
    wanted = appearance[0].reshape(16, 12).copy()
    for i in range(12):
        weights = np.array([np.exp(sum(q[c, i] * k[c, j] for c in range(2))) for j in range(12)])
        for j in range(12):
            wanted[:, i] += 0.7 * weights[j] / weights.sum() * v[:, j]
    with torch.no_grad():
        ours = module(module.queries(torch.from_numpy(depth)), torch.from_numpy(appearance))
    np.testing.assert_allclose(ours[0].numpy(), wanted.reshape(16, 3, 4), atol=1e-12)


def test_attention_is_the_same_in_parts_and_never_whole(monkeypatch):
    torch.manual_seed(0)
    queries, keys, values = torch.randn(2, 4, 50), torch.randn(2, 4, 50), torch.randn(2, 8, 50)
    whole = torch.softmax(queries.transpose(1, 2) @ keys, dim=-1) @ values.transpose(1, 2)
    monkeypatch.setattr(depth_attention, "QUERIES_AT_ONCE", 16)
    torch.testing.assert_close(attend(queries, keys, values), whole.transpose(1, 2))
    half = attend(queries.bfloat16(), keys.bfloat16(), values.bfloat16())
    assert half.dtype == torch.float32
    shapes = Shapes()
    with shapes:
        attend(queries, keys, values)
    assert max(shapes.sizes) < 2 * 50 * 50


class Shapes(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes how many numbers each result of an operation has."""

    def __init__(self):
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.sizes.append(result.numel())
        return result


def test_a_new_attention_leaves_the_appearance_as_it_is():
    module, appearance = DepthAttention(16), torch.randn(1, 16, 4, 4)
    torch.testing.assert_close(module(module.queries(torch.randn(1, 16, 4, 4)), appearance), appearance)


def test_disparity_stands_for_a_depth():
    disparity = np.array((0.0, 0.25, 0.5, 1.0))
    wanted = [1 / (1 / 100 + (1 / 0.1 - 1 / 100) * one) for one in disparity]
    np.testing.assert_allclose(depth_of(torch.from_numpy(disparity)), wanted)
    np.testing.assert_allclose(wanted, (100.0, 1 / 2.5075, 1 / 5.005, 0.1))
    np.testing.assert_allclose(depth_of(torch.tensor(0.5), nearest=1.0, farthest=2.0), 1 / 0.75)


@torch.no_grad()
def test_depth_network_goes_by_its_published_keys(random_network):
    network = random_network(lambda: FaceDepth(FaceDepthConfig(width=8)), 0).double()
    state = network.state_dict()
    picture = torch.rand(2, 3, 64, 96, dtype=torch.float64)

    def normed(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        entries = [state[f"depth_encoder.encoder.{name}.{key}"] for key in keys]
        return functional.batch_norm(x, *entries, eps=1e-5)

    def conv(x, name, stride=1):
        weight = state[f"depth_encoder.encoder.{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def block(x, name, stride):
        inner = normed(conv(x, f"{name}.conv1", stride), f"{name}.bn1").relu()
        inner = normed(conv(inner, f"{name}.conv2"), f"{name}.bn2")
        if f"depth_encoder.encoder.{name}.downsample.0.weight" in state:
            x = normed(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return (inner + x).relu()

    maps = [normed(conv((picture - 0.45) / 0.225, "conv1", 2), "bn1").relu()]
    x = functional.max_pool2d(maps[0], 3, 2, 1)
    for layer in range(1, 5):
        x = block(block(x, f"layer{layer}.0", 1 if layer == 1 else 2), f"layer{layer}.1", 1)
        maps.append(x)

    def mirrored(x, name):
        weight, bias = (state[f"depth_decoder.decoder.{name}.{key}"] for key in ("weight", "bias"))
        padded = torch.cat((x[:, :, 1:2], x, x[:, :, -2:-1]), dim=2)
        padded = torch.cat((padded[..., 1:2], padded, padded[..., -2:-1]), dim=3)
        return functional.conv2d(padded, weight, bias)

    def elu(x):
        return torch.where(x > 0, x, x.exp() - 1)

    pyramid = {}
    for number, level in enumerate((4, 3, 2, 1, 0)):
        x = elu(mirrored(x, f"{2 * number}.conv.conv")).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = torch.cat((x, maps[level - 1]), dim=1) if level else x
        x = elu(mirrored(x, f"{2 * number + 1}.conv.conv"))
        if level < 4:
            pyramid[level] = 1 / (1 + (-mirrored(x, f"{10 + level}.conv")).exp())
    torch.testing.assert_close(network(picture), pyramid[0], atol=1e-10, rtol=0)
    for level, disparity in enumerate(network.pyramid(picture)):
        torch.testing.assert_close(disparity, pyramid[level], atol=1e-10, rtol=0)
    assert 0 < float(pyramid[0].min()) < float(pyramid[0].max()) < 1


@torch.no_grad()
def test_spade_scales_and_shifts_every_pixel():
    torch.manual_seed(0)
    module = Spade(4, condition=7).double()
    x, condition = torch.randn(2, 4, 3, 5, dtype=torch.float64), torch.randn(2, 7, 6, 10, dtype=torch.float64)
    hidden = module.mlp_shared(condition[:, :, ::2, ::2])
    gamma, beta = module.mlp_gamma(hidden), module.mlp_beta(hidden)
    ours = module(x, condition)
    for item in range(2):
        for channel in range(4):
            one = x[item, channel]
            normal = (one - one.mean()) / (one.var(unbiased=False) + 1e-5).sqrt()
            wanted = normal * (1 + gamma[item, channel]) + beta[item, channel]
            torch.testing.assert_close(ours[item, channel], wanted, atol=1e-10, rtol=0)


@torch.no_grad()
def test_baked_decoder_is_the_same_without_its_spectra():
    torch.manual_seed(0)
    decoder = SpadeDecoder(32, width=4).eval()
    features, picture = torch.randn(1, 32, 8, 8), torch.rand(1, 3, 32, 32)
    baked = bake_spectral_norm(decoder)
    assert not [key for key in baked.state_dict() if "weight_" in key]
    assert [key for key in decoder.state_dict() if "weight_orig" in key]
    torch.testing.assert_close(baked(features, picture), decoder(features, picture), atol=1e-6, rtol=0)
    block = decoder.up_1
    assert block.conv_s is not None
    matrix = block.conv_s.weight_orig.flatten(1)
    spectrum = block.conv_s.weight_u @ matrix @ block.conv_s.weight_v
    torch.testing.assert_close(baked.up_1.conv_s.weight.flatten(1), matrix / spectrum)


@pytest.fixture(params=[SMALL, SMALL_SPADE], ids=["residual", "spade"])
def small_model(request, random_network):
    model = random_network(lambda: DaGANModel(request.param), 0)
    nn.init.normal_(model.kp_detector.jacobian.weight, 0.0, 0.01)
    attention = model.generator.AttnModule
    nn.init.constant_(attention.gamma, 0.5)
    # Queries that are not all 0, and logits that leave the softmax more than one choice.
    nn.init.uniform_(attention.query_conv.weight, 0.0, 0.05)
    nn.init.uniform_(attention.key_conv.weight, 0.0, 0.05)
    return model


@torch.no_grad()
def test_one_encoded_source_serves_many_frames(small_model):
    model = small_model.double()
    source, frames = torch.rand(1, 3, 64, 64, dtype=torch.float64), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    encoded, keypoints = model.encode(source)
    for frame in frames:
        (points, jacobians), disparity = model.detect(frame[None])
        rendered = model.generator.render(encoded, points, frame_change(keypoints.jacobians, jacobians))
        torch.testing.assert_close(rendered, model(source, frame[None]), atol=1e-12, rtol=0)
    assert (rendered.shape, disparity.shape) == ((1, 3, 64, 64), (1, 1, 64, 64))
    assert 0 <= float(rendered.min()) < float(rendered.max()) <= 1


@torch.no_grad()
def test_depth_of_the_source_reaches_the_frame_through_the_attention_alone(small_model):
    source = torch.rand(1, 3, 64, 64)
    (points, jacobians), disparity = small_model.detect(source)
    generator = small_model.generator
    matrices = frame_change(jacobians, jacobians)

    def rendered(of: torch.Tensor) -> torch.Tensor:
        return generator.render(generator.encode_with_depth(source, of, points), points + 0.1, matrices)

    assert float((rendered(disparity) - rendered(1 - disparity)).abs().max()) > 1e-5
    nn.init.zeros_(generator.AttnModule.gamma)
    torch.testing.assert_close(rendered(disparity), rendered(1 - disparity), atol=0, rtol=0)


@torch.no_grad()
def test_halves_are_graphs_of_fixed_shapes_that_agree_with_eager(small_model):
    frames = (255 * torch.rand(1, 64, 64, 3)).to(torch.uint8)
    *source, points, jacobians = EncodeHalf(small_model)(frames)
    others = DetectHalf(small_model)(255 - frames)
    inputs = (*source, points, others[0], frame_change(jacobians, others[1]))
    if not isinstance(small_model.generator, DaGANGenerator):
        inputs = (*inputs, frames)
    calls = ((DetectHalf, (frames,), 0), (EncodeHalf, (frames,), 0), (RenderHalf, inputs, 2))
    for half, arguments, samplers in calls:
        module = half(small_model).eval()
        graph = torch.export.export(module, arguments)
        used = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        assert not [name for name in used if "linalg" in name or "grid_sampler_3d" in name]
        pictures = 1 if half is RenderHalf and len(arguments) == 8 else 0  # the SPADE decoder's
        assert len([name for name in used if "grid_sampler" in name]) == samplers + pictures
        torch.testing.assert_close(graph.module()(*arguments), module(*arguments), atol=0, rtol=0)


def test_what_cannot_be_is_named(small_model):
    with pytest.raises(ValueError, match="picture: 64x48 pixels; for its depth both sides"):
        small_model.encode(torch.rand(1, 3, 48, 64))
    with pytest.raises(ValueError, match="for its depth both sides must be divisible by 32, at least 64"):
        small_model.depth(torch.rand(1, 3, 32, 64))
    with pytest.raises(ValueError, match="detector: 3 channels; colour and disparity are 4"):
        DaGANConfig(FirstOrderConfig())
    with pytest.raises(ValueError, match="layers: expected one of 18, 50, got 34"):
        FaceDepthConfig(34)
