import pytest
import torch

from engine.nets.sampling import coordinate_grid, sample


def test_grid_has_its_ends_on_the_outermost_pixel_centres():
    grid = coordinate_grid(3, 5, like=torch.zeros((), dtype=torch.float64))
    assert grid.shape == (3, 5, 2)
    assert grid.dtype == torch.float64
    assert grid[0, :, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert grid[:, 0, 1].tolist() == [-1.0, 0.0, 1.0]


def test_unchanged_grid_enlarges_about_the_centre_and_halves_the_border():
    features = torch.ones(1, 1, 8, 8)
    sampled = sample(features, coordinate_grid(8, 8, like=features)[None])
    assert sampled[0, 0, 0, 0].item() == pytest.approx(0.25)
    assert sampled[0, 0, 0, 4].item() == pytest.approx(0.5)
    assert sampled[0, 0, 4, 4].item() == pytest.approx(1.0)


def test_unchanged_grid_returns_the_features_with_aligned_corners():
    features = torch.arange(24.0).view(1, 2, 3, 4)
    grid = coordinate_grid(3, 4, like=features)[None]
    torch.testing.assert_close(sample(features, grid, align_corners=True), features, atol=1e-5, rtol=0)


def test_halves_are_sampled_in_the_precision_of_the_grid():
    features = torch.arange(64.0).repeat(64, 1)[None, None].half()
    grid = coordinate_grid(64, 64, like=torch.zeros(()))[None]
    sampled = sample(features, grid)
    assert sampled.dtype == torch.float16
    torch.testing.assert_close(sampled, sample(features.float(), grid).half())


def test_map_without_extent_is_refused():
    with pytest.raises(ValueError, match="too small"):
        coordinate_grid(1, 4, like=torch.zeros(()))
