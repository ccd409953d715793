"""Points as images: a Gaussian around each, and the convolution of such images without making them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.nets.sampling import coordinate_axis


def heatmap_profiles(points: Tensor, height: int, width: int, variance: float) -> tuple[Tensor, Tensor]:
    """The factors of `heatmaps`: (B, K, width) along x and (B, K, height) along y, from 0 to 1."""
    x = coordinate_axis(width, points) - points[..., 0:1]
    y = coordinate_axis(height, points) - points[..., 1:2]
    return torch.exp(x * x * (-0.5 / variance)), torch.exp(y * y * (-0.5 / variance))


def heatmaps(points: Tensor, height: int, width: int, variance: float = 0.01) -> Tensor:
    """(B, K, height, width) one unnormalised Gaussian per point, 1 at the point itself.

    points: (B, K, 2), x then y, -1 and 1 at the centres of the outermost pixels; points outside fade out of view.
    """
    along_x, along_y = heatmap_profiles(points, height, width, variance)
    return along_y[..., :, None] * along_x[..., None, :]


def convolve_heatmaps(points: Tensor, height: int, width: int, weight: Tensor, variance: float = 0.01) -> Tensor:
    """(B, O, height, width), equal to `conv2d(heatmaps(points, ...), weight, padding=k // 2)`.

    weight: (O, K, k, k), k odd. A heat map is the product of two profiles, so it is filtered along x first, and the
    rest is one matrix product: 7 times less work than the convolution where k is 7.
    """
    out_channels, count, kernel_size, _ = weight.shape
    margin = kernel_size // 2
    along_x, along_y = heatmap_profiles(points, height, width, variance)
    rows = weight.permute(1, 0, 2, 3).reshape(count * out_channels * kernel_size, 1, kernel_size)
    filtered = functional.conv1d(along_x.to(weight.dtype), rows, padding=margin, groups=count)
    filtered = filtered.view(-1, count, out_channels, kernel_size, width).transpose(1, 2)  # (B, O, K, k, width)
    padded = functional.pad(along_y.to(weight.dtype), (margin, margin))
    shifted = torch.stack([padded[..., a : a + height] for a in range(kernel_size)], dim=2)  # (B, K, k, height)
    # Matrix sizes: (B, 1, height, K k) times (B, O, K k, width).
    return torch.matmul(shifted.flatten(1, 2).transpose(1, 2)[:, None], filtered.flatten(2, 3))
