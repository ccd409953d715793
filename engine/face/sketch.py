"""Line drawings of a face from its 131 points, as IP-LAP's renderer takes them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.landmarks131 import (
    INNER_LIPS,
    JAW,
    LANDMARKS_131,
    LEFT_BROW,
    LEFT_CHEEK,
    LEFT_EYE,
    NOSE_BRIDGE,
    NOSE_WINGS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_CHEEK,
    RIGHT_EYE,
    Boxes,
)

Array = NDArray[np.float32]

GREY = 224.0
"Of the lines, on black."
_EDGE = 1e-9
"By so much a point may be outside and still be drawn."
_FRACTION_BITS = 4


@dataclass(frozen=True)
class SketchConfig:
    """How lines are drawn."""

    smooth: bool = False
    """Whether lines have soft edges and are placed to 1/16 pixel, so that small motions show; published sketches have
    steps and whole pixels."""


def _connections() -> tuple[tuple[int, int], ...]:
    nose = LANDMARKS_131.index(4)
    assert NOSE_WINGS[4] == LANDMARKS_131[nose]
    wing = len(NOSE_WINGS) // 2
    chains = (
        (*OUTER_LIPS, OUTER_LIPS[0]),
        (*INNER_LIPS, INNER_LIPS[0]),
        (*RIGHT_EYE, RIGHT_EYE[0]),
        (*LEFT_EYE, LEFT_EYE[0]),
        *(RIGHT_BROW[:5], RIGHT_BROW[5:], LEFT_BROW[:5], LEFT_BROW[5:]),
        (*RIGHT_CHEEK, *JAW, *LEFT_CHEEK),
        (*NOSE_BRIDGE, NOSE_WINGS[wing]),
        *(NOSE_WINGS[: wing + 1], NOSE_WINGS[wing:]),
    )
    number = {index: place for place, index in enumerate(LANDMARKS_131)}
    return tuple((number[a], number[b]) for chain in chains for a, b in pairwise(chain))


CONNECTIONS = _connections()
"The 125 lines, between places in the 131 points."


def draw_sketch(points: Array, box: Boxes, side: int, config: SketchConfig = SketchConfig()) -> Array:
    """(side, side) the drawing of (131, 2) points from 0 to 1 in their box, black 0 and lines 224/255.

    box: (4,), whose shape the drawing has before it is made square. Points outside are left out with their lines.
    """
    width, height = (int(box[2] - box[0]), int(box[3] - box[1]))
    shorter = min(width, height)
    if points.shape != (len(LANDMARKS_131), 2) or shorter < 1:
        raise ValueError(f"points: expected ({len(LANDMARKS_131)}, 2) in a box, got {points.shape} in {width}x{height}")
    columns, rows = int(width * side / shorter), int(height * side / shorter)
    within = np.isfinite(points) & (points >= -_EDGE) & (points <= 1.0 + _EDGE)
    inside: NDArray[np.bool_] = np.asarray(within.all(axis=1))
    places = np.where(inside[:, None], points, 0.0) * np.array((columns, rows), np.float64)
    lines = [(a, b) for a, b in CONNECTIONS if inside[a] and inside[b]]
    if config.smooth:
        canvas = _smooth(places, lines, columns, rows)
    else:
        canvas = np.zeros((rows, columns), np.float32)
        pixels = np.minimum(places.astype(np.int64), (columns - 1, rows - 1)).tolist()
        for a, b in lines:
            cv2.line(canvas, pixels[a], pixels[b], GREY, 1)
    drawn = canvas if canvas.shape == (side, side) else cv2.resize(canvas, (side, side))
    return np.asarray(drawn, np.float32) * np.float32(1.0 / 255.0)


def _smooth(places: NDArray[np.float64], lines: list[tuple[int, int]], columns: int, rows: int) -> Array:
    canvas = np.zeros((rows, columns), np.uint8)  # the only kind that is drawn on with soft edges
    unit = 1 << _FRACTION_BITS
    fixed = np.rint((places - 0.5) * unit).astype(int).tolist()
    for a, b in lines:
        cv2.line(canvas, fixed[a], fixed[b], GREY, 1, cv2.LINE_AA, _FRACTION_BITS)
    return canvas.astype(np.float32)
