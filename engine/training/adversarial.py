"""Least squares GAN and feature matching: the terms of both sides."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def generator_score(fake: Tensor) -> Tensor:
    """The generator's term: 0 where the discriminator scores all that it made as real (1). LSGAN (2017), Eq. 9."""
    return ((1.0 - fake.float()) ** 2).mean()


def discriminator_scores(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The discriminator's terms `real` and `fake`, 0 where it scores real ones 1 and made ones 0.

    Without the factor 1/2 of LSGAN's Eq. 9, as in First Order Motion Model's code.
    """
    return {"real": ((1.0 - real.float()) ** 2).mean(), "fake": (fake.float() ** 2).mean()}


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's feature maps, summed over the maps; gradients flow to `fake`.

    pix2pixHD (2018), Eq. 4, as First Order Motion Model has it.
    """
    if len(real) != len(fake) or not real:
        raise ValueError(f"expected as many feature maps of both pictures, got {len(real)} and {len(fake)}")
    terms = [(one.detach().float() - other.float()).abs().mean() for one, other in zip(real, fake, strict=True)]
    return sum(terms[1:], terms[0])
