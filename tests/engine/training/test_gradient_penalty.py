"""The logistic GAN and its penalties, beside what they are for a discriminator whose gradient is known."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.training.gradient_penalty import logistic_score, logistic_terms  # noqa: E402


def test_scores_that_fool_cost_nothing():
    assert logistic_score(torch.tensor([[30.0], [40.0]])).item() == pytest.approx(0, abs=1e-6)
    assert logistic_score(torch.tensor([[0.0]])).item() == pytest.approx(0.6931, abs=1e-4)
    assert logistic_score(torch.tensor([[-30.0]])).item() == pytest.approx(30)


def test_terms_of_a_linear_discriminator():
    """Its loss has the gradient sigmoid(-+ score) times its weights, of each picture by itself."""
    torch.manual_seed(0)
    weights = torch.randn(3, 4, 4, requires_grad=True)
    real, fake = torch.randn(2, 5, 3, 4, 4)

    def score(pictures):
        return (pictures * weights).sum(dim=(1, 2, 3))[:, None]

    terms = logistic_terms(score, real, fake)
    with torch.no_grad():
        scores = score(real), score(fake)
        torch.testing.assert_close(terms["real"], torch.log1p(torch.exp(-scores[0])).mean())
        torch.testing.assert_close(terms["fake"], torch.log1p(torch.exp(scores[1])).mean())
        slopes = torch.sigmoid(-scores[0]), torch.sigmoid(scores[1])
        expected = sum((slope**2).mean() for slope in slopes) * weights.square().sum()
    torch.testing.assert_close(terms["penalty"], expected)
    terms["penalty"].backward()
    assert weights.grad.abs().sum() > 0


def test_a_share_of_the_steps_is_penalised_the_more():
    weights = torch.ones(3, 4, 4)
    real, fake = torch.zeros(2, 1, 3, 4, 4)

    def penalty(share, seed):
        torch.manual_seed(seed)
        score = lambda pictures: (pictures * weights).sum(dim=(1, 2, 3))[:, None]  # noqa: E731 (a shorthand)
        return logistic_terms(score, real, fake, share)["penalty"].item()

    always = penalty(1.0, 0)
    found = [penalty(0.25, seed) for seed in range(100)]
    assert set(found) == {0.0, 4 * always}
    assert sum(found) / 100 == pytest.approx(always, rel=0.4)
