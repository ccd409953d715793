"""The networks of `portrait`."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from torch import nn  # noqa: E402

from engine.nets.portrait import (  # noqa: E402
    INNER,
    MASKS,
    SHADE_UNIT,
    WARPED_LOGIT,
    ChannelAffine,
    PortraitConfig,
    PortraitEncoder,
    PortraitRenderer,
)
from engine.nets.portrait_dimensions import FEATURES, GRID  # noqa: E402


def inputs(size, sources=1, batch=1, seed=0):
    """A smooth picture that was not moved: `drawn`, `source`, `place`, `weight`."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (batch, 4, 8, 8)).astype(np.float32))
    picture = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    drawn = picture.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    steps = (2 * torch.arange(GRID) + 1) / GRID - 1
    own = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    place = own.expand(batch, sources, GRID, GRID, 2).contiguous()
    return drawn, drawn[..., :3].contiguous(), place, torch.full((batch, sources, GRID, GRID), 1 / sources)


def untrained(seed=0):
    torch.manual_seed(seed)
    config = PortraitConfig()
    return nn.ModuleDict({"encode": PortraitEncoder(config), "render": PortraitRenderer(config)}).eval()


@pytest.fixture(scope="module")
def networks():
    return untrained()


@pytest.mark.parametrize("size", [256, 512])
@torch.no_grad()
def test_untrained_it_shows_what_the_mesh_drew(networks, size):
    drawn, source, place, weight = inputs(size)
    features = networks["encode"](drawn)[:, None]
    assert features.shape == (1, 1, FEATURES, GRID, GRID)
    parts = networks["render"].compose(drawn, source, features, place, weight)
    assert (parts.flow == 0).all()
    picture = drawn[..., :3].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(parts.source, picture, atol=0.02, rtol=0)
    torch.testing.assert_close(parts.masks.sum(dim=1), torch.ones(1, INNER, INNER))
    assert (parts.frame - picture).abs().mean() < 0.05


@pytest.mark.parametrize("size", [256, 512])
@torch.no_grad()
def test_what_it_leaves_alone_stays_as_it_was_drawn(size):
    """To the last level, at any size: neither resampled nor mixed."""
    networks = untrained()
    networks["render"].out.bias[MASKS.start] = 10 * WARPED_LOGIT
    drawn, source, place, weight = inputs(size)
    features = networks["encode"](drawn)[:, None]
    frame = networks["render"](drawn, 255 - source, features, 0.9 * place, weight)
    torch.testing.assert_close(frame, drawn[..., :3].permute(0, 3, 1, 2) / 255, atol=1e-5, rtol=0)


@torch.no_grad()
def test_shading_adds_without_touching_detail():
    networks = untrained()
    networks["render"].out.bias[MASKS.start] = 10 * WARPED_LOGIT
    networks["render"].out.bias[3:6] = torch.tensor([20.0, -20.0, 0.0])
    drawn, source, place, weight = inputs(256)
    frame = networks["render"](drawn, source, networks["encode"](drawn)[:, None], place, weight)
    added = frame - drawn[..., :3].permute(0, 3, 1, 2) / 255
    for channel, expected in enumerate((SHADE_UNIT, -SHADE_UNIT, 0.0)):
        torch.testing.assert_close(added[:, channel], torch.full_like(added[:, 0], expected), atol=1e-5, rtol=0)


@torch.no_grad()
def test_equal_sources_count_as_one(networks):
    drawn, source, place, weight = inputs(256)
    features = networks["encode"](drawn)[:, None]
    one = networks["render"].compose(drawn, source, features, place, weight).frame
    _, _, places, weights = inputs(256, sources=3)
    three = networks["render"].compose(drawn, source, features.expand(-1, 3, -1, -1, -1), places, weights).frame
    torch.testing.assert_close(one, three, atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_of_a_batch_do_not_meet(networks):
    drawn, source, place, weight = inputs(256, batch=2)
    features = networks["encode"](drawn)[:, None]
    both = networks["render"].compose(drawn, source, features, place, weight).frame
    second = networks["render"].compose(drawn[1:], source[1:], features[1:], place[1:], weight[1:]).frame
    torch.testing.assert_close(both[1:], second, atol=1e-5, rtol=0)


def test_every_weight_gets_a_gradient():
    networks = untrained(seed=1)
    for name in ("flow", "out"):  # zero at the start, so that nothing before them would
        torch.nn.init.normal_(getattr(networks["render"], name).weight, std=0.1)
    torch.nn.init.normal_(networks["render"].transform.parameters_of.weight, std=0.1)
    drawn, source, place, weight = inputs(256)
    parts = networks["render"].compose(drawn, source, networks["encode"](drawn)[:, None], place * 0.9, weight)
    (parts.frame - 0.3).square().mean().backward()
    without = [name for name, p in networks.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@torch.no_grad()
def test_channels_are_transformed_each_by_its_own():
    """One channel turned by a half turn, one moved by half the map, the third left alone: compared by hand."""
    operator = ChannelAffine(code=2, channels=3)
    bias = operator.parameters_of.bias.view(4, 3)
    bias[1, 0] = 20.0  # tanh of it is 1: the angle is pi
    bias[2, 1] = float(np.arctanh(0.5))
    features = torch.rand(2, 3, 8, 8)
    out = operator(torch.rand(2, 2, 4, 4), features)
    torch.testing.assert_close(out[:, 0], features[:, 0].flip((1, 2)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[:, 1, :, :6], features[:, 1, :, 2:], atol=1e-5, rtol=0)
    assert (out[:, 1, :, 6:] == 0).all()
    torch.testing.assert_close(out[:, 2], features[:, 2], atol=1e-5, rtol=0)
