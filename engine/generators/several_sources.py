"""Several pictures of one person (K-shot): every region of a frame from those that resemble it the most.

Expressions resemble each other where mouth or eyes have the same shape, poses where the heads are turned alike. All of
it changes smoothly with the motion, so that the picture does not jump from one source to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.regions import LEFT_BROW, LEFT_EYE, LEFT_IRIS, LIPS, RIGHT_BROW, RIGHT_EYE, RIGHT_IRIS
from engine.generators.head_shape import skull_motion
from engine.nets.portrait_dimensions import GRID

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

HEAD, EYES, MOUTH = 0, 1, 2
"The regions: the rest of the head, the eyes, the mouth."

EYE_POINTS = (*RIGHT_EYE, *LEFT_EYE, *RIGHT_IRIS, *LEFT_IRIS)
EYE_REGIONS = ((*RIGHT_EYE, *RIGHT_BROW), (*LEFT_EYE, *LEFT_BROW))


@dataclass(frozen=True)
class SharesConfig:
    mouth: float = 0.015
    eyes: float = 0.008
    "Differences of shape (RMS, in widths of the face) by which a source loses a factor e against a better one."
    turn: float = 4.0
    "The same for the rest of the head, in degrees."
    loyalty: float = 1.0
    "What the principal source is ahead of the others for the rest of the head, in the same logarithms."
    least: float = 0.08
    "Smaller shares are left out: each costs a drawing."


def source_shares(sources: Array, driving: Array, config: SharesConfig | None = None) -> Array:
    """(K, 3) the shares of K sources in the rest of the head, the eyes and the mouth; each column adds up to 1.

    sources: (K, 478, 3) landmarks of the source pictures, driving: (478, 3), all in pixels.
    """
    if len(sources) == 1:
        return np.ones((1, 3), np.float32)
    config = config or SharesConfig()
    losses = np.array([_losses(source, driving, config) for source in sources])
    losses[1:, HEAD] += config.loyalty
    shares = np.exp(losses.min(axis=0) - losses)
    shares /= shares.sum(axis=0)
    shares = np.maximum(shares - config.least, 0.0)  # not cut off: what fades must fade to nothing
    return np.asarray(shares / shares.sum(axis=0), np.float32)


def region_maps(driving: Array, size: int) -> Array:
    """(3, 64, 64) the rest of the head, the eyes and the mouth in the frame, with soft borders, adding up to 1."""
    scale = GRID / size
    width = float(np.ptp(driving[:, 0])) * scale
    maps = np.zeros((3, GRID, GRID), np.float32)
    for number, regions, grown in ((EYES, EYE_REGIONS, 0.02), (MOUTH, (LIPS,), 0.05)):
        mask: NDArray[Any] = np.zeros((GRID, GRID), np.float32)
        for points in regions:
            outline = cv2.convexHull(np.rint((driving[list(points), :2] * scale - 0.5) * 16).astype(np.int32))
            cv2.fillConvexPoly(mask, outline, 1.0, cv2.LINE_AA, 4)
        reach = 2 * max(round(grown * width), 1) + 1
        mask = cv2.dilate(mask, np.ones((reach, reach), np.uint8))
        maps[number] = cv2.GaussianBlur(mask, (0, 0), max(0.03 * width, 0.7))
    maps[EYES] *= 1.0 - maps[MOUTH]
    maps[HEAD] = 1.0 - maps[EYES] - maps[MOUTH]
    return maps


def blended(drawings: Mapping[int, Frame], shares: Array, maps: Array) -> tuple[Frame, Array]:
    """The drawings of those sources that have a share, joined, and the weight (K, 64, 64) of each source.

    drawings: (S, S, 4) by the number of the source. shares: (K, 3). maps: (3, 64, 64).
    """
    weight = np.tensordot(shares, maps, axes=1).astype(np.float32)
    if len(drawings) == 1:
        (only,) = drawings.values()
        return only, weight
    size = next(iter(drawings.values())).shape[0]
    total = np.zeros((size, size, 4), np.float32)
    for number, drawing in drawings.items():
        part = cv2.resize(weight[number], (size, size), interpolation=cv2.INTER_LINEAR)
        total += part[..., None] * drawing
    return np.rint(total).astype(np.uint8), weight


def joined(parts: NDArray[Any], shares: Array) -> NDArray[Any]:
    """What K sources have of a region (K, ...), by their shares (K,); of the same type as the parts."""
    used = np.flatnonzero(shares)
    if len(used) == 1:
        return np.asarray(parts[used[0]])
    mixed = np.tensordot(shares[used], parts[used].astype(np.float32), axes=1)
    return np.asarray(np.rint(mixed) if parts.dtype == np.uint8 else mixed).astype(parts.dtype)


def _losses(source: Array, driving: Array, config: SharesConfig) -> tuple[float, float, float]:
    """How little a source resembles the driving face: the rest of the head, the eyes, the mouth; in logarithms."""
    motion = skull_motion(source, driving).astype(np.float64)
    linear = motion[:, :3]
    scale = max(float(np.cbrt(max(np.linalg.det(linear), 0.0))), 1e-6)
    turn = np.degrees(np.arccos(np.clip((np.trace(linear) / scale - 1.0) / 2.0, -1.0, 1.0)))
    moved = source @ linear.T + motion[:, 3]
    width = max(float(np.ptp(driving[:, 0])), 1e-6)

    def difference(points: tuple[int, ...]) -> float:
        offsets = (moved[list(points), :2] - driving[list(points), :2]) / width
        # Where it is drawn follows the landmarks anyway: only the shape counts.
        return float(np.sqrt(((offsets - offsets.mean(axis=0)) ** 2).sum(axis=1).mean()))

    return turn / config.turn, difference(EYE_POINTS) / config.eyes, difference(LIPS) / config.mouth
