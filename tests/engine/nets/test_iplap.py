"""IP-LAP's renderer: its published size and cost, and what it computes, beside a plain rendering of the formulas."""

import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.iplap import (  # noqa: E402
    AlignmentModule,
    IPLAPRenderer,
    References,
    RendererConfig,
    condition_of,
)
from engine.nets.iplap_blocks import SpadeBlock  # noqa: E402

SMALL = RendererConfig(side=32, shallow=4, deep=16, hidden=6, head=3, audio=2, shared=5)


@pytest.fixture(scope="module")
def network(random_network):
    return random_network(lambda: IPLAPRenderer(SMALL)).double()


@pytest.fixture(scope="module")
def inputs():
    """Face, drawings, three references and their drawings, mel; batch 2."""
    generator = torch.Generator().manual_seed(1)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    side = SMALL.side
    mel = 8 * uniform(2, 80, 16) - 4
    return (
        uniform(2, 3, side, side),
        uniform(2, 5, side, side),
        uniform(2, 3, 3, side, side),
        uniform(2, 3, side, side),
        mel,
    )


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return IPLAPRenderer().eval()


class TestPublished:
    """Full width, on the meta device: it costs neither memory nor time."""

    def test_parameters(self, full):
        count = lambda module: sum(parameter.numel() for parameter in module.parameters())  # noqa: E731
        assert count(full.flow_module) == 8_146_019
        assert count(full.translation) == 10_817_216
        assert count(full.translation.audio_encoder) == 2_812_672

    def test_multiply_accumulates(self, full):
        """30.69 for the drawings, 12.645 for each reference, 50.765 for the translation; 0.456 once a reference."""

        def gmac(function, *arguments):
            with FlopCounterMode(display=False) as counter:
                function(*arguments)
            return counter.get_total_flops() / 2e9

        with torch.device("meta"):
            face, sketches, mel = torch.zeros(1, 3, 128, 128), torch.zeros(1, 5, 128, 128), torch.zeros(1, 80, 16)
            cost = {}
            for count in (1, 3):
                pictures, own = torch.zeros(1, count, 3, 128, 128), torch.zeros(1, count, 128, 128)
                references = full.encode(pictures, own)
                cost[count] = gmac(full.encode, pictures, own), gmac(full.render, references, face, sketches, mel)
            drawings = gmac(full.flow_module.modulations, condition_of(sketches))
        assert cost[1][0] == pytest.approx(0.456, abs=5e-4)
        assert cost[3][0] == pytest.approx(3 * cost[1][0])
        assert drawings == pytest.approx(30.69, abs=5e-3)
        each = (cost[3][1] - cost[1][1]) / 2
        assert each == pytest.approx(12.645, abs=1e-3)
        assert cost[1][1] - each - drawings == pytest.approx(50.765, abs=5e-3)


def spade(layer, x, condition):
    """A layer as the specification has it."""
    hidden = functional.conv2d(condition, layer.conv1.weight, layer.conv1.bias, padding=1)
    gamma, beta = (functional.conv2d(hidden, one.weight, one.bias, padding=1) for one in (layer.gamma, layer.beta))
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
    normal = (x - mean) / torch.sqrt(variance + 1e-5)
    return normal + normal * gamma + beta


def spade_block(block, x, condition):
    x = block.conv_1(functional.leaky_relu(spade(block.spade_layer_1, x, condition), 0.2))
    return block.conv_2(functional.leaky_relu(spade(block.spade_layer_2, x, condition), 0.2))


def bilinear(maps, x, y):
    """(C, H, W) at pixel coordinates (h, w), 0 outside; pixel by pixel."""
    height, width = maps.shape[-2:]
    left, top = torch.floor(x).long(), torch.floor(y).long()
    total = torch.zeros(maps.shape[0], *x.shape, dtype=maps.dtype)
    for i in (0, 1):
        for j in (0, 1):
            column, row = left + i, top + j
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            picked = maps[:, row.clamp(0, height - 1), column.clamp(0, width - 1)]
            total = total + picked * (weight * inside)
    return total


@torch.no_grad()
def test_alignment_is_the_published_loop_over_references(network, inputs):
    """Nothing is shared there between references, and a sampled pixel is (x + flow) W / (W - 1) - 1/2."""
    module: AlignmentModule = network.flow_module
    _, sketches, pictures, own, _ = inputs
    condition = sketches.repeat_interleave(3, dim=1)
    half = functional.interpolate(condition, scale_factor=0.5, mode="nearest")
    side = SMALL.side
    columns = torch.arange(side, dtype=torch.float64)
    parts = []
    for r in range(3):
        x = torch.cat((pictures[:, r], own[:, r, None].repeat(1, 3, 1, 1)), dim=1)
        h1 = functional.relu(module.conv1_bn(module.conv1(x)))
        h2 = functional.relu(module.conv2_bn(module.conv2(h1)))
        x = spade_block(module.spade_layer_2, spade_block(module.spade_layer_1, h2, half), half)
        x = spade_block(module.spade_layer_4, functional.pixel_shuffle(x, 2), condition)
        flow, weight = module.conv_4(x), module.conv_5(x)
        ratio = side / (side - 1)
        at = [(columns[None] + flow[:, 0]) * ratio - 0.5, (columns[:, None] + flow[:, 1]) * ratio - 0.5]
        # In the map of half the size, whose pixels are twice as large; the grid is reduced, not the pixel places.
        small = [(functional.avg_pool2d(one[:, None], 2)[:, 0] + 0.5) / 2 - 0.5 for one in at]

        def warped(maps, where):
            return torch.stack([bilinear(maps[b], where[0][b], where[1][b]) for b in range(2)])

        parts.append((warped(h1, at), warped(h2, small), warped(pictures[:, r], at), weight))
    shallow, deep, picture, weights = (torch.stack(one) for one in zip(*parts, strict=True))
    small_weights = functional.interpolate(weights.flatten(0, 1), scale_factor=0.5, mode="nearest").unflatten(0, (3, 2))
    expected = (
        (weights * shallow).sum(0) / (1e-5 + weights.sum(0)),
        (small_weights * deep).sum(0) / (1e-5 + small_weights.sum(0)),
        (weights * picture).sum(0) / (1e-5 + weights.sum(0)),
    )
    aligned = module(network.encode(pictures, own), condition_of(sketches))
    for found, wanted in zip(aligned, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)


@torch.no_grad()
def test_translation_is_as_specified(network, inputs):
    module = network.translation
    face, sketches, pictures, own, mel = inputs
    aligned = network.flow_module(network.encode(pictures, own), condition_of(sketches))
    masked = face.clone()
    masked[:, :, SMALL.side // 2 :] = 0
    x = torch.cat((masked, sketches.repeat_interleave(3, dim=1)), dim=1)
    x = functional.relu(module.conv1_bn(module.conv1(x)))
    x = functional.relu(module.conv2_bn(module.conv2(x)))
    voice = module.audio_encoder(mel[:, None])[:, :, 0, 0]

    def adain(layer, x):
        shared = functional.relu(layer.mlp_shared[0](voice))
        gamma, beta = layer.mlp_gamma(shared)[..., None, None], layer.mlp_beta(shared)[..., None, None]
        return functional.instance_norm(x) * (1 + gamma) + beta

    def adain_block(block, x):
        x = block.conv_1(functional.leaky_relu(adain(block.adain_layer_1, x), 0.2))
        return block.conv_2(functional.leaky_relu(adain(block.adain_layer_2, x), 0.2))

    x = adain_block(module.adain_1, spade_block(module.spade_1, x, aligned.deep))
    x = spade_block(module.spade_2, functional.pixel_shuffle(x, 2), aligned.shallow)
    x = spade_block(module.spade_4, adain_block(module.adain_2, x), aligned.picture)
    expected = torch.sigmoid(module.conv_last(functional.leaky_relu(x, 0.01)))
    made, _ = network(*inputs)
    torch.testing.assert_close(made, expected, atol=1e-10, rtol=0)
    assert made.shape == face.shape
    assert made.std() > 0.01


@torch.no_grad()
def test_lower_half_is_not_looked_at_and_the_rest_is(network, inputs):
    face, *others = inputs
    made, _ = network(face, *others)
    lower, upper = face.clone(), face.clone()
    lower[:, :, 16:], upper[:, :, :16] = 0.3, 0.3
    assert torch.equal(network(lower, *others)[0], made)
    assert not torch.allclose(network(upper, *others)[0], made, atol=1e-4)
    for k in range(4):
        changed = [one.flip(0) if i == k else one for i, one in enumerate(others)]
        assert not torch.allclose(network(face, *changed)[0], made, atol=1e-5)


@torch.no_grad()
def test_order_of_references_does_not_matter_nor_do_equal_ones(network, inputs):
    face, sketches, pictures, own, mel = inputs
    made, warped = network(*inputs)
    order = [2, 0, 1]
    again, _ = network(face, sketches, pictures[:, order], own[:, order], mel)
    torch.testing.assert_close(again, made, atol=1e-10, rtol=0)
    alone, _ = network(face, sketches, pictures[:, :1], own[:, :1], mel)
    twice, _ = network(face, sketches, pictures[:, [0, 0]], own[:, [0, 0]], mel)
    torch.testing.assert_close(twice, alone, atol=1e-3, rtol=0)  # but for the 1e-5 beside the weights
    assert not torch.allclose(alone, made, atol=1e-4)
    assert warped.shape == face.shape


@torch.no_grad()
def test_encoding_once_is_exact(network, inputs):
    """One reference at a time, joined, is what all together make."""
    face, sketches, pictures, own, mel = inputs
    parts = [network.encode(pictures[:, [r]], own[:, [r]]) for r in range(3)]
    joined = References(*(torch.cat(one, dim=1) for one in zip(*parts, strict=True)))
    made, _ = network.render(joined, face, sketches, mel)
    torch.testing.assert_close(made, network(*inputs)[0], atol=1e-12, rtol=0)


def test_every_parameter_learns(network, inputs, random_network):
    network = random_network(lambda: IPLAPRenderer(SMALL)).double().train()
    made, warped = network(*inputs)
    (made.square().mean() + warped.square().mean()).backward()
    without = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.abs().max() > 0]
    # A bias in front of batch or instance norm makes no difference.
    assert not [name for name in without if not name.endswith("bias")]


def test_senseless_widths_are_refused():
    for wrong in ({"side": 65}, {"deep": 30}, {"shallow": 0}, {"shared": 0}):
        with pytest.raises(ValueError, match="expected"):
            RendererConfig(**wrong)


def test_spade_has_no_activation_inside():
    """Scale and shift are linear in the condition."""
    torch.manual_seed(0)
    block = SpadeBlock(4, 3, 5).double()
    a, b = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
    of = lambda condition: block.modulations(condition)[0].scale  # noqa: E731
    torch.testing.assert_close(of(a + b) + of(0 * a), of(a) + of(b))
