"""Guess a frame, and how wrong the guess may be, from frames that both sides hold. Integers only.

A frame is predicted from its *reference* and the way the face moved up to it: `reference + a (x0 - x1) + b (x1 -
x2)`, where x1 and x2 are the coordinates one and two ticks before the reference, a and b learned for each distance
and coordinate. Where a frame in between was lost, the trajectory is interpolated over it; where the older end is
missing, the face is taken to have stood still.

The expected size of the error is learned for each distance and coordinate as well, and corrected by what both sides
know: how large the errors were lately along the chain of references (of this coordinate, of all), how fast the face
moved (this coordinate, all), and how large the errors already read from this packet are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streaming.motion_statistics import (
    CLASS_OF_ONE,
    CLASSES,
    COORDINATE_LIMIT,
    MAX_DISTANCE,
    TAP_BITS,
    WEIGHT_BITS,
    IntArray,
    MotionStatistics,
    logarithm,
    logarithms,
)

HISTORY = 4
"Frames from so many ticks before the reference may help to predict."
TRAINED_FPS = 25

ACTIVITY_PRIOR = 64
"One step of residual, in the 1/64 steps that activity is counted in: keeps ratios of small counts near one."
_ACTIVITY_DECAY_BITS = 3
_ACTIVITY_LEVEL_LIMIT = 4095


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as the receiver sees it, and what later frames need to know of it. Arrays are never written again."""

    tick: int
    coordinates: IntArray
    "(D,) units."
    confidence_level: int
    distance: int
    "Ticks from its own reference; 0 if it had none."
    observed: IntArray
    "(D,) decaying sum of |residual| along the chain of references, 1/64 step."
    expected: IntArray
    "(D,) the same of what the tables expected."


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is expected of a frame before its residuals are read."""

    coordinates: IntArray
    "(D,) units."
    size: IntArray
    "(D,) 16 log2 of the expected error in steps."
    inner_weight: int
    "How far the residuals already read move `size`, Q8."
    observed: IntArray
    "(D,) carried over from the reference."
    expected: IntArray
    "(D,) the same, with this frame's expectation added."


def first_prediction(statistics: MotionStatistics, step: int) -> Prediction:
    """For a frame that refers to none. step: units."""
    size = statistics.mean_scale.astype(np.int64) - logarithm(step)
    nothing = np.zeros(statistics.size, dtype=np.int64)
    return Prediction(statistics.mean.astype(np.int64), size, 0, nothing, nothing)


def predict(
    statistics: MotionStatistics, reference: Frame, older: Sequence[Frame], distance: int, step: int, fps: int
) -> Prediction:
    """For the frame `distance` ticks after `reference`. older: frames of the HISTORY ticks before it, newest first."""
    at_25 = min(max((2 * distance * TRAINED_FPS + fps) // (2 * fps), 1), MAX_DISTANCE) - 1
    before = [_at(reference, older, reference.tick - back) for back in (1, 2)]
    newest_step = reference.coordinates - before[0]
    older_step = before[0] - before[1]
    if fps != TRAINED_FPS:
        newest_step = newest_step * fps // TRAINED_FPS
        older_step = older_step * fps // TRAINED_FPS
    taps = statistics.taps[at_25].astype(np.int64)
    moved = (taps[:, 0] * newest_step + taps[:, 1] * older_step + (1 << (TAP_BITS - 1))) >> TAP_BITS
    coordinates = np.clip(reference.coordinates + moved, -COORDINATE_LIMIT, COORDINATE_LIMIT)

    plain = statistics.scale[at_25].astype(np.int64) - logarithm(step)
    contexts = prediction_contexts(reference, newest_step, older_step)
    weights = [int(weight) for weight in statistics.weights[at_25]]
    corrections = np.zeros(len(plain), np.int64)
    for weight, context in zip(weights[:-1], contexts, strict=True):
        corrections += weight * np.asarray(context, np.int64)
    expected = reference.expected - (reference.expected >> _ACTIVITY_DECAY_BITS) + expected_levels(statistics, plain)
    observed = reference.observed - (reference.observed >> _ACTIVITY_DECAY_BITS)
    return Prediction(coordinates, plain + (corrections >> WEIGHT_BITS), weights[-1], observed, expected)


def prediction_contexts(
    reference: Frame, newest_step: IntArray, older_step: IntArray
) -> tuple[IntArray, int, IntArray, int]:
    """The contexts that `weights` belongs to, all but the last one, 1/16 octave: (D,) or scalars."""
    motion = np.abs(newest_step) + np.abs(older_step)
    return (
        logarithms(reference.observed + ACTIVITY_PRIOR) - logarithms(reference.expected + ACTIVITY_PRIOR),
        logarithm(int(reference.observed.sum()) + ACTIVITY_PRIOR)
        - logarithm(int(reference.expected.sum()) + ACTIVITY_PRIOR),
        logarithms(motion + 8) - logarithm(64),
        logarithm(int(motion.sum()) + 8) - logarithm(1024),
    )


def expected_levels(statistics: MotionStatistics, size: IntArray) -> IntArray:
    """(D,) mean |residual| in 1/64 step at expected sizes of 1/16 octave."""
    classes = (size >> 2) + CLASS_OF_ONE
    shifts = np.clip((classes - CLASSES + 4) >> 2, 0, 24)
    levels: IntArray = statistics.expected_levels[np.clip(classes - 4 * shifts, 0, CLASSES - 1)] << shifts
    return levels


def decoded_frame(
    prediction: Prediction, residuals: Sequence[int], tick: int, distance: int, confidence_level: int, step: int
) -> Frame:
    """The frame that both sides hold once its residuals (D,), in steps, are known."""
    steps = np.array(residuals, dtype=np.int64)
    return Frame(
        tick=tick,
        coordinates=prediction.coordinates + steps * step,
        confidence_level=confidence_level,
        distance=distance,
        observed=prediction.observed + 64 * np.minimum(np.abs(steps), _ACTIVITY_LEVEL_LIMIT) * (distance > 0),
        expected=prediction.expected,
    )


def _at(reference: Frame, older: Sequence[Frame], tick: int) -> IntArray:
    """(D,) coordinates at a tick before the reference, on straight lines between the frames."""
    later = reference
    for frame in older:
        if frame.tick <= tick:
            span = later.tick - frame.tick
            return (frame.coordinates * (later.tick - tick) + later.coordinates * (tick - frame.tick)) // span
        later = frame
    return later.coordinates
