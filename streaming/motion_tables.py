"""The codec's tables for what drives a generator."""

from __future__ import annotations

from engine.generators import load_generator
from engine.generators.keypoint_generator import KeypointGenerator
from engine.weights import weights_folder
from streaming.keypoint_statistics import LEARNED_NAME, keypoint_statistics
from streaming.motion_statistics import MotionStatistics


def motion_tables(generator: str, size: int) -> MotionStatistics | None:
    """For keypoints those that were learned for the generator's weights, if they lie beside these, else the general
    ones; None for a generator that is driven by faces, whose tables everybody has.

    Raises GeneratorError, and CodecError for tables that are not for these weights.
    """
    made = load_generator(generator, size)
    if not isinstance(made, KeypointGenerator):
        return None
    return keypoint_statistics(made.keypoint_count, made.digest, weights_folder(generator) / LEARNED_NAME)
