import math

import pytest
import torch
from torch.nn import functional

from engine.nets.heatmap import convolve_heatmaps, heatmaps


def test_heatmap_is_one_at_its_point_and_falls_with_the_distance():
    points = torch.tensor([[[0.5, -1.0]]], dtype=torch.float64)
    image = heatmaps(points, 5, 9, variance=0.01)[0, 0]
    assert image.shape == (5, 9)
    assert image[0, 6].item() == pytest.approx(1.0)  # columns are 0.25 apart, rows 0.5
    assert image[0, 7].item() == pytest.approx(math.exp(-0.5 * 0.25**2 / 0.01))
    assert image[1, 6].item() == pytest.approx(math.exp(-0.5 * 0.5**2 / 0.01))


@pytest.mark.parametrize(("kernel_size", "size"), [(7, (12, 20)), (3, (9, 5))], ids=str)
def test_convolving_profiles_equals_convolving_heatmaps(kernel_size, size):
    torch.manual_seed(0)
    points = 2.4 * torch.rand(2, 4, 2, dtype=torch.float64) - 1.2  # some outside
    weight = torch.randn(3, 4, kernel_size, kernel_size, dtype=torch.float64)
    expected = functional.conv2d(heatmaps(points, *size), weight, padding=kernel_size // 2)
    torch.testing.assert_close(convolve_heatmaps(points, *size, weight), expected, atol=1e-13, rtol=0)


def test_points_and_weights_get_the_gradients_of_the_convolution():
    torch.manual_seed(0)
    points = (2 * torch.rand(1, 2, 2, dtype=torch.float64) - 1).requires_grad_()
    weight = torch.randn(2, 2, 7, 7, dtype=torch.float64).requires_grad_()
    target = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    ours = torch.autograd.grad((convolve_heatmaps(points, 8, 8, weight) * target).sum(), (points, weight))
    plain = functional.conv2d(heatmaps(points, 8, 8), weight, padding=3)
    theirs = torch.autograd.grad((plain * target).sum(), (points, weight))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)
