"""What the layout's pre-training aims at: classes of CelebAMask-HQ, from landmarks and a matte of the person.

The paper takes them from a face parser, which does not come with this project. Polygons of landmarks give skin, brows,
eyes, nose, lips and mouth; the matte parts the person from the background, and what of the person is not the face is
hair down to the chin, neck below it and cloth beside that. Glasses, ears, hats and jewels are not told apart. The
classes only begin the training: afterwards the layout is free to become what the picture needs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.regions import (
    FACE_OVAL,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LOWER_LIP,
    OUTER_UPPER_LIP,
    RIGHT_BROW,
    RIGHT_EYE,
)
from engine.generators.matte import Matte, person_matte
from engine.motion import to_pixels

Frame = NDArray[np.uint8]
Classes = NDArray[np.uint8]
Array = NDArray[np.float32]

BACKGROUND, SKIN, NOSE = 0, 1, 2
LEFT_EYE_CLASS, RIGHT_EYE_CLASS, LEFT_BROW_CLASS, RIGHT_BROW_CLASS = 4, 5, 6, 7
MOUTH, UPPER_LIP, LOWER_LIP = 10, 11, 12
HAIR, NECK, CLOTH = 13, 17, 18
COUNT = 19

NOSE_OUTLINE = (168, 122, 174, 198, 49, 48, 64, 98, 97, 2, 326, 327, 294, 278, 279, 420, 399, 351)
CHIN = 152
NECK_REACH = 0.32
"Half the width of the neck, and its length, in widths of the face."

_MOUTH_CORNERS = (INNER_UPPER_LIP[-1], INNER_UPPER_LIP[0])
_POLYGONS = (
    (FACE_OVAL, SKIN),
    (NOSE_OUTLINE, NOSE),
    (RIGHT_BROW, RIGHT_BROW_CLASS),
    (LEFT_BROW, LEFT_BROW_CLASS),
    (RIGHT_EYE, RIGHT_EYE_CLASS),
    (LEFT_EYE, LEFT_EYE_CLASS),
    ((*OUTER_UPPER_LIP, *reversed(INNER_UPPER_LIP)), UPPER_LIP),
    ((OUTER_UPPER_LIP[0], *OUTER_LOWER_LIP, OUTER_UPPER_LIP[-1], _MOUTH_CORNERS[0], *reversed(INNER_LOWER_LIP),
      _MOUTH_CORNERS[1]), LOWER_LIP),
    ((*INNER_UPPER_LIP, *reversed(INNER_LOWER_LIP)), MOUTH),
)  # fmt: skip
"In the order in which they are drawn over each other."
_MIRRORED = np.arange(COUNT, dtype=np.uint8)
_MIRRORED[[LEFT_EYE_CLASS, RIGHT_EYE_CLASS, LEFT_BROW_CLASS, RIGHT_BROW_CLASS]] = (
    RIGHT_EYE_CLASS, LEFT_EYE_CLASS, RIGHT_BROW_CLASS, LEFT_BROW_CLASS,
)  # fmt: skip


def layout_target(landmarks: Array, matte: Matte | None, size: int) -> Classes:
    """(size, size) the class of each pixel.

    landmarks: (478, 3) frame coordinates. matte: (size, size) of the person; None where it is not known: all but the
    face is background then.
    """
    points = to_pixels(landmarks, size, size)
    classes = np.full((size, size), BACKGROUND, np.uint8)
    if matte is not None:
        person = matte > 0.5
        width = float(np.ptp(points[list(FACE_OVAL), 0]))
        across = np.abs(np.arange(size) + 0.5 - points[CHIN, 0])[None, :] / width
        down = (np.arange(size) + 0.5 - points[CHIN, 1])[:, None] / width
        classes[person] = HAIR
        classes[person & (down > 0)] = CLOTH
        classes[person & (down > -NECK_REACH) & (down < NECK_REACH) & (across < NECK_REACH)] = NECK
    for numbers, value in _POLYGONS:
        outline = np.rint((points[list(numbers), :2] - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(classes, [outline], value, cv2.LINE_8, 4)
    return classes


def frame_layout(frame: Frame, landmarks: Array) -> Classes:
    """The same for a frame (S, S, 3) RGB, its matte included; some 8 ms. Not after a fork: MediaPipe has threads."""
    size = len(frame)
    return layout_target(landmarks, person_matte(frame, to_pixels(landmarks, size, size)), size)


def mirrored_layout(classes: Classes) -> Classes:
    """(..., S, S) the classes of the mirror image: what was the left eye is the right one."""
    return np.asarray(_MIRRORED[classes[..., ::-1]], np.uint8)
