"""Every channel of a map moved by its own similarity transformation (AdaAT), in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.sampling_reference import narrowed, pixel_scale, sampled, taps, widened


def affine_sample_reference(
    input: Tensor,
    scale: Tensor,
    angle: Tensor,
    translation: Tensor,
    align_corners: bool = False,
    blend: bool = False,
) -> Tensor:
    """As `engine.kernels.affine_sample.affine_sample`, on any device and in float64 too."""
    batch, channels, height, width = input.shape
    scale, angle, translation = widened(scale), widened(angle), widened(translation)
    x = torch.arange(width, device=input.device).to(scale.dtype) * (2.0 / (width - 1)) - 1.0
    y = (torch.arange(height, device=input.device).to(scale.dtype) * (2.0 / (height - 1)) - 1.0)[:, None]
    cosine, sine = (scale * angle.cos())[..., None, None], (scale * angle.sin())[..., None, None]
    u = cosine * x - sine * y + translation[..., 0, None, None]
    v = sine * x + cosine * y + translation[..., 1, None, None]
    axes = []
    for coordinates, length in ((v, height), (u, width)):
        factor, summand = pixel_scale(length, align_corners)
        axes.append(taps((coordinates * factor + summand).flatten(0, 1), length, "zeros"))
    if blend:
        # The channel's place on an axis of which -1 and 1 are the outer edges; half of the first and last is outside.
        channel = torch.arange(channels, device=input.device).to(scale.dtype)
        across = taps(channel * channels / (channels - 1) - 0.5, channels, "zeros")
        maps = widened(input)
        input_maps = sum(
            (across.weights[side][:, None, None] * maps[:, across.indices[side]] for side in (0, 1)),
            start=torch.zeros_like(maps),
        )
    else:
        input_maps = input
    moved = sampled(input_maps.reshape(batch * channels, 1, height, width), axes)
    return narrowed(moved.view(input.shape), input.dtype)
