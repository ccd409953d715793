"""Distances between two pictures: (H, W, 3) uint8 RGB of the same size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def l1(rendered: Picture, truth: Picture) -> float:
    """Mean absolute difference of the channels, 0 (equal) to 1."""
    _check(rendered, truth)
    return float(np.abs(rendered.astype(np.int16) - truth.astype(np.int16)).mean() / 255.0)


def psnr(rendered: Picture, truth: Picture) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    _check(rendered, truth)
    error = float(((rendered.astype(np.float64) - truth.astype(np.float64)) ** 2).mean())
    return float("inf") if error == 0 else float(10.0 * np.log10(255.0**2 / error))


def ssim(rendered: Picture, truth: Picture) -> float:
    """Structural similarity of Wang et al. (2004): Gaussian window with sigma 1.5, mean over pixels and RGB channels.

    Needs scikit-image, an optional extra. Raises ImportError that says how to get it.
    """
    _check(rendered, truth)
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise ImportError("SSIM needs scikit-image: pip install 'visavis[bench]'") from error
    value = structural_similarity(  # type: ignore[no-untyped-call]
        truth,
        rendered,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def _check(rendered: Picture, truth: Picture) -> None:
    if rendered.shape != truth.shape or rendered.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(
            "expected two uint8 pictures of one size, "
            f"got {rendered.shape} {rendered.dtype} and {truth.shape} {truth.dtype}"
        )
