"""The non-saturating logistic GAN with gradient penalties (Goodfellow et al., 2014; Mescheder et al., ICML 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def logistic_score(fake: Tensor) -> Tensor:
    """The generator's term: small where the discriminator scores high what it made."""
    return functional.softplus(-fake.float()).mean()


def logistic_terms(
    score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, penalty_share: float = 1.0
) -> dict[str, Tensor]:
    """The discriminator's terms `real`, `fake` and `penalty`.

    score: pictures (B, 3, H, W) to (B, 1). The penalty is the squared gradient of each picture's loss, summed over its
    pixels, mean over the batch, for true and for made pictures (R1 and R2). It costs as much as everything else
    together: penalty_share says in how many of the steps it is computed, with so much more weight.
    """
    penalised = bool(torch.rand(()) < penalty_share)
    pictures = [picture.detach().float().requires_grad_(penalised) for picture in (real, fake)]
    losses = [functional.softplus(sign * score(one).float()) for sign, one in zip((-1.0, 1.0), pictures, strict=True)]
    terms = {name: loss.mean() for name, loss in zip(("real", "fake"), losses, strict=True)}
    terms["penalty"] = torch.zeros((), device=real.device)
    if penalised:
        gradients = torch.autograd.grad([loss.sum() for loss in losses], pictures, create_graph=True)
        squares = [gradient.square().sum(dim=(1, 2, 3)).mean() for gradient in gradients]
        terms["penalty"] = (squares[0] + squares[1]) / penalty_share
    return terms
