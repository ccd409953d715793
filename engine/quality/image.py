"""Distances between two pictures: (H, W, 3) uint8 RGB of the same size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.quality.errors import MetricUnavailableError

Picture = NDArray[np.uint8]

MS_SSIM_SIDE = 161
"Pixels that MS-SSIM needs at least: five scales of a window of 11."


def l1(rendered: Picture, truth: Picture) -> float:
    """Mean absolute difference of the channels, 0 (equal) to 1."""
    check_pictures(rendered, truth)
    return float(np.abs(rendered.astype(np.int16) - truth.astype(np.int16)).mean() / 255.0)


def psnr(rendered: Picture, truth: Picture) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    check_pictures(rendered, truth)
    error = float(((rendered.astype(np.float64) - truth.astype(np.float64)) ** 2).mean())
    return float("inf") if error == 0 else float(10.0 * np.log10(255.0**2 / error))


def ssim(rendered: Picture, truth: Picture) -> float:
    """Structural similarity of Wang et al. (2004): Gaussian window with sigma 1.5, mean over pixels and RGB channels.

    Needs scikit-image, an optional extra. Raises MetricUnavailableError that says how to get it.
    """
    return ssim_with_map(rendered, truth)[0]


def ssim_with_map(rendered: Picture, truth: Picture) -> tuple[float, NDArray[np.float64]]:
    """`ssim`, and the (H, W, 3) map that it is the mean of (the mean leaves out a border of half a window)."""
    check_pictures(rendered, truth)
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise MetricUnavailableError("SSIM needs scikit-image: pip install 'visavis[bench]'") from error
    value, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        truth,
        rendered,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(value), np.asarray(similarity, np.float64)


def ms_ssim(rendered: Picture, truth: Picture) -> float:
    """Multi-scale structural similarity of Wang et al. (2003): five scales, Gaussian window, mean over RGB channels.

    torchmetrics' variant (negative terms count as 0). Needs at least MS_SSIM_SIDE pixels a side, and torchmetrics, an
    optional extra: raises MetricUnavailableError without it.
    """
    check_pictures(rendered, truth)
    if min(truth.shape[:2]) < MS_SSIM_SIDE:
        raise ValueError(f"MS-SSIM needs {MS_SSIM_SIDE} pixels a side, got {truth.shape[1]}x{truth.shape[0]}")
    try:
        import torch
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
    except ImportError as error:
        raise MetricUnavailableError("MS-SSIM needs torchmetrics: pip install 'visavis[bench]'") from error

    def batch(picture: Picture) -> torch.Tensor:
        return torch.from_numpy(np.moveaxis(picture, 2, 0)[None].astype(np.float32) / 255.0)

    with torch.inference_mode():
        value = multiscale_structural_similarity_index_measure(
            batch(rendered), batch(truth), data_range=1.0, normalize="relu"
        )
    return float(value)


def check_pictures(rendered: Picture, truth: Picture) -> None:
    """Raise ValueError unless both are uint8 pictures of one size."""
    if rendered.shape != truth.shape or rendered.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(
            "expected two uint8 pictures of one size, "
            f"got {rendered.shape} {rendered.dtype} and {truth.shape} {truth.dtype}"
        )
