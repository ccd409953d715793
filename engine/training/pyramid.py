"""Pictures at halved sizes, without the aliasing that dropped pixels would leave."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from engine.nets.antialias import gaussian_taps


def antialiased(pictures: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) to (N, C, ceil(H / factor), ceil(W / factor)): a Gaussian, then every `factor`-th pixel.

    First Order Motion Model's code: sigma (factor - 1) / 2, cut off at 4 sigma, zeros outside, the first pixel kept.
    """
    if factor == 1:
        return pictures
    taps = gaussian_taps(factor, like=pictures)
    reach = taps.shape[0] // 2
    count, channels, height, width = pictures.shape
    flat = pictures.reshape(count * channels, 1, height, width)
    rows = functional.conv2d(flat, taps.view(1, 1, -1, 1), stride=(factor, 1), padding=(reach, 0))
    both = functional.conv2d(rows, taps.view(1, 1, 1, -1), stride=(1, factor), padding=(0, reach))
    return both.reshape(count, channels, *both.shape[-2:])
