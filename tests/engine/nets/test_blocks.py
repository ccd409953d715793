import torch
from torch.nn import functional

from engine.nets.blocks import DownBlock, ResBlock, SameBlock, UpBlock


def keys(block: torch.nn.Module) -> set[str]:
    return {key for key in block.state_dict() if not key.endswith("num_batches_tracked")}


NORM = {"weight", "bias", "running_mean", "running_var"}


def test_same_down_and_up_have_the_published_keys_and_sizes():
    x = torch.rand(2, 3, 10, 7)
    for block, shape in (
        (SameBlock(3, 5, kernel_size=7), (2, 5, 10, 7)),
        (DownBlock(3, 5), (2, 5, 5, 3)),
        (UpBlock(3, 5), (2, 5, 20, 14)),
    ):
        assert keys(block) == {"conv.weight", "conv.bias", *(f"norm.{name}" for name in NORM)}
        assert block(x).shape == shape


def test_residual_block_has_a_convolution_around_only_where_widths_differ():
    same = {f"conv{i}.{name}" for i in (1, 2) for name in ("weight", "bias")}
    same |= {f"norm{i}.{name}" for i in (1, 2) for name in NORM}
    assert keys(ResBlock(4)) == same
    assert keys(ResBlock(4, 6)) == same | {"channel_conv.weight", "channel_conv.bias"}


def test_residual_block_takes_the_raw_input_around():
    torch.manual_seed(0)
    block = ResBlock(4, 6).double().eval()
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    # With the second convolution silenced only the way around is left, without norm or ReLU.
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    expected = functional.conv2d(x, block.channel_conv.weight, block.channel_conv.bias)
    torch.testing.assert_close(block(x), expected, atol=1e-14, rtol=0)


def test_up_repeats_pixels_and_down_averages_them():
    block = UpBlock(1, 1).eval()
    torch.nn.init.zeros_(block.conv.weight)
    torch.nn.init.zeros_(block.conv.bias)
    block.conv.weight.data[0, 0, 1, 1] = 1.0
    x = torch.rand(1, 1, 3, 3)
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(block(x), repeated / (1 + 1e-5) ** 0.5)
    down = DownBlock(1, 1).eval()
    down.conv.load_state_dict(block.conv.state_dict())
    torch.testing.assert_close(down(repeated), x / (1 + 1e-5) ** 0.5)
