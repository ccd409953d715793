"""The random deformation, and keypoints that do or do not follow it."""

from __future__ import annotations

import pytest
import torch

from engine.nets.sampling import coordinate_grid
from engine.training.equivariance import DeformationConfig, RandomDeformation, jacobian_term, value_term

STRONG = DeformationConfig(affine=0.2, bend=0.02)


def deformation(seed: int = 0, count: int = 2) -> RandomDeformation:
    torch.manual_seed(seed)
    drawn = RandomDeformation.drawn(count, torch.device("cpu"), STRONG)
    return RandomDeformation(drawn._theta.double(), drawn._weights.double())


def keypoints(seed: int = 1) -> torch.Tensor:
    return 1.6 * torch.rand(2, 10, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.8


def test_points_by_a_plain_loop():
    theta = torch.tensor([[[1.1, 0.2, 0.05], [-0.1, 0.9, 0.0]]], dtype=torch.float64)
    weights = 0.01 * torch.randn(1, 9, dtype=torch.float64)
    x, y = 0.3, -0.7
    bend = 0.0
    for k, (cy, cx) in enumerate((cy, cx) for cy in (-1, 0, 1) for cx in (-1, 0, 1)):
        r = torch.tensor(abs(x - cx) + abs(y - cy), dtype=torch.float64)
        bend += float(weights[0, k] * r**2 * torch.log(r + 1e-6))
    expected = [1.1 * x + 0.2 * y + 0.05 + bend, -0.1 * x + 0.9 * y + bend]
    moved = RandomDeformation(theta, weights).points(torch.tensor([[[x, y]]], dtype=torch.float64))
    assert moved.flatten().tolist() == pytest.approx(expected, rel=1e-9)


def test_jacobians_are_the_derivatives_of_the_points():
    transform, points = deformation(), keypoints()
    whole = torch.autograd.functional.jacobian(transform.points, points)  # (B, N, 2, B, N, 2)
    own = torch.einsum("bnibnj->bnij", whole)
    torch.testing.assert_close(transform.jacobians(points), own, rtol=1e-9, atol=1e-9)


def test_a_picture_is_moved_as_its_points_are():
    """The colours of a picture of coordinates are, at z, those of T(z)."""
    transform = RandomDeformation(0.5 * torch.eye(2, 3)[None], 0.002 * torch.ones(1, 25))
    size = 65
    grid = coordinate_grid(size, size, torch.zeros(()))
    seen = transform.pictures(grid.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    expected = transform.points(grid.reshape(1, -1, 2)).reshape(size, size, 2) * size / (size - 1)
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)


def test_keypoints_that_follow_cost_nothing_and_others_do():
    transform, seen = deformation(), keypoints()
    frames = torch.eye(2, dtype=torch.float64) + 0.2 * torch.randn(2, 10, 2, 2, dtype=torch.float64)
    followed = transform.points(seen)
    moved_frames = transform.jacobians(seen) @ frames
    assert float(value_term(followed, seen, transform)) == 0
    assert float(jacobian_term(moved_frames, seen, frames, transform)) < 1e-9
    assert float(value_term(followed + 0.1, seen, transform)) == pytest.approx(0.1)
    assert float(jacobian_term(frames, seen, frames, transform)) > 0.05


def test_frames_without_area_give_finite_gradients():
    flat = torch.zeros(2, 10, 2, 2, dtype=torch.float64, requires_grad=True)
    jacobian_term(flat, keypoints(), torch.eye(2, dtype=torch.float64).expand(2, 10, 2, 2), deformation()).backward()
    assert torch.isfinite(flat.grad).all()


def test_deformations_are_as_strong_as_asked():
    torch.manual_seed(0)
    drawn = RandomDeformation.drawn(4000, torch.device("cpu"))
    assert float((drawn._theta - torch.eye(2, 3)).std()) == pytest.approx(0.05, rel=0.05)
    assert float(drawn._weights.std()) == pytest.approx(0.005, rel=0.05)
    assert drawn._weights.shape == (4000, 25)
