"""The networks of AdaAT against references that are written another way: three-dimensional sampling, plain loops, and a
forward pass over the state dict alone."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.nets.adaat import (
    FACE,
    PERSON,
    AdaAT,
    AdaATConfig,
    AdaATDiscriminator,
    AdaATNetwork,
    AdaIN,
    ChannelTransforms,
    EncodeHalf,
    RenderHalf,
    blend_channels,
    blend_matrix,
    fold_blend,
    transform_channels,
)

SMALL = AdaATConfig(divisor=32)
MANIFEST = Path(__file__).resolve().parents[4] / "shared" / "parity" / "manifests" / "adaat.json"


def operator(channels=6, code=4, seed=0, **options) -> AdaAT:
    torch.manual_seed(seed)
    made = AdaAT(code, channels, **options).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    return made


def volume_positions(transforms, channels, height, width):
    """(B, C, H, W, 3) x, y, z in [-1, 1]: the published operator samples the features as a volume there."""
    x = torch.linspace(-1, 1, width, dtype=torch.float64)[None, None, None, :]
    y = torch.linspace(-1, 1, height, dtype=torch.float64)[None, None, :, None]
    scale, angle, translation = transforms
    s, c = torch.sin(angle)[..., None, None], torch.cos(angle)[..., None, None]
    u = scale[..., None, None] * (x * c - y * s) + translation[..., 0, None, None]
    v = scale[..., None, None] * (x * s + y * c) + translation[..., 1, None, None]
    w = torch.linspace(-1, 1, channels, dtype=torch.float64)[None, :, None, None].expand_as(u)
    return torch.stack((u, v, w), dim=-1)


def trilinear_by_loops(volume, positions):
    """(C, H, W) of a (C, H, W) volume at (C, H, W, 3) positions, -1 and 1 at the outer edges, 0 outside."""
    sides = volume.shape[::-1]
    out = np.zeros(positions.shape[:3])
    for index in np.ndindex(*out.shape):
        place = [((positions[index][axis] + 1) * sides[axis] - 1) / 2 for axis in range(3)]
        total = 0.0
        for corner in np.ndindex(2, 2, 2):
            at = [math.floor(place[axis]) + corner[axis] for axis in range(3)]
            if all(0 <= at[axis] < sides[axis] for axis in range(3)):
                share = math.prod(1 - abs(place[axis] - at[axis]) for axis in range(3))
                total += share * volume[at[2], at[1], at[0]]
        out[index] = total
    return out


class TestOperator:
    @pytest.mark.parametrize("size", [(8, 8), (5, 7)], ids=str)
    @pytest.mark.parametrize("channels", [2, 5, 16])
    def test_equals_sampling_a_volume(self, size, channels):
        adaat = operator(channels)
        features = torch.randn(2, channels, *size, dtype=torch.float64)
        code = torch.randn(2, 4, dtype=torch.float64)
        positions = volume_positions(adaat.transforms(code), channels, *size)
        expected = functional.grid_sample(features[:, None], positions, align_corners=False)[:, 0]
        torch.testing.assert_close(adaat(features, code), expected, atol=1e-13, rtol=0)

    def test_equals_a_trilinear_loop(self):
        adaat = operator(channels=5)
        features, code = torch.randn(1, 5, 4, 6, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
        with torch.no_grad():
            positions = volume_positions(adaat.transforms(code), 5, 4, 6)
            moved = adaat(features, code)
        expected = trilinear_by_loops(features[0].numpy(), positions[0].numpy())
        np.testing.assert_allclose(moved[0].numpy(), expected, atol=1e-13)

    def test_code_becomes_scale_angle_and_translation(self):
        adaat, code = operator(channels=3), torch.randn(2, 4, dtype=torch.float64)
        state = adaat.state_dict()
        hidden = (code @ state["commn_linear.0.weight"].T + state["commn_linear.0.bias"]).clamp(min=0)
        linear = {name: hidden @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"] for name in FACTORS}
        scale, angle, translation = adaat.transforms(code)
        torch.testing.assert_close(scale, 2 / (1 + torch.exp(-linear["scale"])))
        torch.testing.assert_close(angle, 3.14159 * torch.tanh(linear["rotation"]))
        torch.testing.assert_close(translation[:, 1, 0], torch.tanh(linear["translation"][:, 2]))
        torch.testing.assert_close(translation[:, 1, 1], torch.tanh(linear["translation"][:, 3]))

    def test_blend_is_half_of_the_neighbour_at_the_ends_and_nothing_in_the_middle(self):
        matrix = blend_matrix(5, like=torch.zeros((), dtype=torch.float64))
        expected = torch.tensor(
            [[0.5, 0, 0, 0, 0], [0.25, 0.75, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0.75, 0.25], [0, 0, 0, 0, 0.5]],
            dtype=torch.float64,
        )
        torch.testing.assert_close(matrix, expected)

    def test_blending_equals_its_matrix_and_commutes_with_the_warp(self):
        torch.manual_seed(0)
        features = torch.randn(2, 6, 4, 5, dtype=torch.float64)
        matrix = blend_matrix(6, like=features)
        expected = torch.einsum("dc,bchw->bdhw", matrix, features)
        torch.testing.assert_close(blend_channels(features), expected, atol=1e-14, rtol=0)
        everywhere_the_same = ChannelTransforms(
            torch.full((2, 6), 0.8, dtype=torch.float64),
            torch.full((2, 6), 0.4, dtype=torch.float64),
            torch.full((2, 6, 2), 0.1, dtype=torch.float64),
        )
        before = transform_channels(blend_channels(features), everywhere_the_same)
        after = blend_channels(transform_channels(features, everywhere_the_same))
        torch.testing.assert_close(before, after, atol=1e-14, rtol=0)

    def test_without_the_blend_it_is_another_operator(self):
        published, plain = operator(channels=32), operator(channels=32, blend=False)
        features, code = torch.randn(1, 32, 16, 16, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
        difference = published(features, code) - plain(features, code)
        assert difference.square().mean().sqrt() > 0.2 * published(features, code).square().mean().sqrt()

    def test_aligned_corners_know_no_blend(self):
        adaat = operator(channels=5, align_corners=True)
        features, code = torch.randn(1, 5, 6, 4, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
        positions = volume_positions(adaat.transforms(code), 5, 6, 4)
        expected = functional.grid_sample(features[:, None], positions, align_corners=True)[:, 0]
        torch.testing.assert_close(adaat(features, code), expected, atol=1e-13, rtol=0)

    def test_scale_above_one_zooms_out_and_translation_looks_further_right(self):
        column = torch.zeros(1, 1, 9, 9)
        column[..., 6] = 1.0
        one, zero = torch.ones(1, 1), torch.zeros(1, 1)

        def brightest(scale, across):
            moved = transform_channels(column, ChannelTransforms(scale, zero, torch.tensor([[[across, 0.0]]])), True)
            return int(moved[0, 0, 4].argmax())

        assert brightest(one, 0.0) == 6
        assert brightest(2 * one, 0.0) == 5
        assert brightest(one, 0.25) == 5

    def test_coordinates_stay_in_float32_under_autocast(self):
        torch.manual_seed(0)
        adaat, code = AdaAT(4, 6).float(), torch.randn(1, 4)
        features = torch.randn(1, 6, 32, 32)
        expected = adaat(features, code)
        with torch.autocast("cpu", torch.bfloat16):
            assert adaat.transforms(code.bfloat16()).scale.dtype == torch.float32
            torch.testing.assert_close(adaat(features, code), expected)


FACTORS = ("scale", "rotation", "translation")


def test_adain_gives_the_code_s_mean_and_gain_over_the_unbiased_variance():
    torch.manual_seed(0)
    adain = AdaIN(4, 3).double()
    features, code = torch.randn(2, 3, 2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        hidden = functional.relu(adain.commn_linear[0](code)).numpy()
        out = adain(features, code).numpy()
    state = {key: value.numpy() for key, value in adain.state_dict().items()}
    for b, c in np.ndindex(2, 3):
        channel = features[b, c].numpy()
        mean = hidden[b] @ state["mean.weight"][c] + state["mean.bias"][c]
        gain = hidden[b] @ state["var.weight"][c] + state["var.bias"][c]
        normalised = (channel - channel.mean()) / np.sqrt(channel.var(ddof=1) + 1e-5)
        np.testing.assert_allclose(out[b, c], gain * normalised + mean, atol=1e-13)


def reference_forward(state, source, source_landmarks, target_landmarks, transform_blocks):
    """The published network as its layer table has it, on nothing but a state dict; float64."""

    def conv(x, key, padding):
        return functional.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=padding)

    def norm(x, key):
        values = (state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return functional.relu(functional.batch_norm(x, *values, training=False, eps=1e-5))

    def residual(x, key):
        inner = conv(norm(x, f"{key}.norm1"), f"{key}.conv1", 1)
        inner = conv(norm(inner, f"{key}.norm2"), f"{key}.conv2", 1)
        return inner + (conv(x, f"{key}.channel_conv", 0) if f"{key}.channel_conv.weight" in state else x)

    def down(x, key):
        return functional.avg_pool2d(norm(conv(x, f"{key}.conv", 1), f"{key}.norm"), 2)

    def gaussians(points):
        height, width = source.shape[-2:]
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, height, dtype=torch.float64),
            torch.linspace(-1, 1, width, dtype=torch.float64),
            indexing="ij",
        )
        distance = (torch.stack((x, y), -1) - points[:, :, None, None]).square().sum(-1)
        return torch.exp(-0.5 * distance / 0.01)

    def linear(x, key):
        return functional.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])

    def moved(x, code, key):
        hidden = linear(code, f"{key}.commn_linear.0").clamp(min=0)
        transforms = (
            2 * torch.sigmoid(linear(hidden, f"{key}.scale.0")),
            3.14159 * torch.tanh(linear(hidden, f"{key}.rotation.0")),
            torch.tanh(linear(hidden, f"{key}.translation.0")).reshape(len(code), -1, 2),
        )
        positions = volume_positions(transforms, *x.shape[1:])
        return functional.grid_sample(x[:, None], positions, align_corners=False)[:, 0]

    x = torch.cat((source, gaussians(source_landmarks), gaussians(target_landmarks)), dim=1)
    x = norm(conv(x, "appearance_encoder.0.in_conv.conv", 3), "appearance_encoder.0.in_conv.norm")
    for i in range(2):
        x = down(x, f"appearance_encoder.0.down_blocks.{i}")
    for i in range(1, 5):
        x = residual(x, f"appearance_encoder.{i}")
    code = x
    for i in range(transform_blocks):
        code = down(code, f"trans_encoder.{i}")
    code = code.mean((2, 3))
    for j in range(3):
        for i in range(6):
            x = residual(x, f"appearance_conv_list.{j}.{i}")
        if j < 2:
            x = moved(x, code, f"adaAT{j + 1}")
    hidden = linear(code, "adaAT3.commn_linear.0").clamp(min=0)
    deviation = (x.var((2, 3), correction=1, keepdim=True) + 1e-5).sqrt()
    x = (x - x.mean((2, 3), keepdim=True)) / deviation
    x = x * linear(hidden, "adaAT3.var")[..., None, None] + linear(hidden, "adaAT3.mean")[..., None, None]
    for i in range(4):
        x = residual(x, f"appearance_decoder.{i}")
    for i in range(2):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = norm(conv(x, f"appearance_decoder.4.up_blocks.{i}.conv", 1), f"appearance_decoder.4.up_blocks.{i}.norm")
    return torch.sigmoid(conv(x, "appearance_decoder.4.out_conv", 3))


def inputs(config, height, width, batch=2, dtype=torch.float64):
    torch.manual_seed(1)
    source = torch.rand(batch, 3, height, width, dtype=dtype)
    landmarks = 1.8 * torch.rand(2, batch, config.landmarks, 2, dtype=dtype) - 0.9
    return source, landmarks[0], landmarks[1]


class TestNetwork:
    @pytest.mark.parametrize(
        ("config", "size"),
        [(SMALL, (128, 128)), (AdaATConfig(landmarks=18, transform_blocks=4, divisor=32), (80, 68))],
        ids=["face", "person"],
    )
    @torch.no_grad()
    def test_equals_the_layer_table(self, random_adaat, config, size):
        network = random_adaat(config, 0).double()
        source, source_landmarks, target_landmarks = inputs(config, *size)
        expected = reference_forward(
            network.state_dict(), source, source_landmarks, target_landmarks, config.transform_blocks
        )
        predicted = network(source, source_landmarks, target_landmarks)
        assert predicted.std() > 0.1  # lively enough for a wrong detail to show
        torch.testing.assert_close(predicted, expected, atol=1e-11, rtol=0)

    @torch.no_grad()
    def test_folding_the_blend_changes_nothing(self, random_adaat):
        network = random_adaat(SMALL, 0).double()
        folded = fold_blend(network)
        picture = inputs(SMALL, 128, 128, batch=1)
        assert not folded.config.blend
        assert not folded.adaAT1.blend
        torch.testing.assert_close(folded(*picture), network(*picture), atol=1e-12, rtol=0)
        torch.testing.assert_close(fold_blend(folded)(*picture), folded(*picture), atol=0, rtol=0)

    @torch.no_grad()
    def test_halves_are_the_network_on_eight_bits(self, random_adaat):
        network = random_adaat(SMALL, 0)
        frames = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
        _, source_landmarks, target_landmarks = inputs(SMALL, 128, 128, dtype=torch.float32)
        rendered = RenderHalf(network)(EncodeHalf(network)(frames, source_landmarks), target_landmarks)
        predicted = network(frames.permute(0, 3, 1, 2) / 255, source_landmarks, target_landmarks)
        expected = (255 * predicted).round().permute(0, 2, 3, 1)
        assert rendered.dtype == torch.uint8
        assert (rendered.float() - expected).abs().max() <= 1

    def test_every_parameter_learns(self, random_adaat):
        network = random_adaat(SMALL, 0).train()
        network(*inputs(SMALL, 128, 128, batch=2, dtype=torch.float32)).std().backward()
        silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        # A bias before a batch norm is taken away by it; that one is not expected to learn.
        before_norm = [name for name in silent if not name.endswith(("conv.bias", "conv1.bias"))]
        assert before_norm == []

    @pytest.mark.parametrize("size", [(126, 128), (128, 124), (64, 256)], ids=str)
    def test_sizes_it_cannot_do_are_refused(self, size):
        with torch.device("meta"):
            network, picture = AdaATNetwork(SMALL), torch.rand(1, 3, *size)
        with pytest.raises(ValueError, match="divisible by 4 and at least 128"):
            network.encode(picture, torch.zeros(1, 68, 2, device="meta"))

    def test_divisor_divides_every_width(self):
        with torch.device("meta"):
            full, eighth = AdaATNetwork(FACE).state_dict(), AdaATNetwork(AdaATConfig(divisor=8)).state_dict()
        assert eighth["appearance_encoder.0.in_conv.conv.weight"].shape == (8, 139, 7, 7)
        assert eighth["adaAT1.translation.0.weight"].shape == (128, 32)
        assert list(full) == list(eighth)
        with pytest.raises(ValueError, match="divisor of 64"):
            AdaATConfig(divisor=3)


PUBLISHED_KEYS = {
    "appearance_encoder.0.in_conv.conv.weight": (64, 139, 7, 7),
    "appearance_encoder.0.in_conv.norm.running_var": (64,),
    "appearance_encoder.0.down_blocks.1.conv.weight": (256, 128, 3, 3),
    "appearance_encoder.3.channel_conv.weight": (512, 256, 1, 1),
    "appearance_encoder.4.norm2.bias": (512,),
    "trans_encoder.4.conv.weight": (256, 256, 3, 3),
    "appearance_conv_list.2.5.conv2.weight": (512, 256, 3, 3),
    "adaAT1.commn_linear.0.weight": (256, 256),
    "adaAT2.rotation.0.bias": (512,),
    "adaAT2.translation.0.weight": (1024, 256),
    "adaAT3.var.weight": (512, 256),
    "appearance_decoder.1.channel_conv.weight": (256, 512, 1, 1),
    "appearance_decoder.4.up_blocks.1.conv.weight": (64, 128, 3, 3),
    "appearance_decoder.4.out_conv.weight": (3, 64, 7, 7),
}


def shapes(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


class TestPublishedLayout:
    def test_face_and_person_module_have_the_published_size(self):
        with torch.device("meta"):
            face, person = AdaATNetwork(FACE), AdaATNetwork(PERSON)
        assert {key: shapes(face)[key] for key in PUBLISHED_KEYS} == PUBLISHED_KEYS
        assert (len(shapes(face)), parameters(face)) == (474, 56_886_531)
        assert (len(shapes(person)), parameters(person)) == (467, 55_982_339)

    @pytest.mark.parametrize(("name", "config"), [("face_68", FACE), ("person_18", PERSON)])
    def test_every_key_and_shape_is_the_published_one(self, name, config):
        if not MANIFEST.is_file():
            pytest.skip(f"no list of the published keys at {MANIFEST}")
        published = {key: tuple(shape) for key, shape in json.loads(MANIFEST.read_text())[name].items()}
        with torch.device("meta"):
            assert shapes(AdaATNetwork(config)) == published


class TestDiscriminator:
    def test_has_the_published_size_and_no_normalisation(self):
        with torch.device("meta"):
            face, person = AdaATDiscriminator(FACE), AdaATDiscriminator(PERSON)
        assert (parameters(face), parameters(person)) == (2_768_001, 2_665_601)
        assert set(shapes(face)) == {
            *(f"down_blocks.{i}.conv.{name}" for i in range(4) for name in ("weight", "bias")),
            *("conv.weight", "conv.bias"),
        }

    @torch.no_grad()
    def test_scores_patches_and_sees_the_landmarks(self):
        torch.manual_seed(0)
        discriminator = AdaATDiscriminator(SMALL)
        image, landmarks = torch.rand(1, 3, 256, 256), torch.zeros(1, 68, 2)
        features, scores = discriminator(image, landmarks)
        assert [tuple(x.shape[1:]) for x in features] == [(4, 126, 126), (8, 61, 61), (8, 29, 29), (8, 26, 26)]
        assert scores.shape == (1, 1, 26, 26)
        assert not torch.equal(scores, discriminator(image, landmarks + 0.3)[1])
