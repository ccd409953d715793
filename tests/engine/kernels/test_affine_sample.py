import pytest
import torch
from torch.nn import functional

from engine.kernels.affine_sample import affine_sample
from engine.kernels.affine_sample_reference import affine_sample_reference
from engine.nets.adaat import HALF_TURN, ChannelTransforms, blend_channels, channel_grids, transform_channels

TOLERANCE = {
    torch.float32: {"atol": 5e-5, "rtol": 1e-5},
    torch.float16: {"atol": 2e-3, "rtol": 1e-3},
    torch.bfloat16: {"atol": 1.6e-2, "rtol": 8e-3},
}
SHAPES = {"odd": (2, 5, 13, 37), "narrow": (1, 34, 9, 2), "square": (1, 3, 32, 32)}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])


def random_maps(shape, dtype=torch.float32, layout=torch.contiguous_format):
    """Smooth, as features are: what a rounding of a position changes stays below what a rounding of a value does."""
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return maps.to(dtype).contiguous(memory_format=layout)


def random_transforms(batch, channels):
    draw = torch.Generator().manual_seed(1)
    return ChannelTransforms(
        2.0 * torch.rand(batch, channels, generator=draw),
        HALF_TURN * (2.0 * torch.rand(batch, channels, generator=draw) - 1.0),
        2.0 * torch.rand(batch, channels, 2, generator=draw) - 1.0,
    )


@pytest.mark.parametrize(("align_corners", "blend"), [(False, False), (True, False), (False, True)])
@layouts
@dtypes
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernel_equals_reference(target, shape, dtype, layout, align_corners, blend):
    maps, transforms = random_maps(shape, dtype, layout), random_transforms(*shape[:2])
    moved = target.run(affine_sample, maps, *transforms, align_corners, blend)
    expected = affine_sample_reference(maps, *transforms, align_corners, blend)
    torch.testing.assert_close(moved, expected, **TOLERANCE[dtype])


@pytest.mark.parametrize("align_corners", [False, True])
def test_reference_is_the_operator_of_the_networks(align_corners):
    maps, transforms = random_maps((2, 6, 9, 11)).double(), random_transforms(2, 6)
    transforms = ChannelTransforms(*(part.double() for part in transforms))
    expected = transform_channels(maps, transforms, align_corners)
    torch.testing.assert_close(affine_sample_reference(maps, *transforms, align_corners), expected)


def test_blended_reference_is_the_published_sampling_in_three_dimensions():
    batch, channels, height, width = 2, 7, 8, 10
    maps, transforms = random_maps((batch, channels, height, width)).double(), random_transforms(batch, channels)
    transforms = ChannelTransforms(*(part.double() for part in transforms))
    depth = torch.linspace(-1, 1, channels, dtype=torch.float64).view(1, channels, 1, 1, 1)
    grid = torch.cat(
        (channel_grids(transforms, height, width), depth.expand(batch, channels, height, width, 1)), dim=-1
    )
    published = functional.grid_sample(maps[:, None], grid, align_corners=False)[:, 0]
    moved = affine_sample_reference(maps, *transforms, blend=True)
    torch.testing.assert_close(moved, published)
    torch.testing.assert_close(moved, transform_channels(blend_channels(maps), transforms))


def test_strides_are_followed(target):
    maps = random_maps((2, 8, 10, 12)).transpose(2, 3)[:, ::2, 1:, ::3]
    transforms = random_transforms(2, 8)
    picked = transforms.scale[:, ::2], transforms.angle[:, 1::2], transforms.translation[:, 4:]
    torch.testing.assert_close(
        target.run(affine_sample, maps, *picked), affine_sample_reference(maps, *picked), **TOLERANCE[torch.float32]
    )


def test_transformation_that_is_no_number_shows_nothing(target):
    transforms = ChannelTransforms(torch.ones(1, 1), torch.full((1, 1), float("nan")), torch.zeros(1, 1, 2))
    assert not target.run(affine_sample, torch.ones(1, 1, 3, 3), *transforms).any()


def test_no_maps(target):
    assert target.run(affine_sample, torch.ones(0, 4, 3, 3), *random_transforms(0, 4)).shape == (0, 4, 3, 3)


def test_what_does_not_fit_is_refused():
    maps = torch.zeros(1, 4, 3, 3)
    with pytest.raises(ValueError, match="scale: expected"):
        affine_sample(maps, *random_transforms(1, 3))
    with pytest.raises(ValueError, match="at least 2 pixels"):
        affine_sample(maps[..., :1], *random_transforms(1, 4))
    with pytest.raises(ValueError, match="blend: not with align_corners"):
        affine_sample(maps, *random_transforms(1, 4), align_corners=True, blend=True)
