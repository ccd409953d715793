"""8-bit RGB to YUV 4:2:0, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.sampling_reference import narrowed

LUMA = (0.299, 0.587, 0.114)
BLUE = (-0.168736, -0.331264, 0.5)
RED = (0.5, -0.418688, -0.081312)
"ITU-R BT.601: weights of R, G, B."


def color_convert_reference(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H, W, 3) uint8 to y (B, H, W), u and v (B, ceil(H / 2), ceil(W / 2)), as `engine.kernels.color_convert`."""
    rgb = frames.float()
    height, width = frames.shape[1:3]
    left = torch.arange(0, width, 2, device=frames.device)
    columns = (rgb[:, :, left] + rgb[:, :, (left + 1).clamp(max=width - 1)]) / 2
    above = torch.arange(0, height, 2, device=frames.device)
    mean = torch.zeros_like(columns[:, above])
    for row, weight in ((-1, 1), (0, 3), (1, 3), (2, 1)):
        mean += weight / 8 * columns[:, (above + row).clamp(0, height - 1)]
    y = 16 + 219 / 255 * _weighted(rgb, LUMA)
    u, v = (128 + 224 / 255 * _weighted(mean, weights) for weights in (BLUE, RED))
    return narrowed(y, torch.uint8), narrowed(u, torch.uint8), narrowed(v, torch.uint8)


def _weighted(rgb: Tensor, weights: tuple[float, float, float]) -> Tensor:
    # Numbers, not a tensor of them: copying that to a GPU would keep this out of a captured graph.
    red, green, blue = rgb.unbind(-1)
    return weights[0] * red + weights[1] * green + weights[2] * blue
