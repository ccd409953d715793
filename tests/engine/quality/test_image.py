"""Metrics between pictures."""

import sys

import cv2
import numpy as np
import pytest

from engine.quality import MetricUnavailableError, l1, ms_ssim, psnr, ssim
from engine.quality.image import ssim_with_map


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_equal_pictures():
    assert l1(picture(0), picture(0)) == 0.0
    assert psnr(picture(0), picture(0)) == float("inf")


def test_known_difference():
    black, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 51, np.uint8)
    assert l1(grey, black) == pytest.approx(0.2)
    assert psnr(grey, black) == pytest.approx(20 * np.log10(5))


def test_ssim_is_1_for_equal_pictures_and_falls_with_noise():
    pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")
    truth = picture(1)
    noisy = np.clip(truth + np.random.default_rng(2).normal(0, 20, truth.shape), 0, 255).astype(np.uint8)
    assert ssim(truth, truth) == pytest.approx(1.0)
    assert 0.5 < ssim(noisy, truth) < 0.99
    assert ssim(picture(3), truth) < 0.1


@pytest.mark.parametrize("metric", [l1, psnr, ssim])
def test_pictures_of_different_size_are_refused(metric):
    with pytest.raises(ValueError, match=r"one size.*\(48, 64, 3\).*\(8, 8, 3\)"):
        metric(picture(0), np.zeros((8, 8, 3), np.uint8))


def test_ssim_map_has_the_mean_inside_its_border():
    pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")
    value, similarity = ssim_with_map(picture(1) // 2, picture(1))
    assert similarity.shape == (48, 64, 3)
    assert value == ssim(picture(1) // 2, picture(1)) == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-12)


def test_ms_ssim_forgives_what_is_only_seen_close_up():
    pytest.importorskip("torchmetrics", reason="MS-SSIM is part of the optional extra 'bench'")
    pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")
    smooth = cv2.resize(picture(4), (192, 192), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(smooth + np.random.default_rng(5).normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)
    assert ms_ssim(smooth, smooth) == pytest.approx(1.0, abs=1e-5)
    assert ssim(noisy, smooth) < ms_ssim(noisy, smooth) < 1.0
    with pytest.raises(ValueError, match="161 pixels"):
        ms_ssim(picture(0), picture(0))


@pytest.mark.parametrize(("metric", "package"), [(ssim, "skimage.metrics"), (ms_ssim, "torchmetrics.functional.image")])
def test_missing_package_is_named_with_the_way_to_get_it(metric, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # makes the import fail
    with pytest.raises(MetricUnavailableError, match=r"pip install 'visavis\[bench\]'"):
        metric(np.zeros((192, 192, 3), np.uint8), np.zeros((192, 192, 3), np.uint8))
