"""Keypoints are pushed apart until they are far enough from each other."""

from __future__ import annotations

import pytest
import torch

from engine.training.keypoint_distance import crowding


def test_value_is_the_mean_over_pairs():
    keypoints = torch.tensor([[[0.0, 0.0], [0.1, 0.0], [1.0, 1.0]]])
    assert float(crowding(keypoints)) == pytest.approx(0.1 / 3, rel=1e-5)
    assert float(crowding(10 * keypoints)) == 0


def test_it_moves_crowded_keypoints_apart_and_leaves_the_others():
    keypoints = torch.tensor([[[0.0, 0.0], [0.02, 0.01], [1.0, 1.0]]], requires_grad=True)
    optimizer = torch.optim.SGD([keypoints], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        crowding(keypoints).backward()
        assert keypoints.grad[0, 2].abs().sum() == 0
        optimizer.step()
    moved = keypoints.detach()
    assert float((moved[0, 0] - moved[0, 1]).norm()) >= 0.2
    assert float(crowding(moved)) == 0


def test_keypoints_in_one_place_have_a_finite_gradient():
    keypoints = torch.zeros(1, 3, 2, requires_grad=True)
    crowding(keypoints).backward()
    assert torch.isfinite(keypoints.grad).all()


def test_one_keypoint_cannot_be_crowded():
    with pytest.raises(ValueError, match="at least 2 keypoints"):
        crowding(torch.zeros(1, 1, 2))
