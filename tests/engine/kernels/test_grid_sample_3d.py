import pytest
import torch
from torch.nn import functional

from engine.kernels.grid_sample_3d import grid_sample_3d
from engine.kernels.grid_sample_3d_reference import grid_sample_3d_reference

TOLERANCE = {
    torch.float32: {"atol": 2e-5, "rtol": 1e-5},
    torch.float16: {"atol": 1e-3, "rtol": 1e-3},
    torch.bfloat16: {"atol": 8e-3, "rtol": 8e-3},
}
SHAPES = {  # volumes, then depth, height and width of the samples
    "odd": ((2, 3, 5, 7, 11), (3, 5, 9)),
    "packs": ((1, 16, 4, 3, 5), (2, 3, 3)),
    "one voxel": ((2, 2, 1, 1, 1), (1, 2, 2)),
    "AdaAT's": ((2, 1, 9, 6, 6), (9, 6, 6)),
}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=["ncdhw", "ndhwc"])
options = pytest.mark.parametrize(
    ("padding", "align_corners"), [("zeros", False), ("zeros", True), ("border", False), ("border", True)]
)


def random_volumes(shape, dtype=torch.float32, layout=torch.contiguous_format):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values.to(dtype).contiguous(memory_format=layout)


def random_grid(batch, size):
    grid = torch.rand((batch, *size, 3), generator=torch.Generator().manual_seed(1)) * 3.0 - 1.5
    nowhere = torch.tensor([float("nan"), float("inf"), float("-inf"), 1.0, -1.0, 1e30, -1e30])
    places = grid.view(-1)
    number = min(len(nowhere), len(places) // 4)
    places[: 4 * number : 4] = nowhere[:number]
    return grid


@options
@layouts
@dtypes
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernel_equals_reference(target, shape, dtype, layout, padding, align_corners):
    volumes, grid = random_volumes(shape[0], dtype, layout), random_grid(shape[0][0], shape[1])
    sampled = target.run(grid_sample_3d, volumes, grid, padding, align_corners)
    expected = grid_sample_3d_reference(volumes, grid, padding, align_corners)
    torch.testing.assert_close(sampled, expected, **TOLERANCE[dtype])


@options
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_reference_equals_torch(shape, padding, align_corners):
    volumes = random_volumes(shape[0]).double()
    grid = random_grid(shape[0][0], shape[1]).nan_to_num(nan=0.3, posinf=7.0, neginf=-7.0).clamp(-1e3, 1e3).double()
    expected = functional.grid_sample(volumes, grid, padding_mode=padding, align_corners=align_corners)
    torch.testing.assert_close(grid_sample_3d_reference(volumes, grid, padding, align_corners), expected)


def test_strides_are_followed(target):
    volumes = random_volumes((2, 6, 5, 8, 9)).transpose(2, 4)[:, ::2, 1:, ::3]
    grid = random_grid(2, (4, 3, 5)).movedim(-1, 1).contiguous().movedim(1, -1)[:, ::2, :, 1:]
    torch.testing.assert_close(
        target.run(grid_sample_3d, volumes, grid), grid_sample_3d_reference(volumes, grid), **TOLERANCE[torch.float32]
    )


def test_what_is_outside_is_not_read(target):
    volumes = torch.full((1, 1, 2, 2, 2), float("inf"))
    volumes[0, 0, 1, 1, 1] = 3.0
    assert target.run(grid_sample_3d, volumes, torch.ones(1, 1, 1, 1, 3), "border", True).item() == 3.0


@pytest.mark.parametrize(("batch", "size"), [(0, (2, 2, 2)), (2, (0, 3, 1))])
def test_no_samples(target, batch, size):
    sampled = target.run(grid_sample_3d, torch.ones(batch, 3, 4, 5, 6), torch.zeros(batch, *size, 3))
    assert sampled.shape == (batch, 3, *size)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected"):
        grid_sample_3d(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 2, 2))
    with pytest.raises(ValueError, match="at least one"):
        grid_sample_3d(torch.zeros(1, 3, 0, 4, 4), torch.zeros(1, 2, 2, 2, 3))
