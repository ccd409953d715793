"""The merged SPADE layers beside those that they are made of."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.export import export_network  # noqa: E402
from engine.generators.neural import NetworkSpec, TensorSpec  # noqa: E402
from engine.nets.iplap import IPLAPRenderer, RendererConfig  # noqa: E402
from engine.nets.iplap_blocks import SpadeLayer  # noqa: E402
from engine.nets.merged_modulation import MergedSpadeLayer, merged_for_inference, merging_pays  # noqa: E402


@torch.no_grad()
@pytest.mark.parametrize("shape", [(9, 12), (2, 2), (1, 5)])
def test_equal_everywhere_the_border_included(shape):
    torch.manual_seed(0)
    layer = SpadeLayer(4, 3, 16).double()
    condition = torch.randn(2, 3, *shape, dtype=torch.float64)
    grey = condition[:, :1].repeat(1, 3, 1, 1)
    for found, wanted in zip(MergedSpadeLayer(layer, 3).modulation(grey), layer.modulation(grey), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    for found, wanted in zip(MergedSpadeLayer(layer).modulation(condition), layer.modulation(condition), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@torch.no_grad()
def test_renderer_with_merged_layers_is_the_same(random_network):
    config = RendererConfig(side=32, shallow=4, deep=16, hidden=64, head=3, audio=1, shared=5)
    network = random_network(lambda: IPLAPRenderer(config)).double()
    merged = merged_for_inference(network)
    layers = [type(module) for module in merged.modules() if isinstance(module, (SpadeLayer, MergedSpadeLayer))]
    assert layers.count(MergedSpadeLayer) == 12
    inputs = torch.rand(1, 3, 32, 32), torch.rand(1, 5, 32, 32), torch.rand(1, 2, 3, 32, 32), torch.rand(1, 2, 32, 32)
    arguments = [one.double() for one in (*inputs, torch.rand(1, 80, 16))]
    for found, wanted in zip(merged(*arguments), network(*arguments), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)


@pytest.mark.slow
def test_exports(tmp_path):
    """`export_network` compares with torch, and refuses where they differ."""
    pytest.importorskip("onnx", reason="networks are exported with onnx (extra: export)")

    class Alone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = MergedSpadeLayer(SpadeLayer(4, 6, 16), repeats=3)

        def forward(self, condition):
            return self.layer.modulation(condition)

    shape = (4, 9, 12)
    spec = NetworkSpec(
        (TensorSpec("condition", (6, 9, 12), np.float32),),
        tuple(TensorSpec(name, shape, np.float32) for name in ("scale", "shift")),
    )
    grey = np.repeat(np.random.default_rng(0).random((2, 2, 9, 12), np.float32), 3, axis=1)
    exported = export_network(Alone(), spec, [{"condition": grey}], tmp_path / "layer.onnx")
    assert all(one.largest < 1e-5 for outputs in exported.deviations.values() for one in outputs.values())


def test_only_where_it_pays():
    """The published layers but those of 256 channels; not those of narrow networks."""
    assert merging_pays(SpadeLayer(64, 3, 256))
    assert merging_pays(SpadeLayer(256, 15, 256))
    assert not merging_pays(SpadeLayer(256, 256, 256))
    assert not merging_pays(SpadeLayer(32, 15, 32))
    assert merging_pays(SpadeLayer(32, 15, 32), repeats=3)


def test_published_cost_with_merged_layers():
    """1.6 GMAC for the drawings instead of 30.7, 32.5 for the translation instead of 50.8."""
    with torch.device("meta"):
        network = merged_for_inference(IPLAPRenderer())

    def gmac(function, *arguments):
        with FlopCounterMode(display=False) as counter:
            function(*arguments)
        return counter.get_total_flops() / 2e9

    with torch.device("meta"):
        references = network.encode(torch.zeros(1, 1, 3, 128, 128), torch.zeros(1, 1, 128, 128))
        drawings = gmac(network.flow_module.modulations, torch.zeros(1, 15, 128, 128))
        inputs = torch.zeros(1, 3, 128, 128), torch.zeros(1, 5, 128, 128), torch.zeros(1, 80, 16)
        whole = gmac(network.render, references, *inputs)
    assert drawings == pytest.approx(4.72 / 3, abs=0.1)
    assert whole - drawings - 12.645 == pytest.approx(32.46, abs=0.15)
