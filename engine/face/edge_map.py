"""The face as white curves on black, two pixels wide: what Rhythmic Head Motion and its relatives are driven by.

Few-shot vid2vid (2019) drew the 68 contour points so: a parabola through every three of them, the jaw closed by its own
mirror image for a forehead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.contours68 import CONTOURS_68

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

FOREHEAD = 15
"Points beside the 68: the jaw's without its ends, mirrored."
FOREHEAD_HEIGHT = 2.0 / 3.0
"Of the forehead over the jaw's."
STEEPEST = 1.0
"A parabola that is bent more (1 / pixel) is an accident of points on a line, and not drawn."

_CHAINS = (
    (*range(17), *range(68, 68 + FOREHEAD), 0),
    (17, 18, 19, 20, 21),
    (22, 23, 24, 25, 26),
    (28, 31),
    (31, 32, 33, 34, 35),
    (35, 28),
    (36, 37, 38, 39),
    (39, 40, 41, 36),
    (42, 43, 44, 45),
    (45, 46, 47, 42),
    (48, 49, 50, 51, 52, 53, 54),
    (54, 55, 56, 57, 58, 59, 48),
    (60, 61, 62, 63, 64),
    (64, 65, 66, 67, 60),
)


_PIECES = np.array(
    [
        (*chain[start : start + 3], chain[start + 1])[
            :3
        ]  # of the two points that may be left at the end, the last twice
        for chain in _CHAINS
        for start in range(0, len(chain) - 1, 2)
    ]
)


def edge_map(points_px: Array, size: int) -> NDArray[np.uint8]:
    """(size, size), 255 on the curves through the contour points (68, 2) in pixels of the picture, 0 elsewhere.

    Raises ValueError for other shapes and points that are not finite.
    """
    if points_px.shape != (len(CONTOURS_68), 2) or not np.isfinite(points_px).all():
        raise ValueError(f"points_px: expected ({len(CONTOURS_68)}, 2) finite, got {points_px.shape}")
    points = np.concatenate((points_px, _forehead(points_px))).astype(np.float64)
    column, row = np.floor(_curves(points[_PIECES], size)).astype(np.int64)
    canvas = np.zeros((size + 2, size + 2), np.uint8)  # with a border for what lies outside
    for right in (0, 1):
        for down in (0, 1):
            canvas[np.clip(row + down, 0, size + 1), np.clip(column + right, 0, size + 1)] = 255
    return np.ascontiguousarray(canvas[1:-1, 1:-1])


def _forehead(points: Array) -> Array:
    """(15, 2) the jaw's points from its left to its right end, mirrored at the line through the ends, and lower."""
    jaw, across = points[15:0:-1], points[16] - points[0]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    normal = np.array((-across[1], across[0]), points.dtype)
    distance = (jaw - points[0]) @ normal
    mirrored: Array = jaw - (1.0 + FOREHEAD_HEIGHT) * distance[:, None] * normal
    return mirrored


def _curves(pieces: Doubles, size: int) -> Doubles:
    """(2, N) x and y along all pieces (P, 3, 2), three points each or the last one twice; a pixel apart in the axis in
    which a piece is spread more."""
    along = (np.ptp(pieces[..., 1], axis=1) > np.ptp(pieces[..., 0], axis=1)).astype(int)
    number = np.arange(len(pieces))
    t, value = pieces[number, :, along], pieces[number, :, 1 - along]
    first, last = t.min(axis=1), np.minimum(t.max(axis=1), t.min(axis=1) + 2 * size)
    slope = _ratio(value[:, 1] - value[:, 0], t[:, 1] - t[:, 0])
    later = _ratio(value[:, 2] - value[:, 1], t[:, 2] - t[:, 1])
    whole = (pieces[:, 1] != pieces[:, 2]).any(axis=1)
    bend = np.where(whole, _ratio(later - slope, t[:, 2] - t[:, 0]), 0.0)
    # A parabola needs three different places; a line that is drawn twice does no harm.
    drawn = np.abs(bend) <= STEEPEST
    drawn &= ~whole | ((t[:, 0] != t[:, 1]) & (t[:, 1] != t[:, 2]) & (t[:, 0] != t[:, 2]))
    # At whole pixels and at both ends, so that pieces meet.
    count = np.ceil(last).astype(int) - np.floor(first).astype(int) + 1
    piece = np.repeat(number, np.where(drawn, count, 0))
    step = np.arange(len(piece)) - np.searchsorted(piece, piece)
    at = np.clip(np.floor(first)[piece] + step, first[piece], last[piece])
    from_first, from_second = at - t[piece, 0], at - t[piece, 1]
    curve = value[piece, 0] + slope[piece] * from_first + bend[piece] * from_first * from_second
    return np.where(along[piece] == 1, (curve, at), (at, curve))


def _ratio(rise: Doubles, run: Doubles) -> Doubles:
    """0 where there is no run."""
    ratio: Doubles = np.divide(rise, run, out=np.zeros_like(rise), where=run != 0)
    return ratio
