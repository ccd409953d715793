"""Which align_corners imported weights want, found on frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.first_order import FirstOrderConfig
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from engine.nets.pictures import pixels, planes
from engine.weights.importers.alignment import aligned, better_alignment, reconstruction_errors

SMALL = FirstOrderConfig(
    detector=KeypointConfig(keypoints=4, hourglass=HourglassConfig(4, 16, 2)),
    motion=DenseMotionConfig(hourglass=HourglassConfig(4, 16, 2)),
    width=8,
    limit=16,
    residual_blocks=1,
)


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    blurred = rng.integers(0, 256, (3, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    return np.ascontiguousarray(blurred)


@torch.no_grad()
def test_errors_are_those_of_the_whole_model(random_first_order, frames):
    model = random_first_order(SMALL, 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    errors = reconstruction_errors(model, frames)
    pictures = planes(torch.from_numpy(frames))
    for flag in (False, True):
        rendered = aligned(model, flag)(pictures[:1].expand(3, -1, -1, -1), pictures)
        assert errors[flag] == pytest.approx(float((rendered - pictures).abs().mean()), rel=1e-4)
    assert errors[False] != errors[True]
    for key, value in before.items():
        torch.testing.assert_close(model.state_dict()[key], value, atol=0, rtol=0)
    assert not model.config.align_corners


@pytest.mark.parametrize("truth", [False, True])
@torch.no_grad()
def test_frames_that_were_rendered_with_one_are_told_from_the_other(random_first_order, frames, truth):
    model = random_first_order(SMALL, 1)
    # Keypoints that are the same in every picture: so what is rendered, rendered from its own keypoints, is itself.
    for head in (model.kp_detector.kp, model.kp_detector.jacobian):
        nn.init.zeros_(head.weight)
        head.bias[:] = torch.tensor([1.2, 0.3, 0.1, 0.8]).repeat(4) if len(head.bias) == 16 else 0.0
    source = planes(torch.from_numpy(frames[:1]))
    rendered = pixels(aligned(model, truth)(source, source)).numpy()
    errors = reconstruction_errors(model, np.concatenate([frames[:1], *[rendered] * 7]))
    assert errors[truth] < errors[not truth]
    assert better_alignment(errors, margin=0.0) is truth


def test_better_means_by_a_margin():
    assert better_alignment({False: 0.100, True: 0.098}) is True
    assert better_alignment({False: 0.098, True: 0.100}) is False
    assert better_alignment({False: 0.1000, True: 0.0995}) is None
    assert better_alignment({False: 0.1, True: 0.1}) is None
    with pytest.raises(ValueError, match="not finite"):
        better_alignment({False: 0.1, True: math.nan})


def test_frames_that_cannot_be_used_are_refused(random_first_order, frames):
    model = random_first_order(SMALL, 0)
    for bad in (frames[0], frames[:0], frames[..., :1], frames.astype(np.float32)):
        with pytest.raises(ValueError, match=r"frames: expected \(T, H, W, 3\) uint8"):
            reconstruction_errors(model, bad)
    with pytest.raises(ValueError, match="divisible by 16"):
        reconstruction_errors(model, frames[:, :-1])
