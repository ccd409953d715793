"""The head out of somebody's picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.images import load_image
from engine.face.landmarks import detect_face


def head_picture(path: str | Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) RGB crop around the one head in a picture: what a caller sends, and no more of the room.

    Raises ImageError, NoFaceError, SeveralFacesError.
    """
    picture = load_image(path)
    height, width = picture.shape[:2]
    return HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN).apply(picture, size)
