"""Weights of Rhythmic Head Motion's learners of the voice in files: safetensors, the published keys, and in the
metadata the configuration and what the numbers mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner
from engine.nets.head_motion_learner import MOTION, HeadMotionConfig, HeadMotionLearner
from engine.nets.stored_weights import LayoutError, config_from_json, network_with, read_state

EXPRESSION, HEAD_MOTION = "rhythmic-expression", "rhythmic-head-motion"
"What the files' metadata call them, as do the recipes."
_CONFIG, _MEAN, _DEVIATION = "config", "mean", "deviation"

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
    return {"task": EXPRESSION, _CONFIG: json.dumps(asdict(config))}


def head_motion_metadata(config: HeadMotionConfig, mean: Array, deviation: Array) -> dict[str, str]:
    """The metadata of a learner of `engine.motion.relative_pose`, normalised by (6,) mean and deviation."""
    statistics = {_MEAN: json.dumps(mean.tolist()), _DEVIATION: json.dumps(deviation.tolist())}
    return {"task": HEAD_MOTION, _CONFIG: json.dumps(asdict(config)), **statistics}


def load_expression_learner(path: Path) -> ExpressionLearner:
    """The learner of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    state, metadata = _read(path, EXPRESSION)
    try:
        config = config_from_json(ExpressionConfig, metadata[_CONFIG])
        return network_with(lambda: ExpressionLearner(config), state)
    except (KeyError, ValueError) as error:
        raise LayoutError(f"{path}: {error}") from error


def load_head_motion_learner(path: Path) -> StoredHeadMotion:
    """The learner of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    state, metadata = _read(path, HEAD_MOTION)
    try:
        config = config_from_json(HeadMotionConfig, metadata[_CONFIG])
        mean, deviation = (_six(metadata[key], key) for key in (_MEAN, _DEVIATION))
        return StoredHeadMotion(network_with(lambda: HeadMotionLearner(config), state), mean, deviation)
    except (KeyError, ValueError) as error:
        raise LayoutError(f"{path}: {error}") from error


def _read(path: Path, task: str) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    state, metadata = read_state(path)
    if metadata.get("task") != task:
        raise LayoutError(f"{path}: weights of {metadata.get('task', 'something else')}, not of {task}")
    return state, metadata


def _six(text: str, key: str) -> Array:
    try:
        numbers = np.array(json.loads(text), np.float32)
    except TypeError as error:
        raise ValueError(f"{key}: expected {MOTION} numbers") from error
    if numbers.shape != (MOTION,) or not np.isfinite(numbers).all():
        raise ValueError(f"{key}: expected {MOTION} numbers, got {text[:60]}")
    return numbers
