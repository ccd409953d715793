"""Whether several pictures show one person, for what blends them: two people's mean is nobody."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.face.landmarks import FaceError
from engine.quality.errors import MetricUnavailableError
from engine.quality.identity import DlibEmbedder, average_euclidean_distance
from engine.quality.image import Picture

APART = 0.7
"""Distance of dlib's embeddings above which two faces count as two people's. In pairs of 224 frames of 112 clips: none
of one person, 92 % of those of two people (at dlib's own 0.6: 3 % of one person's, 98 %)."""


class DifferentPeopleError(FaceError):
    """Pictures that should show one person show several."""


def require_one_person(
    frames: Sequence[Picture], landmarks: Sequence[NDArray[np.float32]], names: Sequence[str] = ()
) -> bool:
    """Raises DifferentPeopleError, naming the picture, where one shows another person than the first.

    frames: (H, W, 3) RGB. landmarks: (478, 3) frame coordinates. names: what messages call the pictures; without,
    their numbers.
    Returns whether that could be told: it takes dlib (extra `bench`).
    """
    if len(frames) < 2:
        return True
    embedder = _embedder()
    if embedder is None:
        return False
    first, *others = [embedder.embed(frame, points) for frame, points in zip(frames, landmarks, strict=True)]
    for number, other in enumerate(others, 2):
        distance = average_euclidean_distance(first, other)
        if distance > APART:
            named = names[number - 1] if names else f"picture {number}"
            raise DifferentPeopleError(
                f"{named} shows another person than {names[0] if names else 'picture 1'} (faces {distance:.2f} apart, "
                f"one person's stay below {APART}); leave it out"
            )
    return True


@lru_cache(maxsize=1)
def _embedder() -> DlibEmbedder | None:
    try:
        return DlibEmbedder()
    except MetricUnavailableError:
        return None
