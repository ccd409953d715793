"""Hinge GAN (Geometric GAN, 2017): the terms of both sides."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def generator_hinge(fake: Tensor) -> Tensor:
    """The generator's term: 0 where the discriminator scores all that it made 1 or more.

    Clipped as the discriminator's own, as in Rhythmic Head Motion's code; the usual form is not.
    """
    return functional.relu(1.0 - fake.float()).mean()


def discriminator_hinge(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The discriminator's terms `real` and `fake`, 0 where it scores real ones 1 or more, made ones -1 or less."""
    return {
        "real": functional.relu(1.0 - real.float()).mean(),
        "fake": functional.relu(1.0 + fake.float()).mean(),
    }
