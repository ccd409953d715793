"""Weights of Rhythmic Head Motion's learners of the voice in files: safetensors, the published keys, and in the
metadata the configuration and what the numbers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner
from engine.nets.head_motion_learner import MOTION, HeadMotionConfig, HeadMotionLearner
from engine.nets.stored_weights import LayoutError, load_configured, task_metadata

EXPRESSION, HEAD_MOTION = "rhythmic-expression", "rhythmic-head-motion"
"What the files' metadata call them, as do the recipes."
_MEAN, _DEVIATION = "mean", "deviation"

Array = NDArray[np.float32]


class StoredHeadMotion(NamedTuple):
    """The head motion learner, and what its motion is normalised by."""

    network: HeadMotionLearner
    mean: Array
    "(6,)"
    deviation: Array
    "(6,)"


def expression_metadata(config: ExpressionConfig) -> dict[str, str]:
    """The metadata of a learner whose coefficients are those of the face model's basis, in standard deviations."""
    return task_metadata(EXPRESSION, config)


def head_motion_metadata(config: HeadMotionConfig, mean: Array, deviation: Array) -> dict[str, str]:
    """The metadata of a learner of `engine.motion.relative_pose`, normalised by (6,) mean and deviation."""
    statistics = {_MEAN: json.dumps(mean.tolist()), _DEVIATION: json.dumps(deviation.tolist())}
    return {**task_metadata(HEAD_MOTION, config), **statistics}


def load_expression_learner(path: Path) -> ExpressionLearner:
    """The learner of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return load_configured(path, EXPRESSION, ExpressionConfig, ExpressionLearner)[0]


def load_head_motion_learner(path: Path) -> StoredHeadMotion:
    """The learner of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    network, metadata = load_configured(path, HEAD_MOTION, HeadMotionConfig, HeadMotionLearner)
    try:
        mean, deviation = (_six(metadata[key], key) for key in (_MEAN, _DEVIATION))
    except (KeyError, ValueError) as error:
        raise LayoutError(f"{path}: {error}") from error
    return StoredHeadMotion(network, mean, deviation)


def _six(text: str, key: str) -> Array:
    try:
        numbers = np.array(json.loads(text), np.float32)
    except TypeError as error:
        raise ValueError(f"{key}: expected {MOTION} numbers") from error
    if numbers.shape != (MOTION,) or not np.isfinite(numbers).all():
        raise ValueError(f"{key}: expected {MOTION} numbers, got {text[:60]}")
    return numbers
