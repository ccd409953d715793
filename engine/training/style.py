"""The difference of style of two pictures: of the correlations between VGG19's channels, wherever they occur."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.training.perceptual import VGG19


def style_distance(vgg: VGG19, rendered: Tensor, truth: Tensor) -> Tensor:
    """A scalar, 0 for equal pictures (N, 3, H, W) from 0 to 1: mean absolute differences of the Gram matrices of the
    five taps, summed. Gradients flow to `rendered` only."""
    with torch.no_grad():
        wanted = [gram(features) for features in vgg(truth.detach())]
    shown = [gram(features) for features in vgg(rendered)]
    terms = [(one - other).abs().mean() for one, other in zip(shown, wanted, strict=True)]
    return torch.stack(terms).sum()


def gram(features: Tensor) -> Tensor:
    """(N, C, C) products of the channels of (N, C, H, W), over the number of values."""
    flat = features.float().flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])
