"""Structural similarity that gradients flow through."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Window = Literal["gaussian", "box"]

_SIGMA, _REACH = 1.5, 5
"Gaussian of Wang et al. (2004), cut off at 3.5 sigma: 11 taps."
_BOX, _BOX_STEP = 7, 2
"Side of the uniform window, of about the same variance, and from one window to the next."
_C1, _C2 = 0.01**2, 0.03**2


def ssim_map(rendered: Tensor, truth: Tensor, window: Window = "gaussian") -> Tensor:
    """SSIM of each window that lies inside: (N, C, H, W) in [0, 1] to (N, C, h, w), see `window_means`.

    1 for equal pictures. Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (2004),
    Eq. 13. Raises ValueError for pictures that are smaller than the window.
    """
    side = 2 * _REACH + 1 if window == "gaussian" else _BOX
    if min(rendered.shape[-2:]) < side:
        raise ValueError(f"SSIM needs at least {side}x{side} pixels, got {rendered.shape[-2]}x{rendered.shape[-1]}")
    # Squares of values that are nearly equal are subtracted: bfloat16 would leave nothing.
    a, b = rendered.float(), truth.float()
    means = window_means(torch.cat((a, b, a * a + b * b, a * b), dim=1), window)
    mean_a, mean_b, squares, products = means.chunk(4, dim=1)
    squared_means, product_of_means = mean_a * mean_a + mean_b * mean_b, mean_a * mean_b
    luminance = (2 * product_of_means + _C1) / (squared_means + _C1)
    return luminance * (2 * (products - product_of_means) + _C2) / (squares - squared_means + _C2)


def window_means(maps: Tensor, window: Window) -> Tensor:
    """Means of (N, C, H, W) over each window inside.

    gaussian: around every pixel, as SSIM is measured. box: 7x7 pixels at every second place, for training on a CPU:
    forward and backward take a sixth of the time.
    """
    if window == "box":
        return box_means(maps, _BOX, _BOX_STEP)
    return _gaussian(maps)


def box_means(maps: Tensor, side: int, step: int = 1) -> Tensor:
    """Means of (N, C, H, W) over boxes of side x side pixels that lie inside, from one to the next `step` pixels."""
    # Shifted maps, added one by one: on a CPU a quarter of the time of pooling, forward and backward.
    height, width = ((length - side) // step * step + 1 for length in maps.shape[-2:])
    down = reduce(add, (maps[..., k : k + height : step, :] for k in range(side)))
    return reduce(add, (down[..., k : k + width : step] for k in range(side))) / side**2


def _gaussian(maps: Tensor) -> Tensor:
    offsets = torch.arange(-_REACH, _REACH + 1, dtype=maps.dtype, device=maps.device)
    taps = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    taps = taps / taps.sum()
    count, channels, height, width = maps.shape
    flat = maps.reshape(count * channels, 1, height, width)
    flat = functional.conv2d(functional.conv2d(flat, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
    return flat.reshape(count, channels, *flat.shape[-2:])
