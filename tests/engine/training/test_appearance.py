"""Pixel terms, against independent computations of the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.quality.image import ssim
from engine.training.appearance import AppearanceConfig, AppearanceLoss
from engine.training.pyramid import antialiased
from engine.training.ssim import ssim_map

ALL = {"l1": 1.0, "gradient": 1.0, "ssim": 1.0, "contrast": 1.0}


def pictures(seed: int, shape: tuple[int, ...] = (2, 3, 40, 33)) -> torch.Tensor:
    """Smooth random pictures in [0, 1]."""
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(noise, (2, 2, 2, 2), mode="reflect"), 5, stride=1)


def as_uint8(picture: torch.Tensor) -> np.ndarray:
    return (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def test_ssim_is_that_of_the_measurements():
    pytest.importorskip("skimage", reason="the reference comes with scikit-image (extra: bench)")
    a, b = (as_uint8(pictures(seed)[0]) for seed in (0, 1))
    b = (0.7 * a + 0.3 * b).astype(np.uint8)
    own = ssim_map(*(torch.from_numpy(x).permute(2, 0, 1)[None] / 255 for x in (a, b))).mean()
    assert float(own) == pytest.approx(ssim(a, b), abs=1e-5)


@pytest.mark.parametrize("window", ["gaussian", "box"])
def test_ssim_of_equal_pictures_is_one_and_its_gradient_leads_there(window):
    truth = pictures(0)
    torch.testing.assert_close(ssim_map(truth, truth, window), torch.ones_like(ssim_map(truth, truth, window)))
    shown = pictures(1).requires_grad_()
    begin = float(ssim_map(shown, truth, window).mean().detach())
    optimizer = torch.optim.Adam([shown], lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        (1 - ssim_map(shown, truth, window)).mean().backward()
        optimizer.step()
    assert float(ssim_map(shown, truth, window).mean().detach()) > begin + 0.3


def test_box_and_gaussian_agree_roughly():
    truth = pictures(0)
    for share in (0.1, 0.5):
        shown = (1 - share) * truth + share * pictures(1)
        box, gaussian = (float(ssim_map(shown, truth, window).mean()) for window in ("box", "gaussian"))
        assert box == pytest.approx(gaussian, abs=0.05)


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11x11 pixels, got 10x40"):
        ssim_map(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))


def test_terms_by_hand():
    """One scale: mean absolute difference, and that of the differences of neighbours."""
    shown, truth = pictures(0), pictures(1)
    terms = AppearanceLoss(AppearanceConfig(scales=1)).terms(shown, truth, ALL)
    error = (shown - truth).double().numpy()
    assert float(terms["l1"]) == pytest.approx(np.abs(error).mean(), rel=1e-5)
    slopes = np.abs(np.diff(error, axis=3)).mean() + np.abs(np.diff(error, axis=2)).mean()
    assert float(terms["gradient"]) == pytest.approx(slopes, rel=1e-5)
    assert float(terms["ssim"]) == pytest.approx(1 - float(ssim_map(shown, truth, "box").mean()), rel=1e-5)


def test_contrast_prefers_a_shifted_picture_to_a_blurred_one_and_l1_does_not():
    truth = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(2))
    shifted, blurred = truth.roll(2, dims=3), torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    of = AppearanceLoss(AppearanceConfig(scales=1))
    moved, soft = of.terms(shifted, truth, ALL), of.terms(blurred, truth, ALL)
    assert moved["contrast"] < 0.5 * soft["contrast"]
    assert moved["l1"] > soft["l1"]


def test_terms_are_means_over_the_pyramid_and_zero_for_equal_pictures():
    shown, truth = pictures(0), pictures(1)
    halves = [torch.nn.functional.avg_pool2d(x, 2) for x in (shown, truth)]
    whole, half, both = (
        AppearanceLoss(AppearanceConfig(scales=n)).terms(a, b, ALL)
        for n, a, b in ((1, shown, truth), (1, *halves), (2, shown, truth))
    )
    for name in ALL:
        assert float(both[name]) == pytest.approx((float(whole[name]) + float(half[name])) / 2, rel=1e-5)
    same = AppearanceLoss().terms(shown, shown, ALL)
    assert all(float(value) == pytest.approx(0, abs=1e-6) for value in same.values())


def test_terms_without_weight_are_not_computed():
    shown = pictures(0)
    assert AppearanceLoss().terms(shown, shown, {"l1": 1.0, "ssim": 0.0}).keys() == {"l1"}


def test_importance_chooses_which_pixels_count():
    truth = pictures(0, (1, 3, 64, 64))
    left_wrong, right_wrong = truth.clone(), truth.clone()
    wrong = 0.4 * torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(1)) - 0.2
    left_wrong[..., :32] += wrong
    right_wrong[..., 32:] += wrong
    importance = torch.ones(1, 1, 64, 64)
    importance[..., :32] = 3.0
    loss = AppearanceLoss(AppearanceConfig(scales=1))
    left, right = (loss.terms(x, truth, ALL, importance) for x in (left_wrong, right_wrong))
    assert float(left["l1"]) == pytest.approx(3 * float(right["l1"]), rel=1e-4)
    assert float(left["l1"]) + float(right["l1"]) == pytest.approx(float(wrong.abs().mean()), rel=1e-4)
    assert float(left["ssim"]) > 2 * float(right["ssim"])
    scaled = loss.terms(left_wrong, truth, ALL, 7 * importance)
    assert float(scaled["gradient"]) == pytest.approx(float(left["gradient"]), rel=1e-4)


@pytest.mark.parametrize(("factor", "taps"), [(2, 5), (4, 13), (8, 29)])
def test_smaller_pictures_against_a_plain_loop(factor, taps):
    picture = pictures(0, (1, 1, 32, 40)).double()
    reach = taps // 2
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * ((factor - 1) / 2) ** 2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = np.pad(picture[0, 0].numpy(), reach)
    expected = [
        [(padded[y : y + taps, x : x + taps] * kernel).sum() for x in range(0, 40, factor)]
        for y in range(0, 32, factor)
    ]
    np.testing.assert_allclose(antialiased(picture, factor)[0, 0].numpy(), expected, atol=1e-12)
