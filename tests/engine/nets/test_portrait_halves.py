"""The halves of `portrait`, as they are exported, and its windows' networks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from safetensors.torch import save_file  # noqa: E402

from engine.generators.portrait import PortraitGenerator  # noqa: E402
from engine.nets.portrait_details import DetailConfig, DetailEncoder, DetailRenderer  # noqa: E402
from engine.nets.portrait_halves import load_portrait, portrait_networks  # noqa: E402


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return portrait_networks().eval()


def arguments(specs, rng, batch=2, sources=2):
    """Random inputs of the shapes and types that a specification states."""
    tensors = []
    for entry in specs:
        shape = (batch, *(sources if side == "sources" else side for side in entry.shape))
        if entry.dtype is np.uint8:
            tensors.append(torch.from_numpy(rng.integers(0, 256, shape, np.uint8)))
        else:
            tensors.append(torch.from_numpy(rng.uniform(0, 0.5, shape).astype(entry.dtype)))
    return tensors


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("half", ["encode", "render"])
@torch.no_grad()
def test_the_halves_keep_to_the_generators_specification(networks, size, half):
    spec = PortraitGenerator(size).network_specs()[half]
    outputs = networks[half](*arguments(spec.inputs, np.random.default_rng(0)))
    assert len(outputs) == len(spec.outputs)
    for output, entry in zip(outputs, spec.outputs, strict=True):
        assert tuple(output.shape) == (2, *entry.shape)
        assert output.numpy().dtype == entry.dtype


@pytest.mark.parametrize("scale", [1, 2])
@torch.no_grad()
def test_an_untrained_window_shows_what_the_mesh_drew(scale):
    torch.manual_seed(0)
    config, side = DetailConfig(), 64
    encoder, renderer = DetailEncoder(config, side).eval(), DetailRenderer(config, side).eval()
    coarse = torch.rand(3, 4, 8, 8) * 255
    size = side * scale
    picture = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    drawn = picture.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    parts = renderer.compose(drawn, drawn.flip(0), encoder(drawn))
    torch.testing.assert_close(parts.drawn, drawn[..., :3].permute(0, 3, 1, 2) / 255, atol=1e-4, rtol=0)
    torch.testing.assert_close(parts.masks.sum(dim=1), torch.ones(3, size, size))
    assert (parts.frame - parts.drawn).abs().mean() < 0.05


def test_weights_are_read_back_and_foreign_ones_refused(networks, tmp_path):
    path = tmp_path / "portrait.safetensors"
    save_file({name: value.half() for name, value in networks.state_dict().items()}, path)
    for name, value in load_portrait(path).state_dict().items():
        torch.testing.assert_close(value, networks.state_dict()[name], atol=1e-3, rtol=1e-3)
    save_file({"other.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not the weights of this version's portrait networks"):
        load_portrait(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not the weights"):
        load_portrait(path)
