"""Rhythmic Head Motion's generator: its cost, its parts against plain torch, its references one by one and together."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork  # noqa: E402
from engine.nets.rhythmic_blocks import Modulation, PointConv, Spade, UpBlock  # noqa: E402
from engine.nets.rhythmic_composition import Warped, matted, warped  # noqa: E402
from engine.nets.rhythmic_discriminator import RhythmicDiscriminator  # noqa: E402
from engine.nets.rhythmic_embedding import LabelEmbedding, References, WeightGenerator  # noqa: E402
from engine.nets.rhythmic_weights import config_of, fill, load_network, normalised, save_network  # noqa: E402
from engine.nets.stored_weights import LayoutError  # noqa: E402

SMALL = RhythmicConfig(width=2, references=3, spare=False)
PLAIN = replace(SMALL, hybrid=False)
SIZE = 64


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gmac(function) -> float:
    """Multiply-adds of convolutions and matrix products, in billions."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 2e9


def pictures_of(config: RhythmicConfig, seed: int = 0, batch: int = 2):
    """References and their edges; target edges; reference and rendering with theirs. Double precision."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    n = config.references
    references = 2 * rand(batch, n, 3, SIZE, SIZE) - 1, rand(batch, n, 1, SIZE, SIZE).round()
    edges, *others = (rand(batch, 1, SIZE, SIZE).round() for _ in range(3))
    pictures = [2 * rand(batch, 3, SIZE, SIZE) - 1 for _ in range(2)]
    return references, (edges, pictures[0], others[0], pictures[1], others[1])


@pytest.fixture(scope="module", params=[SMALL, PLAIN], ids=["hybrid", "plain"])
def network(request, random_network):
    network = random_network(lambda: RhythmicNetwork(request.param), 0)
    with torch.no_grad():  # the predicted weights would else be so large that the picture is saturated
        for parameter in network.netG.weight_gen.parameters():
            parameter *= 0.3
        network.netG.conv_img.weight *= 0.01
    return network.double()


class TestCost:
    """As the specification's table has it, for 256 x 256 pixels and 8 references."""

    @pytest.fixture(autouse=True)
    def on_meta(self):
        with torch.device("meta"):
            yield

    @pytest.fixture
    def published(self, on_meta):
        return RhythmicNetwork().eval()

    def test_parameters(self, published):
        assert round(count(published) / 1e6, 2) == 107.92
        assert count(RhythmicNetwork(RhythmicConfig(hybrid=False))) == 104_493_441
        assert count(published.warp.flow_network_ref) == count(published.warp.flow_network_ani) == 7_864_963
        assert count(published.netG.atten_gen) == 186_240

    def test_once_per_identity(self, published):
        generator, edges = published.netG, torch.zeros(1, 8, 1, 256, 256)
        assert gmac(lambda: generator.atten_gen.keys(edges[:, 0])) == pytest.approx(0.62, abs=0.005)
        encoded = gmac(lambda: generator.encode(torch.zeros(1, 8, 3, 256, 256), edges))
        assert encoded == pytest.approx(54.8 + 8 * 0.623, abs=0.05)

    def test_per_frame(self, published):
        generator, edges, picture = published.netG, torch.zeros(1, 1, 256, 256), torch.zeros(1, 3, 256, 256)
        middle, low = torch.zeros(1, 128, 64, 64), torch.zeros(1, 1024, 8, 8)
        assert gmac(lambda: published.warp.flow_network_ref(edges, edges, picture)) == pytest.approx(11.93, abs=0.005)
        moved = Warped(picture, edges, torch.zeros(1, 2, 256, 256))
        assert gmac(lambda: published.img_ref_embedding(moved)) == pytest.approx(0.38, abs=0.005)
        assert gmac(lambda: generator.encoder(middle, middle)) == pytest.approx(1.81, abs=0.005)
        matrices = generator.comb_encoder(low, low)
        # The matrices of 1024 and 32 channels, and the units for the latter, which nothing needs, are left out.
        left_out = (64 * (1024**2 + 32**2) + 64 * 2 * 9 * 64 * 32) / 1e9
        assert gmac(lambda: generator.comb_encoder(low, low)) + left_out == pytest.approx(0.89, abs=0.005)
        assert gmac(lambda: generator.weight_gen(matrices)) == pytest.approx(1.69, abs=0.005)
        _, embeddings = generator.weight_gen(matrices)
        assert gmac(lambda: generator.label_embedding(edges, embeddings)) == pytest.approx(1.97, abs=0.005)
        references = generator.encode(torch.zeros(1, 8, 3, 256, 256), torch.zeros(1, 8, 1, 256, 256))
        whole = gmac(lambda: published.compose(references, edges, picture, edges, picture, edges))
        assert whole + left_out == pytest.approx(48.9, abs=0.05)


def test_references_one_by_one_are_those_encoded_together(network):
    """What each adds in its place is summed; the order of the references matters only where places have weights."""
    (pictures, edges), _ = pictures_of(network.config)
    generator, n = network.netG, network.config.references
    with torch.no_grad():
        together = generator.encode(pictures, edges)
        alone = [generator.encode_one(pictures[:, k], edges[:, k]) for k in range(n)]
    for k, (keys, picture, label, *by_slot) in enumerate(alone):
        torch.testing.assert_close(keys, together.keys[:, k])
        torch.testing.assert_close(picture, together.pictures[:, k])
        torch.testing.assert_close(label, together.labels[:, k])
        assert [one.shape[1] for one in by_slot] == ([n, n] if network.config.hybrid else [])
    if network.config.hybrid:
        own = [sum(one[3 + kind][:, k] for k, one in enumerate(alone)) for kind in (0, 1)]
        torch.testing.assert_close(own[0], together.own_pictures)
        torch.testing.assert_close(own[1], together.own_labels)
    else:
        assert together.own_pictures is None


def test_every_input_matters(network):
    """None is lost on the way: the frame changes with each, and with the references' order in the hybrid variant."""
    (pictures, reference_edges), inputs = pictures_of(network.config)
    others, other_inputs = pictures_of(network.config, seed=1)
    with torch.no_grad():
        references = network.netG.encode(pictures, reference_edges)
        frame = network.compose(references, *inputs).frame
        assert frame.shape == (2, 3, SIZE, SIZE)
        assert frame.abs().max() < 1
        assert frame.std() > 0.01
        for k in range(5):
            changed = [*inputs[:k], other_inputs[k], *inputs[k + 1 :]]
            assert (network.compose(references, *changed).frame - frame).abs().max() > 1e-4, k
        changed_references = [network.netG.encode(others[0], reference_edges), network.netG.encode(pictures, others[1])]
        for one in changed_references:
            assert (network.compose(one, *inputs).frame - frame).abs().max() > 1e-4
        turned = network.netG.encode(pictures.flip(1), reference_edges.flip(1))
        same = torch.allclose(network.compose(turned, *inputs).frame, frame, atol=1e-9)
        assert same != network.config.hybrid
        batch_of_one = network.compose(References(*(one if one is None else one[1:] for one in references)),
                                       *(one[1:] for one in inputs)).frame  # fmt: skip
        torch.testing.assert_close(batch_of_one, frame[1:])


def test_attention_prefers_the_reference_whose_edges_are_the_targets(network):
    """Softmax over references at each place: n equal ones have equal weights, which sum to 1."""
    attention = network.netG.atten_gen
    edges = torch.rand(1, 4, 1, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        keys = attention.keys(edges[0])[None]
        weights = attention(edges[:, 2], keys)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))
        equal = attention(edges[:, 2], keys[:, :1].expand(-1, 4, -1, -1, -1))
    assert weights.shape == (1, 4, 1, SIZE // 4, SIZE // 4)
    assert equal.unique().tolist() == [0.25]


def test_predicted_weights_are_split_as_published():
    """Rows of a level's matrix, one after the other: gamma's weights and biases, then beta's."""
    widths = SMALL.widths
    generator = WeightGenerator(widths, False).double()
    matrices = [torch.rand(2, width, width, dtype=torch.float64) for width in widths[1:5]]
    with torch.no_grad():
        blocks, embeddings = generator(matrices)
        for level, (block, embedding) in enumerate(zip(blocks, embeddings, strict=True)):
            below, width = widths[level : level + 2]
            rows = generator.get_submodule(f"fc_spade_s_{level}")(matrices[level])[1].flatten()
            assert rows.numel() == 2 * width * (below + 1)
            size = width * below
            torch.testing.assert_close(block.norm_s.gamma.weight[1], rows[:size].view(width, below))
            torch.testing.assert_close(block.norm_s.gamma.bias[1], rows[size : size + width])
            torch.testing.assert_close(block.norm_s.beta.bias[1], rows[-width:])
            assert block.norm_0.gamma.weight.shape == (2, width, below)
            assert block.norm_1.beta.weight.shape == (2, below, below)
            flat = generator.get_submodule(f"fc_spade_e_{level}")(matrices[level])[0].flatten()
            torch.testing.assert_close(embedding.weight[0].T, flat[:size].view(width, below))
            torch.testing.assert_close(embedding.bias[0], flat[size : size + below])


def test_label_embedding_spreads_by_a_transposed_convolution():
    """As torch's own, a sample at a time."""
    embedding = LabelEmbedding(SMALL.widths).double()
    torch.manual_seed(0)
    convolutions = [
        PointConv(torch.randn(2, below, width, dtype=torch.float64), torch.randn(2, below, dtype=torch.float64))
        for below, width in zip(SMALL.widths[:4], SMALL.widths[1:5], strict=True)
    ]
    with torch.no_grad():
        maps = embedding(torch.rand(2, 1, SIZE, SIZE, dtype=torch.float64), convolutions)
        assert [tuple(one.shape[1:]) for one in maps] == [
            (SMALL.widths[level], SIZE >> level, SIZE >> level) for level in range(6)
        ]
        for level, convolution in enumerate(convolutions):
            for b in range(2):
                kernel = convolution.weight[b].T[..., None, None]
                expected = functional.conv_transpose2d(
                    maps[level + 1][b : b + 1], kernel, convolution.bias[b], 2, output_padding=1
                )
                torch.testing.assert_close(maps[level][b : b + 1], expected)


def test_spade_modulates_by_each_condition_in_turn():
    torch.manual_seed(0)
    spade = Spade(4, (3, 2), predicted=True).double().eval()
    x, first = torch.randn(2, 4, 6, 6, dtype=torch.float64), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    second = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    gamma, beta = (
        PointConv(torch.randn(2, 4, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)) for _ in range(2)
    )
    with torch.no_grad():
        found = spade(x, (first, second), Modulation(gamma, beta))
        expected = (x - spade.batch_norm.running_mean[:, None, None]) / (1 + 1e-5) ** 0.5
        scale, shift = (
            torch.cat([functional.conv2d(first[b : b + 1], c.weight[b][..., None, None], c.bias[b]) for b in range(2)])
            for c in (gamma, beta)
        )
        expected = expected * (1 + scale) + shift
        larger = functional.interpolate(second, size=(6, 6), mode="bilinear", align_corners=False)
        expected = expected * (1 + spade.mlp_gamma2(larger)) + spade.mlp_beta2(larger)
    torch.testing.assert_close(found, expected)
    assert not hasattr(spade, "mlp_gamma")


def test_conditions_apart_are_averaged_after_activation():
    """Two equal conditions count as one; in front of the convolutions a difference of sign does not cancel."""
    torch.manual_seed(0)
    block = UpBlock(4, 4, (2, 2), predicted=False, apart=True, spectral_norm=False).double().eval()
    x, condition = torch.randn(1, 4, 8, 8, dtype=torch.float64), torch.randn(1, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        other = torch.randn_like(condition)
        both = block(x, (condition, other))
        normed = [functional.leaky_relu(block.get_submodule(f"bn_0_{k}")(x, (c,)), 0.2)
                  for k, c in enumerate((condition, other))]  # fmt: skip
        inner = block.conv_0((normed[0] + normed[1]) / 2)
        normed = [functional.leaky_relu(block.get_submodule(f"bn_1_{k}")(inner, (c,)), 0.2)
                  for k, c in enumerate((condition, other))]  # fmt: skip
        torch.testing.assert_close(both, x + block.conv_1((normed[0] + normed[1]) / 2))


class TestWarp:
    def test_follows_the_flow_but_for_the_published_half_pixel(self):
        """Column x shows column x + 3, of a picture enlarged by 64 / 63."""
        ramp = torch.linspace(0, 63, 64, dtype=torch.float64).expand(1, 3, 64, 64)
        flow = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
        flow[:, 0] = 3
        columns = torch.arange(64, dtype=torch.float64)
        expected = ((columns + 3) * 64 / 63 - 0.5).clamp(0, 63)
        torch.testing.assert_close(warped(ramp, flow)[0, 0, 31], expected)

    def test_repeats_the_border(self):
        picture = torch.rand(1, 3, 32, 32, dtype=torch.float64)
        far = warped(picture, torch.full((1, 2, 32, 32), 100.0, dtype=torch.float64))
        torch.testing.assert_close(far, picture[..., -1:, -1:].expand(-1, -1, 32, 32))

    def test_matting_lays_the_reference_over_all(self):
        drawn, a, b = (torch.full((1, 3, 2, 2), value) for value in (0.1, 0.5, 0.9))

        def at(picture, weight):
            return Warped(picture, torch.full((1, 1, 2, 2), weight), torch.zeros(1, 2, 2, 2))

        assert torch.equal(matted(drawn, at(a, 0.0), at(b, 0.0)), a)
        assert torch.equal(matted(drawn, at(a, 1.0), at(b, 0.0)), b)
        assert torch.equal(matted(drawn, at(a, 1.0), at(b, 1.0)), drawn)
        torch.testing.assert_close(matted(drawn, at(a, 0.5), at(b, 0.25)), torch.full((1, 3, 2, 2), 0.6))


class TestWeights:
    def test_normalised_network_is_the_same(self, tmp_path):
        """Divided by their spectra once for all, and stored."""
        torch.manual_seed(0)
        network = RhythmicNetwork(replace(SMALL, spectral=True)).eval()
        fill(network, normalised(network))  # else the spectra are guesses, as at the beginning of a training
        references, inputs = pictures_of(SMALL, batch=1)
        references, inputs = [x.float() for x in references], [x.float() for x in inputs]
        save_network(network, tmp_path / "rhythmic.safetensors")
        loaded = load_network(tmp_path / "rhythmic.safetensors")
        assert loaded.config == SMALL
        assert normalised(loaded) is loaded
        with torch.no_grad():
            frames = [one.compose(one.netG.encode(*references), *inputs).frame for one in (network, loaded)]
        torch.testing.assert_close(*frames, atol=1e-5, rtol=0)
        again = RhythmicNetwork(replace(SMALL, spectral=True)).eval()
        fill(again, loaded)
        with torch.no_grad():
            refilled = again.compose(again.netG.encode(*references), *inputs).frame
        torch.testing.assert_close(refilled, frames[0], atol=1e-2, rtol=0)

    def test_other_files_are_refused(self, tmp_path):
        path = tmp_path / "other.safetensors"
        path.write_bytes(b"no")
        with pytest.raises(LayoutError, match="not a safetensors file"):
            load_network(path)
        with pytest.raises(LayoutError, match=r"neither netG\.encoder nor netG\.image_encoder"):
            config_of({"netG.conv_img.weight": torch.zeros(1)})


def test_configurations_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="references: expected 2 to 64, got 1"):
        RhythmicConfig(references=1)
    with pytest.raises(ValueError, match="one of both"):
        RhythmicConfig(matting=False, nonlinear=False)


def test_discriminator_sees_all_that_belongs_to_a_picture():
    torch.manual_seed(0)
    discriminator = RhythmicDiscriminator(4).eval()
    inputs = [torch.rand(1, channels, 64, 64) for channels in (1, 3, 1, 3)]
    with torch.no_grad():
        features, scores = discriminator(*inputs)
        assert [one.shape[1] for one in features] == [4, 8, 16, 32, 64]
        assert scores.shape[:2] == (1, 1)
        for k in range(4):
            changed = [*inputs[:k], 1 - inputs[k], *inputs[k + 1 :]]
            assert (discriminator(*changed)[1] - scores).abs().max() > 1e-4
