"""Terms of the two sides, and the network between them."""

from __future__ import annotations

import pytest
import torch

from engine.nets.patch_discriminator import PatchDiscriminator
from engine.training.adversarial import discriminator_scores, feature_matching, generator_score


def test_scores_by_hand():
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.4])
    scores = discriminator_scores(real, fake)
    assert float(scores["real"]) == pytest.approx(0.125)
    assert float(scores["fake"]) == pytest.approx(0.08)
    assert float(generator_score(fake)) == pytest.approx((1 + 0.36) / 2)


def test_feature_matching_sums_means_and_leaves_the_true_picture_alone():
    real = [torch.ones(1, 2, 4, 4, requires_grad=True), torch.zeros(1, 3, 2, 2, requires_grad=True)]
    fake = [torch.zeros(1, 2, 4, 4, requires_grad=True), torch.full((1, 3, 2, 2), 0.5, requires_grad=True)]
    loss = feature_matching(real, fake)
    assert float(loss.detach()) == pytest.approx(1.5)
    loss.backward()
    assert all(one.grad is None for one in real)
    assert all(one.grad.abs().sum() > 0 for one in fake)
    with pytest.raises(ValueError, match="got 2 and 1"):
        feature_matching(real, fake[:1])


def test_it_learns_which_pictures_are_the_real_ones():
    torch.manual_seed(0)
    network = PatchDiscriminator(3, widths=(16, 32))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    real, fake = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    for _ in range(60):
        loss = sum(discriminator_scores(network.judge(real)[1], network.judge(fake)[1]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05  # 0.5 for who cannot tell
