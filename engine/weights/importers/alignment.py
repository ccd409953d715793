"""How imported weights want pictures sampled, which their file does not say: tried on frames.

Weights published in 2019 were most likely trained with align_corners=True, the only way there was; today's published
code runs them with False. Those who know neither see a faint dark border, and an error that is larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from engine.nets.first_order import FirstOrderModel
from engine.nets.local_frames import frame_change
from engine.nets.pictures import planes
from engine.nets.stored_weights import network_with

MARGIN = 0.01
"By this share one error must be smaller than the other to count as better."


@torch.inference_mode()
def reconstruction_errors(model: FirstOrderModel, frames: NDArray[np.uint8]) -> dict[bool, float]:
    """How far the first frame, driven by each one, is from that one: per align_corners, L1 from 0 to 1.

    frames: (T, H, W, 3) RGB of one person. Transfer is absolute, as in `FirstOrderModel.forward`. Raises ValueError for
    other frames and sizes that the networks cannot do.
    """
    if frames.ndim != 4 or not len(frames) or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames: expected (T, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    pictures = [planes(torch.from_numpy(frame[None])) for frame in frames]
    keypoints = [model.detect(picture) for picture in pictures]  # the detector samples nothing
    errors = {}
    for align_corners in (False, True):
        generator = aligned(model, align_corners).generator
        source = generator.encode(pictures[0], keypoints[0].points)
        distances = []
        for picture, (points, jacobians) in zip(pictures, keypoints, strict=True):
            frame = generator.render(source, points, frame_change(keypoints[0].jacobians, jacobians))
            distances.append(float((frame - picture).abs().mean()))
        errors[align_corners] = sum(distances) / len(distances)
    return errors


def better_alignment(errors: Mapping[bool, float], margin: float = MARGIN) -> bool | None:
    """Which align_corners has the smaller error; None where neither is smaller by `margin`, a share of the larger."""
    if not all(math.isfinite(error) for error in errors.values()):
        raise ValueError("these weights render frames that are not finite: trained ones do not")
    for align_corners in (False, True):
        if errors[align_corners] < (1.0 - margin) * errors[not align_corners]:
            return align_corners
    return None


def aligned(model: FirstOrderModel, align_corners: bool) -> FirstOrderModel:
    """The model with the same weights that samples so; in eval mode. The same one where it does already."""
    if model.config.align_corners == align_corners:
        return model
    config = replace(model.config, align_corners=align_corners)
    return network_with(lambda: FirstOrderModel(config), model.state_dict())
