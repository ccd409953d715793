"""How tensors lie in memory, and how their positions are divided among blocks of threads."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.launch import LaunchShape

THREADS = 256
"""Of a block. The samplers hold their threads to 64 registers by `__launch_bounds__(256, 4)`: 4 blocks, half of a
multiprocessor's 2,048 threads, each with 4 to 16 loads in flight while it waits for memory. Nothing is spilled for it
but 28 bytes at most, by grid_sample_3d_pixels in float32 from sm_100 on."""
ROW = 32
"Threads that work in step; a row of them stores one line of 64 (half precision) or 128 bytes."
GRID_LIMIT = 65_535
"Blocks along y and z; kernels walk over what is beyond."
BLOCKS_WANTED = 1_024
"About what fills the largest GPUs (132 to 148 multiprocessors of 4 to 8 blocks): channels are divided until then."
CHANNELS_EACH = 16
"That a thread samples at most at a position whose neighbours it found; finding them costs as much as about two."

ROWS_EACH = 8
"Of a map, that a thread of `channel_blocks` walks over."
LEAST_CHANNELS = 64
"Of a block of `position_blocks`: 8 for each thread, which is worth finding the positions' neighbours again."


def channels_together(tensor: Tensor) -> bool:
    """Whether the channels (axis 1) of a position are next to each other in memory, as in NHWC."""
    return tensor.shape[1] > 1 and tensor.stride(1) == 1


def empty_maps(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Of (B, C, ...) `shape`, uninitialised, with channels together where `like` has them together."""
    if not channels_together(like):
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    batch, channels, *extent = shape
    together = torch.empty((batch, *extent, channels), dtype=like.dtype, device=like.device)
    return together.movedim(-1, 1)


def packed(*tensors: Tensor) -> bool:
    """Whether maps with channels together can be read and written 16 bytes at a time."""
    for tensor in tensors:
        length = 16 // tensor.element_size()
        others = [stride for axis, stride in enumerate(tensor.stride()) if axis != 1]
        if tensor.shape[1] % length or tensor.data_ptr() % 16 or any(stride % length for stride in others):
            return False
    return True


def groups(tensor: Tensor, wide: bool) -> int:
    """How many threads a position's channels, which lie together, can occupy: one for 16 bytes (`wide`) or for each."""
    return tensor.shape[1] * tensor.element_size() // 16 if wide else tensor.shape[1]


def plane_blocks(width: int, rows: int, maps: int) -> LaunchShape:
    """Blocks of 32 columns by 8 rows, narrower and higher where a row is narrower: tiles, because neighbours in both
    directions read the same pixels. Along z the maps, or chunks of them."""
    across = min(ROW, _power_of_two(width))
    down = THREADS // across
    grid = (_parts(width, across), min(_parts(rows, down), GRID_LIMIT), min(maps, GRID_LIMIT))
    return LaunchShape(grid, (across, down, 1))


def chunk_of_channels(width: int, rows: int, batch: int, channels: int) -> int:
    """How many channels a thread of `plane_blocks` should take: as many as leave enough blocks, at most 16."""
    tiles = plane_blocks(width, rows, 1).grid
    wanted = -(-BLOCKS_WANTED // (tiles[0] * tiles[1] * batch))
    return max(1, min(CHANNELS_EACH, channels // wanted))


def pixel_blocks(channels: int, width: int, rows: int, batch: int) -> LaunchShape:
    """For maps with channels together: along x of a block the channels (or packs of them), along y columns."""
    lanes = min(ROW, _power_of_two(channels))
    columns = THREADS // lanes
    return LaunchShape((_parts(width, columns), min(rows, GRID_LIMIT), min(batch, GRID_LIMIT)), (lanes, columns, 1))


def strip_blocks(width: int, rows: int, maps: int) -> LaunchShape:
    """As `plane_blocks`, but a thread goes down its column of the whole map, with what it computed for that map."""
    (columns, _, parts), block = plane_blocks(width, rows, maps)
    return LaunchShape((columns, 1, parts), block)


def channel_blocks(channels: int, width: int, rows: int, batch: int) -> LaunchShape:
    """For maps with channels together of which a thread stays with one: channels along x, columns along y.

    A fraction of the rows is left to walk over, so that what a thread computed for its channel serves several.
    """
    lanes = min(ROW, _power_of_two(channels))
    return LaunchShape(
        (_parts(channels, lanes), min(_parts(rows, ROWS_EACH), GRID_LIMIT), min(batch, GRID_LIMIT)),
        (lanes, min(THREADS // lanes, _power_of_two(width)), 1),
    )


def position_blocks(positions: int, channels: int, batch: int, step: int) -> tuple[LaunchShape, int]:
    """For blocks that take `ROW` positions and share out their channels; and how many channels a block takes.

    step: the channels of a block are a multiple of it, so that packs stay whole.
    """
    tiles = _parts(positions, ROW)
    chunks = max(1, min(-(-BLOCKS_WANTED // (tiles * batch)), channels // LEAST_CHANNELS))
    each = _parts(_parts(channels, chunks), step) * step
    grid = (tiles, _parts(channels, each), min(batch, GRID_LIMIT))
    return LaunchShape(grid, (THREADS, 1, 1)), each


def _power_of_two(number: int) -> int:
    """The smallest that is not below."""
    return 1 << (number - 1).bit_length()


def _parts(length: int, part: int) -> int:
    return -(-length // part)
