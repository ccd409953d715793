"""LSR's networks: cost of the published ones, and what follows from their structure. That they compute what the layer
tables say, tests/engine/weights/importers/test_lsr.py shows on published names."""

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch (extra: torch)")

from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.lsr import PUBLISHED, Codes, LSRConfig, LSRDiscriminator, LSRNetwork, Prepared  # noqa: E402
from engine.nets.lsr_blocks import BlurPool  # noqa: E402
from engine.nets.lsr_halves import LSREncodeHalf, LSRRenderHalf, signed  # noqa: E402

SMALL = LSRConfig(size=64, width=4, limit=16, latent=12, hidden=8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LSRNetwork(SMALL).eval()


def pictures(count=3, size=64, dtype=torch.float32):
    torch.manual_seed(1)
    return tuple(2.0 * torch.rand(2, count, 3, size, size, dtype=dtype) - 1.0)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def gmac(function, *arguments):
    with FlopCounterMode(display=False) as counter:
        result = function(*arguments)
    return counter.get_total_flops() / 2e9, result


class TestPublished:
    """Without memory or time: on torch's meta device."""

    def test_parameters(self):
        with torch.device("meta"):
            network, discriminator = LSRNetwork(), LSRDiscriminator()
        assert parameters(network.layout_encoder) == parameters(network.style_encoder) == 14_334_080
        assert parameters(network.layout_generator) == 20_246_698
        assert parameters(network.image_generator) == 30_144_483
        assert parameters(network) == 79_059_341
        assert parameters(discriminator) == 19_044_481

    @torch.no_grad()
    def test_multiply_accumulates(self):
        """A picture 2 x 2.238 G, once; a frame 43.94 G, of which 0.016 do not depend on it."""
        with torch.device("meta"):
            network = LSRNetwork().eval()
            picture, contours = pictures(count=1, size=PUBLISHED.size)
        encoding, codes = gmac(network.encode, picture, contours)
        preparing, prepared = gmac(network.prepare, codes)
        layout, (logits, _) = gmac(network.layout, prepared.modulation, contours)
        image, frame = gmac(network.image_generator, prepared.start, logits)
        assert encoding / 2 == pytest.approx(2.238, abs=5e-4)
        assert preparing == pytest.approx(0.0035 + 0.0128, abs=1e-4)
        assert layout == pytest.approx(16.94, abs=5e-3)
        assert image == pytest.approx(26.98, abs=5e-3)
        assert layout + image + preparing == pytest.approx(43.94, abs=5e-3)
        assert logits.shape == (1, 19, 224, 224)
        assert frame.shape == (1, 3, 224, 224)
        assert prepared.start.shape == (1, 512, 7, 7)


@pytest.mark.parametrize("side", [8, 7])
def test_blur_begins_at_the_second_pixel_of_an_even_side_and_at_the_first_of_an_odd_one(side):
    x = torch.zeros(1, 2, side, side, dtype=torch.float64)
    x[0, 0, 1, 3] = 1.0
    blurred = BlurPool()(x)[0, 0]
    assert blurred.shape == (4, 4)
    row = (0.5, 0.0) if side == 8 else (0.25, 0.25)
    column = (0.0, 0.5, 0.0, 0.0) if side == 8 else (0.0, 0.25, 0.25, 0.0)
    torch.testing.assert_close(blurred[:2], torch.outer(torch.tensor(row), torch.tensor(column)).double())
    assert not blurred[2:].any()


@torch.no_grad()
def test_what_is_prepared_may_be_averaged_in_the_place_of_codes(network):
    codes = network.encode(*pictures())
    means = network.prepare(Codes(*(code.mean(dim=0, keepdim=True) for code in codes)))
    prepared = network.prepare(codes)
    for mean, each in zip(means, prepared, strict=True):
        torch.testing.assert_close(mean, each.mean(dim=0, keepdim=True), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_layout_follows_the_layout_code_and_the_picture_both(network):
    _, contours = pictures(2)
    codes = network.encode(*pictures(2))
    plain = network.render(network.prepare(codes), contours)
    styled = network.render(network.prepare(codes._replace(style=codes.style.flip(0))), contours)
    laid = network.render(network.prepare(codes._replace(layout=codes.layout.flip(0))), contours)
    torch.testing.assert_close(styled.logits, plain.logits)
    assert (styled.picture - plain.picture).abs().max() > 1e-3
    assert (laid.logits - plain.logits).abs().max() > 1e-3
    assert (laid.picture - plain.picture).abs().max() > 1e-3


@torch.no_grad()
def test_contours_may_lie_beside_the_layout():
    torch.manual_seed(0)
    network = LSRNetwork(LSRConfig(size=64, width=4, limit=16, latent=12, hidden=8, contours_in_spade=True)).eval()
    picture, contours = pictures(1)
    prepared = network.prepare(network.encode(picture, contours))
    frame = network.render(prepared, contours).picture
    condition = torch.cat((contours, functional.softmax(network.layout(prepared.modulation, contours)[0], 1)), 1)
    torch.testing.assert_close(frame, network.image_generator(prepared.start, condition))


def test_every_parameter_learns(network):
    picture, contours = pictures()
    network.zero_grad()
    drawn = network.render(network.prepare(network.encode(picture, contours)), contours.flip(0))
    (drawn.picture.square().mean() + network.layout(torch.zeros(3, 376), contours)[1].square().mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    torch.manual_seed(0)
    discriminator = LSRDiscriminator(SMALL)
    discriminator(picture, contours).sum().backward()
    assert [name for name, p in discriminator.named_parameters() if not p.grad.any()] == []


@torch.no_grad()
def test_halves_are_the_network_on_eight_bits(network):
    torch.manual_seed(2)
    frames, contours = torch.randint(0, 256, (2, 2, 64, 64, 3), dtype=torch.uint8)
    modulation, start = LSREncodeHalf(network)(frames, contours)
    prepared = network.prepare(network.encode(signed(frames), signed(contours)))
    torch.testing.assert_close(modulation, prepared.modulation, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(start, prepared.start, rtol=1e-4, atol=1e-4)
    rendered = LSRRenderHalf(network)(modulation, start, contours)
    expected = network.render(Prepared(modulation, start), signed(contours)).picture.permute(0, 2, 3, 1)
    assert rendered.dtype == torch.uint8
    assert rendered.float().std() > 1.0
    assert (rendered.float() - (127.5 + 127.5 * expected).clamp(0, 255)).abs().max() <= 0.51


def test_levels_are_minus_one_to_one():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 3, 1).expand(1, 1, 3, 3)
    torch.testing.assert_close(signed(levels)[0, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 100}, "a multiple of 32 from 64 on, got 100"),
        ({"size": 32}, "a multiple of 32"),
        ({"encoder_blocks": 7}, "from 1 to 6"),
        ({"width": 0}, "at least 1"),
        ({"classes": 1}, "at least 2"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        LSRConfig(**change)
