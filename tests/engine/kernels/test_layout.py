import pytest
import torch

from engine.kernels.layout import (
    GRID_LIMIT,
    THREADS,
    channel_blocks,
    channels_together,
    chunk_of_channels,
    empty_maps,
    packed,
    pixel_blocks,
    plane_blocks,
    position_blocks,
    strip_blocks,
)

LENGTHS = (1, 2, 3, 31, 32, 33, 257, 4096)


@pytest.mark.parametrize("width", LENGTHS)
@pytest.mark.parametrize("rows", LENGTHS)
def test_blocks_cover_the_map_and_are_not_too_large(width, rows):
    for shape in (plane_blocks(width, rows, 3), strip_blocks(width, rows, 3)):
        (columns, _, maps), (across, down, _) = shape
        assert columns * across >= width > (columns - 1) * across
        assert across * down <= THREADS
        assert maps == 3
    assert plane_blocks(width, rows, 3).grid[1] * plane_blocks(width, rows, 3).block[1] >= rows
    for shape in (pixel_blocks(rows, width, 5, 2), channel_blocks(rows, width, 5, 2)):
        assert shape.block[0] * shape.block[1] <= THREADS
        assert shape.block[0] & (shape.block[0] - 1) == 0


def test_grids_stay_within_what_a_device_takes():
    for shape in (plane_blocks(4, 10**7, 10**6), pixel_blocks(8, 10, 10**6, 10**5), channel_blocks(8, 9, 10**6, 10**5)):
        assert max(shape.grid[1:]) <= GRID_LIMIT


@pytest.mark.parametrize("channels", [1, 3, 64, 100, 256, 520])
@pytest.mark.parametrize("step", [1, 4, 8])
def test_chunks_of_channels_cover_them_in_whole_packs(channels, step):
    shape, each = position_blocks(33, channels, 2, step)
    assert each % step == 0
    assert shape.grid[1] * each >= channels > (shape.grid[1] - 1) * each
    assert shape.grid[0] == 2


def test_large_maps_take_many_channels_a_thread_and_small_ones_few():
    assert chunk_of_channels(256, 256, 8, 64) == 16
    assert chunk_of_channels(16, 16, 1, 64) == 1


def test_results_lie_as_the_input_does():
    maps = torch.zeros(2, 8, 3, 4)
    assert empty_maps((2, 8, 5, 6), like=maps).is_contiguous()
    together = maps.contiguous(memory_format=torch.channels_last)
    assert empty_maps((2, 8, 5, 6), like=together).is_contiguous(memory_format=torch.channels_last)
    assert channels_together(together)
    assert not channels_together(maps)


def test_packs_need_aligned_addresses_and_strides():
    maps = torch.zeros(2, 8, 3, 4).contiguous(memory_format=torch.channels_last)
    assert packed(maps)
    assert packed(maps[:, :4])
    assert not packed(maps[:, :3])
    assert not packed(maps[:, 1:5])
    assert not packed(maps.half()[:, :4])
