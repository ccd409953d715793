"""Trilinear samples of volumes at a grid of positions."""

from __future__ import annotations

from torch import Tensor

from engine.kernels.grid_sample import launch_grid_sample
from engine.kernels.grid_sample_3d_reference import grid_sample_3d_reference
from engine.kernels.launch import Launcher, launcher_of
from engine.kernels.sampling_reference import Padding, check_padding

KERNEL = "grid_sample_3d"


def grid_sample_3d(
    input: Tensor,
    grid: Tensor,
    padding: Padding = "zeros",
    align_corners: bool = False,
    *,
    launcher: Launcher | None = None,
) -> Tensor:
    """(B, C, d, h, w) samples of (B, C, D, H, W) volumes at a (B, d, h, w, 3) grid of x, y, z.

    As torch's `grid_sample`: -1 and 1 are the outer edges of the outermost voxels, or their centres (`align_corners`).
    A coordinate that is NaN is outside, or with a border the first voxel. input: float32, float16 or bfloat16 with any
    strides; with channels together (NDHWC in memory) the samples have them so too. grid: any strides; if not float32,
    it is copied to that.
    launcher: what runs the kernel; by default CuPy for tensors on a GPU, and none (the reference) on the processor.
    Raises ValueError for shapes that do not fit, KernelsUnavailableError for tensors on a GPU without CuPy.
    """
    check_padding(padding)
    if input.ndim != 5 or grid.ndim != 5 or grid.shape[4] != 3 or grid.shape[0] != input.shape[0]:
        raise ValueError(
            f"expected (B, C, D, H, W) and (B, d, h, w, 3), got {tuple(input.shape)} and {tuple(grid.shape)}"
        )
    if 0 in input.shape[1:]:
        raise ValueError(f"input: expected at least one channel and pixel, got {tuple(input.shape)}")
    launcher = launcher or launcher_of(input, grid)
    if launcher is None:
        return grid_sample_3d_reference(input, grid, padding, align_corners)
    return launch_grid_sample(KERNEL, input, grid, padding, align_corners, launcher)
