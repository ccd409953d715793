"""What the networks of `portrait` get to see of what the mesh drew."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.regions import INNER_LOWER_LIP, INNER_UPPER_LIP, LEFT_EYE, RIGHT_EYE
from engine.generators.mesh import Drawn
from engine.nets.portrait_dimensions import GRID

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

PLATE, PERSON, FACE, EYE, MOUTH = 0, 70, 130, 190, 255
"What a pixel shows. Edges are blended, so that neighbours in this order are what lies beside each other in a picture."

SUBPIXEL_BITS = 4
INNER_LIPS = (*INNER_UPPER_LIP, *reversed(INNER_LOWER_LIP))


def labelled(drawn: Drawn) -> Frame:
    """(S, S, 4): the frame that the mesh drew, RGB, and beside it what each pixel shows, `PLATE` to `MOUTH`."""
    label = np.full(drawn.on_face.shape, PERSON, np.uint8)
    label[~drawn.on_person] = PLATE
    label[drawn.on_face] = FACE
    for points, value in ((RIGHT_EYE, EYE), (LEFT_EYE, EYE), (INNER_LIPS, MOUTH)):
        # Pixel centres are at halves here and at whole numbers in OpenCV.
        corners = (drawn.landmarks_px[list(points), :2] - 0.5) * 2**SUBPIXEL_BITS
        cv2.fillPoly(label, [np.rint(corners).astype(np.int32)], value, cv2.LINE_AA, SUBPIXEL_BITS)
    picture = cv2.cvtColor(drawn.frame, cv2.COLOR_RGB2RGBA)
    picture[..., 3] = label
    return np.asarray(picture, np.uint8)


def place_grid(drawn: Drawn) -> Array:
    """(64, 64, 2) where in the source each cell of the frame comes from, normalised coordinates (-1 to 1 inside).

    The plate has not moved.
    """
    size = drawn.frame.shape[0]
    place = _own_places(size).copy()
    cv2.copyTo(drawn.place_px, drawn.on_person.view(np.uint8), place)
    coarse = cv2.resize(place, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse * (2.0 / size) - 1.0, np.float32)


@cache
def _own_places(size: int) -> Array:
    """(S, S, 2) where each pixel is, x then y."""
    steps = np.arange(size, dtype=np.float32) + 0.5
    return np.stack(np.broadcast_arrays(steps[None, :], steps[:, None]), axis=2)
