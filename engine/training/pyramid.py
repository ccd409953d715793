"""Pictures at halved sizes, without the aliasing that dropped pixels would leave."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def antialiased(pictures: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) to (N, C, ceil(H / factor), ceil(W / factor)): a Gaussian, then every `factor`-th pixel.

    First Order Motion Model's code: sigma (factor - 1) / 2, cut off at 4 sigma, zeros outside, the first pixel kept.
    """
    if factor == 1:
        return pictures
    sigma = (factor - 1) / 2
    reach = round(4 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    taps = taps / taps.sum()
    count, channels, height, width = pictures.shape
    flat = pictures.reshape(count * channels, 1, height, width)
    rows = functional.conv2d(flat, taps.view(1, 1, -1, 1), stride=(factor, 1), padding=(reach, 0))
    both = functional.conv2d(rows, taps.view(1, 1, 1, -1), stride=(1, factor), padding=(0, reach))
    return both.reshape(count, channels, *both.shape[-2:])
