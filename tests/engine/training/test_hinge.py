"""The terms of a hinge GAN."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.training.hinge import discriminator_hinge, generator_hinge  # noqa: E402


def test_discriminator_is_content_beyond_one_and_minus_one():
    content = discriminator_hinge(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0]))
    assert [content["real"].item(), content["fake"].item()] == [0.0, 0.0]
    wrong = discriminator_hinge(torch.tensor([-1.0, 1.0]), torch.tensor([0.5, -5.0]))
    assert wrong["real"].item() == pytest.approx(1.0)
    assert wrong["fake"].item() == pytest.approx(0.75)


def test_generator_gains_nothing_by_more_than_one():
    assert generator_hinge(torch.tensor([1.0, 9.0])).item() == 0.0
    assert generator_hinge(torch.tensor([0.0, -1.0])).item() == pytest.approx(1.5)
