"""Whether several pictures show one person, for generators that take several: where dlib is installed (extra `bench`).

Without it nobody can tell: the shapes of faces that landmarks give differ as much between two pictures of one person as
between two people (measured on 84 people).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import GeneratorError
from engine.quality.errors import MetricUnavailableError
from engine.quality.identity import DlibEmbedder

Array = NDArray[np.float32]

NUMBERS = 128
ONE_PERSON = 0.67
"""Embeddings of one person are nearer than this: those of all 232 pairs of pictures from different recordings of one
person, and of 5 % of the pairs of two people. dlib says 0.6, which parts 4 % of the former; 2 % of the latter pass."""


def likeness(frames: NDArray[np.uint8], landmarks: Array) -> Array:
    """(B, 128) by which faces are told apart, of (B, S, S, 3) frames; zeros where dlib is not installed."""
    embedder = _embedder()
    if embedder is None:
        return np.zeros((len(frames), NUMBERS), np.float32)
    pairs = zip(frames, landmarks, strict=True)
    return np.stack([embedder.embed(frame, points) for frame, points in pairs]).astype(np.float32)


def require_one_person(generator: str, likenesses: Sequence[Array]) -> None:
    """Raises GeneratorError if one of the (128,) is of another person than the first; those of zeros count as alike."""
    for number, one in enumerate(likenesses[1:], 2):
        apart = float(np.linalg.norm(one - likenesses[0])) if one.any() and likenesses[0].any() else 0.0
        if apart > ONE_PERSON:
            raise GeneratorError(
                f"generator {generator}: picture {number} shows another person than the first one (their faces are "
                f"{apart:.2f} apart, one person's are within {ONE_PERSON}); give pictures of one person alone"
            )


@cache
def _embedder() -> DlibEmbedder | None:
    try:
        return DlibEmbedder()
    except MetricUnavailableError:
        return None
