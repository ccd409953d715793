"""Metrics between pictures."""

import numpy as np
import pytest

from engine.quality import l1, psnr, ssim


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
