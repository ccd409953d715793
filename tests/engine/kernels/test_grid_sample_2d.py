import mmap
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.kernels.grid_sample_2d import grid_sample_2d
from engine.kernels.grid_sample_2d_reference import grid_sample_2d_reference

TOLERANCE = {
    torch.float32: {"atol": 2e-5, "rtol": 1e-5},
    torch.float16: {"atol": 1e-3, "rtol": 1e-3},
    torch.bfloat16: {"atol": 8e-3, "rtol": 8e-3},
}
SHAPES = {  # maps, then height and width of the samples
    "odd": ((2, 3, 17, 31), (9, 37)),
    "packs": ((2, 24, 6, 5), (7, 3)),
    "chunks": ((1, 40, 5, 4), (2, 33)),
    "one pixel": ((3, 2, 1, 1), (2, 2)),
    "one sample": ((1, 8, 4, 9), (1, 1)),
}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
options = pytest.mark.parametrize(
    ("padding", "align_corners"), [("zeros", False), ("zeros", True), ("border", False), ("border", True)]
)


def random_maps(shape, dtype=torch.float32, layout=torch.contiguous_format):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values.to(dtype).contiguous(memory_format=layout)


def random_grid(batch, size):
    """A third of it outside, and what is no place at all."""
    grid = torch.rand((batch, *size, 2), generator=torch.Generator().manual_seed(1)) * 3.0 - 1.5
    nowhere = torch.tensor([float("nan"), float("inf"), float("-inf"), 1.0, -1.0, 1e30, -1e30, 2.2e9, -2.2e9])
    places = grid.view(-1)
    number = min(len(nowhere), len(places) // 3)
    places[: 3 * number : 3] = nowhere[:number]
    return grid


@options
@layouts
@dtypes
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernel_equals_reference(target, shape, dtype, layout, padding, align_corners):
    maps, grid = random_maps(shape[0], dtype, layout), random_grid(shape[0][0], shape[1])
    sampled = target.run(grid_sample_2d, maps, grid, padding, align_corners)
    assert sampled.dtype == dtype
    expected = grid_sample_2d_reference(maps, grid, padding, align_corners)
    torch.testing.assert_close(sampled, expected, **TOLERANCE[dtype])


@options
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_reference_equals_torch(shape, padding, align_corners):
    maps = random_maps(shape[0]).double()
    grid = random_grid(shape[0][0], shape[1]).nan_to_num(nan=0.3, posinf=7.0, neginf=-7.0).clamp(-1e3, 1e3).double()
    expected = functional.grid_sample(maps, grid, padding_mode=padding, align_corners=align_corners)
    torch.testing.assert_close(grid_sample_2d_reference(maps, grid, padding, align_corners), expected)


def test_no_place_is_outside_or_the_first_pixel(target):
    maps, grid = random_maps((1, 2, 3, 4)), torch.full((1, 1, 1, 2), float("nan"))
    assert target.run(grid_sample_2d, maps, grid, "zeros").tolist() == [[[[0.0]], [[0.0]]]]
    assert torch.equal(target.run(grid_sample_2d, maps, grid, "border")[0, :, 0, 0], maps[0, :, 0, 0])


@layouts
def test_strides_are_followed(target, layout):
    maps = random_maps((4, 12, 9, 14)).contiguous(memory_format=layout)[::2, 1:9:2, ::2, 3:]
    grid = random_grid(2, (5, 6)).permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)[:, :, ::2]
    torch.testing.assert_close(
        target.run(grid_sample_2d, maps, grid), grid_sample_2d_reference(maps, grid), **TOLERANCE[torch.float32]
    )


def test_maps_that_lie_on_odd_addresses_are_not_read_in_packs(target):
    storage = random_maps((1, 16 * 16 * 8 + 1), torch.float16)[0]
    maps = storage[1:].view(1, 16, 16, 8).permute(0, 3, 1, 2)
    grid = random_grid(1, (4, 4))
    torch.testing.assert_close(
        target.run(grid_sample_2d, maps, grid), grid_sample_2d_reference(maps, grid), **TOLERANCE[torch.float16]
    )


def test_one_map_serves_a_batch_without_a_copy(target):
    maps, grid = random_maps((1, 3, 6, 6)).expand(5, -1, -1, -1), random_grid(5, (4, 4))
    torch.testing.assert_close(
        target.run(grid_sample_2d, maps, grid), grid_sample_2d_reference(maps, grid), **TOLERANCE[torch.float32]
    )


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_what_is_outside_is_not_read(target, padding):
    maps = torch.full((1, 1, 3, 3), float("inf"))
    maps[..., 2] = 1.0
    grid = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    assert target.run(grid_sample_2d, maps, grid, padding, True).item() == 1.0


@pytest.mark.parametrize(("batch", "size"), [(0, (2, 2)), (2, (0, 3)), (2, (3, 0))])
def test_no_samples(target, batch, size):
    sampled = target.run(grid_sample_2d, torch.ones(batch, 3, 4, 5), torch.zeros(batch, *size, 2))
    assert sampled.shape == (batch, 3, *size)


def test_more_maps_than_blocks(target):
    maps, grid = random_maps((70_001, 1, 1, 1)), torch.zeros(70_001, 1, 1, 2)
    assert torch.equal(target.run(grid_sample_2d, maps, grid), maps)


def test_offsets_beyond_32_bits(host):
    if sys.platform != "linux":
        pytest.skip("takes 16 GiB of addresses without memory behind them as Linux gives them")
    # The number of MAP_NORESERVE, which mmap has no name for before Python 3.13.
    memory = mmap.mmap(-1, 2 * (2**33 + 16), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    storage = torch.from_numpy(np.frombuffer(memory, np.float16))
    maps = storage.as_strided((1, 2, 2, 2), (2**33, 2**32, 2**31, 3))
    maps.copy_(random_maps((1, 2, 2, 2), torch.float16))
    grid = random_grid(1, (3, 3))
    sampled = grid_sample_2d(maps, grid, "border", launcher=host)
    torch.testing.assert_close(
        sampled, grid_sample_2d_reference(maps.contiguous(), grid, "border"), **TOLERANCE[torch.float16]
    )


def test_tensors_on_the_processor_get_the_reference():
    maps, grid = random_maps((1, 2, 5, 5)).double(), random_grid(1, (3, 3)).double()
    assert torch.equal(grid_sample_2d(maps, grid), grid_sample_2d_reference(maps, grid))


@pytest.mark.parametrize(
    ("maps", "grid", "padding", "words"),
    [
        ((2, 3, 4, 4), (1, 2, 2, 2), "zeros", "expected"),
        ((1, 3, 4, 4), (1, 2, 2, 3), "zeros", "expected"),
        ((1, 3, 4), (1, 2, 2, 2), "zeros", "expected"),
        ((1, 3, 0, 4), (1, 2, 2, 2), "zeros", "at least one"),
        ((1, 3, 4, 4), (1, 2, 2, 2), "reflection", "'zeros' or 'border'"),
    ],
)
def test_what_does_not_fit_is_refused(maps, grid, padding, words):
    with pytest.raises(ValueError, match=words):
        grid_sample_2d(torch.zeros(maps), torch.zeros(grid), padding)


def test_type_without_a_kernel_is_named(host):
    with pytest.raises(ValueError, match="no kernel for float64; it takes float32"):
        grid_sample_2d(torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.zeros(1, 1, 1, 2), launcher=host)
