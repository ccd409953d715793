"""PRNet's network: its cost, and TensorFlow's paddings."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from engine.nets.position_map import PositionMapNetwork, Unit, UpUnit  # noqa: E402


def test_cost_is_the_published_one():
    with torch.device("meta"):
        network = PositionMapNetwork().eval()
        assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2) == 13.35
        with FlopCounterMode(display=False) as counter:
            shape = network(torch.zeros(1, 3, 256, 256)).shape
    assert counter.get_total_flops() / 2e9 == pytest.approx(4.1, abs=0.05)
    assert shape == (1, 3, 256, 256)


def test_map_is_from_0_to_1(random_network):
    network = random_network(lambda: PositionMapNetwork(2), 0)
    with torch.no_grad():
        found = network(torch.rand(1, 3, 256, 256))
    assert 0 < found.min() < found.max() < 1


def test_same_padding_is_tensorflows():
    """An even kernel has one more on the far side; and transposed, cuts off one more there."""
    for stride, places in ((1, [(2, 2)]), (2, [(1, 1)])):
        unit = Unit(1, 1, stride).eval()
        unit.conv.weight.data = torch.zeros(1, 1, 4, 4)
        unit.conv.weight.data[0, 0, 1, 1] = 1.0  # of an output at k, the input at stride k + 1 - pad before
        x = torch.zeros(1, 1, 6, 6)
        x[0, 0, 2, 2] = 1.0
        with torch.no_grad():
            found = unit(x)[0, 0].nonzero().tolist()
        assert found == [list(place) for place in places]
    for stride in (1, 2):
        unit = UpUnit(1, 1, stride).eval()
        x, kernel = torch.rand(1, 1, 6, 6), torch.rand(1, 1, 4, 4)
        unit.conv.weight.data = kernel
        with torch.no_grad():
            whole = functional.conv_transpose2d(x, kernel, None, stride) / (1 + 1e-5) ** 0.5
            torch.testing.assert_close(unit(x), whole[..., 1 : 1 + 6 * stride, 1 : 1 + 6 * stride])
