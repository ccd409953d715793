"""The person in the source picture: a soft matte, and the still plate behind it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.native_log import quiet_native_log
from engine.face.regions import MESH_POINTS
from engine.generators.colour import as_bytes
from engine.generators.head_shape import CHIN, HAIRLINE, LEFT_EAR, RIGHT_EAR
from engine.generators.inpainting import fill

Picture = NDArray[np.uint8]
Matte = NDArray[np.float32]

_segmenter_lock = threading.Lock()


@dataclass(frozen=True)
class MatteConfig:
    """How a segmenter's coarse answer becomes a matte. Lengths are shares of the frame's side."""

    guide_radius: float = 0.008
    "Radius within which the matte is pulled to the picture's own edges."
    guide_smoothness: float = 2e-4
    "Colour variance (0 to 1 squared) below which a difference is not an edge."
    low: float = 0.4
    high: float = 0.9
    "Segmenter confidences that become 0 and 1."
    face_share: float = 0.85
    "Share of the face that must be found, or the matte is not used."
    core: float = 0.98
    "Matte from which a pixel's colour is the person's own."
    colour_range: float = 45.0
    "How far, of 255, a pixel on the edge may differ from the colour of the person beside it."
    neck_width: float = 0.62
    "Width of the neck that is painted where the head hid it, in widths of the face."
    plate_margin: float = 0.01
    "What is this close to the person is filled in on the plate too: it holds the person's colour."


def person_matte(frame: Picture, landmarks: NDArray[np.float32], config: MatteConfig | None = None) -> Matte | None:
    """(S, S) from 0, background, to 1, the person with these `landmarks` (478, 3; pixels); None where that fails.

    frame: (S, S, 3) RGB.
    """
    config = config or MatteConfig()
    size = frame.shape[0]
    confidence = _segment(frame)
    inside = _face(frame, landmarks)
    if inside.sum() == 0 or (confidence[inside > 0] > 0.5).mean() < config.face_share:
        return None
    _, parts = cv2.connectedComponents((confidence > 0.3).astype(np.uint8))
    part = np.bincount(parts[(inside > 0) & (parts > 0)]).argmax()
    confidence = confidence * cv2.dilate((parts == part).astype(np.uint8), np.ones((5, 5), np.uint8))
    radius = max(2, round(config.guide_radius * size))
    guide = frame.astype(np.float32) / 255.0
    refined = cv2.ximgproc.guidedFilter(guide, confidence.astype(np.float32), radius, config.guide_smoothness)
    matte: Matte = np.clip((refined - config.low) / (config.high - config.low), 0.0, 1.0).astype(np.float32)
    return matte


def person_layer(
    frame: Picture, matte: Matte, plate: Picture, landmarks: NDArray[np.float32], config: MatteConfig | None = None
) -> Picture:
    """(S, S, 4) the person alone, premultiplied RGBA; opaque wherever the mesh of `landmarks` (478, 3; pixels) is.

    Over the plate at its own place it gives the frame again, but for this: where the matte is soft, the colour stays
    near that of the person beside it. A matte that is a little wrong would else carry a halo of background along.
    """
    config = config or MatteConfig()
    core = np.asarray(cv2.erode((matte >= config.core).astype(np.float32), np.ones((3, 3), np.uint8)), np.float32)
    beside = fill(frame.astype(np.float32), core)
    share = np.maximum(matte, 0.02)[..., None]
    unmixed = (frame - (1.0 - share) * plate) / share
    colour = np.clip(unmixed, beside - config.colour_range, beside + config.colour_range)
    inside = core[..., None]
    alpha = np.maximum(matte, cv2.blur(_face(frame, landmarks).astype(np.float32), (3, 3)))[..., None]
    premultiplied = alpha * np.clip(inside * frame + (1.0 - inside) * colour, 0.0, 255.0)
    return as_bytes(np.dstack((premultiplied, 255.0 * alpha)))


def still_plate(
    frame: Picture, matte: Matte, landmarks: NDArray[np.float32], config: MatteConfig | None = None
) -> Picture:
    """(S, S, 3) the picture without the head: filled from the background around, and with the neck that the head hid.

    landmarks: (478, 3) in pixels.
    """
    config = config or MatteConfig()
    margin = max(1, round(config.plate_margin * frame.shape[0]))
    person = cv2.dilate((matte > 0.02).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    background = cv2.erode((matte < 0.02).astype(np.uint8), np.ones((3, 3), np.uint8))
    known = cv2.blur(1.0 - person.astype(np.float32), (margin, margin)) * background
    plate = fill(frame.astype(np.float32), known)
    neck, skin = _neck(frame, matte, landmarks, config)
    plate = plate + neck[..., None] * (skin - plate)
    return as_bytes(plate)


def _neck(frame: Picture, matte: Matte, landmarks: NDArray[np.float32], config: MatteConfig) -> tuple[Matte, Matte]:
    """Coverage (S, S) and colour (S, S, 3) of a neck that goes on upwards behind the jaw."""
    right, left, chin = landmarks[RIGHT_EAR, :2], landmarks[LEFT_EAR, :2], landmarks[CHIN, :2]
    across = 0.5 * config.neck_width * (left - right)
    down = chin - landmarks[HAIRLINE, :2]
    top, bottom = 0.5 * (right + left) + 0.3 * down, 0.5 * (right + left) + 0.8 * down
    outline = np.round(np.stack((top - across, top + across, bottom + across, bottom - across))).astype(np.int32)
    size = frame.shape[0]
    shape = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(shape, outline, 255, cv2.LINE_AA)
    margin = max(2, size // 64)
    face = cv2.dilate(_face(frame, landmarks), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    # The throat below the jaw tells the colour of the rest.
    throat = (shape > 127) & (face == 0) & (matte > config.core)
    throat[: max(0, round(float(top[1])))] = False
    if throat.sum() < 0.002 * size * size:
        return np.zeros((size, size), np.float32), frame.astype(np.float32)
    median = np.median(frame[throat], axis=0)
    colour = fill(frame.astype(np.float32), throat.astype(np.float32))
    colour = 0.5 * colour + 0.5 * median
    # It fades upwards: a head that has gone far away leaves no stump.
    rows = (np.arange(size, dtype=np.float32) + 0.5 - top[1]) / max(0.25 * abs(float(down[1])), 1.0)
    coverage = cv2.GaussianBlur(shape, (0, 0), size / 150).astype(np.float32) / 255.0 * matte
    coverage *= np.clip(rows, 0.0, 1.0)[:, None]
    return coverage.astype(np.float32), colour.astype(np.float32)


def _face(frame: Picture, landmarks: NDArray[np.float32]) -> Picture:
    """(S, S) 1 inside the convex outline of the face."""
    inside = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.round(landmarks[:MESH_POINTS, :2]).astype(np.int32)), 1)
    return inside


def _segment(frame: Picture) -> Matte:
    """(S, S) MediaPipe's confidence that a pixel shows a person."""
    with _segmenter_lock, quiet_native_log():
        mask: NDArray[np.float32] = _segmenter().process(np.ascontiguousarray(frame)).segmentation_mask
        return mask.astype(np.float32)


@lru_cache(maxsize=1)
def _segmenter() -> Any:
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    return SelfieSegmentation(model_selection=0)
