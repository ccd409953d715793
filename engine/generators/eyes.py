"""Eyes: a white and an iris under the lids, so that lids close over them and the iris keeps its shape as it moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.regions import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    RIGHT_EYE,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)
from engine.generators.colour import as_bytes, colour_at, skin_colour
from engine.generators.inpainting import fill
from engine.generators.patch import Box, affine, blend, blurred, cut, moved, polygon, polyline, scaled

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class EyeConfig:
    """Openness is the gap between the lids as a share of the eye's width."""

    closed: float = 0.07
    "Openness at which landmarks of a closed eye come to rest: the lids are made to meet."
    opening: float = 0.13
    "Openness from which landmarks are taken as they are."
    usable: float = 0.16
    "Openness from which the source shows enough of an eye to copy it."
    lash: float = 0.05
    "Border of the opening that shows lashes and their shadow, in eye widths."
    lash_line: float = 0.045
    "Thickness of the line of lashes of a closed eye, in eye widths."
    iris_reach: float = 1.15
    "The iris and its dark rim end here, in iris radii."
    iris_feather: float = 0.15
    "Width of the iris disc's soft edge, in iris radii."
    iris_size: float = 0.18
    "Radius of an iris that had to be made up, in eye widths."
    shadow: float = 0.09
    "Reach of the lids' shadow on an eye that had to be made up, in eye widths."


@dataclass(frozen=True)
class _Eye:
    """Landmark numbers of one eye."""

    contour: tuple[int, ...]
    outer: int
    inner: int
    upper: tuple[int, ...]
    lower: tuple[int, ...]
    iris: tuple[int, ...]
    fold: tuple[int, ...]
    "Above the upper lid's edge, in its order: how far its skin reaches."


EYES = (
    _Eye(
        RIGHT_EYE,
        RIGHT_EYE_OUTER,
        RIGHT_EYE_INNER,
        RIGHT_UPPER_LID,
        RIGHT_LOWER_LID,
        RIGHT_IRIS,
        (247, 30, 29, 27, 28, 56, 190),
    ),
    _Eye(
        LEFT_EYE,
        LEFT_EYE_OUTER,
        LEFT_EYE_INNER,
        LEFT_UPPER_LID,
        LEFT_LOWER_LID,
        LEFT_IRIS,
        (467, 260, 259, 257, 258, 286, 414),
    ),
)
MOUTH = (INNER_UPPER_LIP[0], INNER_UPPER_LIP[-1], INNER_UPPER_LIP[5], INNER_LOWER_LIP[4])


def openness(landmarks: Array, eye: _Eye) -> float:
    """Mean gap between the lids / width of the eye, in the picture."""
    upper, lower = landmarks[list(eye.upper), :2], landmarks[list(eye.lower), :2]
    gap = np.linalg.norm(upper - lower, axis=1).mean()
    return float(gap / max(float(np.linalg.norm(landmarks[eye.outer, :2] - landmarks[eye.inner, :2])), 1e-6))


def close_lids(landmarks: Array, config: EyeConfig) -> Array:
    """The landmarks with lids that nearly touch made to touch: detectors leave a slit between closed lids."""
    closed = landmarks.copy()
    for eye in EYES:
        share = np.clip((openness(landmarks, eye) - config.closed) / (config.opening - config.closed), 0.0, 1.0)
        upper, lower = list(eye.upper), list(eye.lower)
        # The upper lid does nearly all of the way.
        meeting = landmarks[upper] + 0.8 * (landmarks[lower] - landmarks[upper])
        closed[upper] += (1.0 - share) * (meeting - landmarks[upper])
        closed[lower] += (1.0 - share) * (meeting - landmarks[lower])
    return closed


def encode_eyes(frame: Picture, landmarks: Array, config: EyeConfig) -> dict[str, NDArray[Any]]:
    """Layers of both eyes, the person's right one first.

    frame: (S, S, 3) RGB. landmarks: (478, 3) in pixels. Returns square patches `eye_white` (2, E, E, 3) and `eye_iris`
    (2, E, E, 4; its disc as alpha), in their pixels `eye_anchors` (2, 3, 2; outer and inner corner and a point below)
    and `eye_centres` (2, 2) of the irises; `eye_made_up` and `eye_openness` (2,), and the colours `eye_lashes` and
    `eye_lid` (2, 3).
    """
    side = frame.shape[0] * 3 // 8
    gaps = [openness(landmarks, eye) for eye in EYES]
    visible = [
        _visible_eye(frame, landmarks, eye, side, config) if gap >= config.usable else None
        for eye, gap in zip(EYES, gaps, strict=True)
    ]
    both = []
    for eye, own, other in zip(EYES, visible, reversed(visible), strict=True):
        if own is None:
            own = _made_up_eye(frame, landmarks, eye, side, config) if other is None else _mirrored(other)
        both.append(own)
    layers = {name: np.stack([eye[name] for eye in both]) for name in both[0]}
    layers["eye_openness"] = np.array(gaps, np.float32)
    layers["eye_lashes"] = np.stack([_lash_colour(frame, landmarks, eye) for eye in EYES])
    layers["eye_lid"] = np.stack([as_bytes(colour_at(frame, landmarks[list(eye.fold), :2])) for eye in EYES])
    return layers


def draw_lids(frame: Picture, identity: Mapping[str, NDArray[Any]], driving: Array, config: EyeConfig) -> None:
    """Finish upper lids that are more closed than in the source, in place.

    Their skin was a few pixels there and is drawn out: it is smoothed, most along the lid, takes half of its colour
    from above, and gets its line of lashes back. driving: (478, 3) landmarks in pixels.
    """
    size = frame.shape[0]
    for i, eye in enumerate(EYES):
        own = float(identity["eye_openness"][i])
        closing = np.clip((own - openness(driving, eye)) / max(own, 1e-3) * 2.0 - 0.6, 0.0, 1.0)
        edge = driving[[eye.outer, *eye.upper, eye.inner], :2]
        lid = np.concatenate((edge, driving[list(reversed(eye.fold)), :2]))
        box = Box.around(lid, 4, size)
        if box is None or closing == 0 or own < config.usable:
            continue
        width = float(np.linalg.norm(edge[0] - edge[-1]))
        view = box.view(frame)
        colour = np.broadcast_to(identity["eye_lid"][i], view.shape)
        half = np.full(view.shape[:2], 128, np.uint8)
        smooth = blend(blurred(view, 0.08 * width, 0.03 * width), colour, half)
        skin = polygon(lid, box, softness=max(0.02 * width, 0.5))
        view[:] = blend(view, smooth, scaled(skin, float(closing)))
        lashes = polyline(edge, box, config.lash_line * width)
        view[:] = blend(
            view, np.broadcast_to(identity["eye_lashes"][i], view.shape), scaled(lashes, 0.8 * float(closing))
        )


def draw_eyes(
    frame: Picture, identity: Mapping[str, NDArray[Any]], source: Array, driving: Array, rigid: Array, config: EyeConfig
) -> None:
    """Draw the eyeballs into the openings between the lids, in place.

    source, driving: (478, 3) landmarks in pixels. rigid: (3, 4) motion of the skull between them.
    """
    size = frame.shape[0]
    for i, eye in enumerate(EYES):
        contour = driving[list(eye.contour), :2]
        box = Box.around(contour, 2, size)
        if box is None or openness(driving, eye) < 0.02:
            continue
        below = driving[[eye.outer, eye.inner], :2].mean(axis=0) + (_down(source) @ rigid[:, :3].T)[:2]
        to_frame = affine(identity["eye_anchors"][i], np.stack((driving[eye.outer, :2], driving[eye.inner, :2], below)))
        to_frame_iris = to_frame.copy()
        to_frame_iris[:, 2] = driving[eye.iris[0], :2] - to_frame[:, :2] @ identity["eye_centres"][i]
        ball = moved(identity["eye_white"][i], to_frame, box)
        iris = moved(identity["eye_iris"][i], to_frame_iris, box, cv2.BORDER_CONSTANT)
        ball = blend(ball, iris[..., :3], iris[..., 3])
        opening = polygon(contour, box, softness=size / 640)
        if identity["eye_made_up"][i]:
            # Lids and lashes shade what had to be made up; what the source shows is shaded already.
            reach = config.shadow * float(np.linalg.norm(contour[0] - driving[eye.inner, :2]))
            light = scaled(blurred(opening, reach, border=cv2.BORDER_CONSTANT), 1.07, 27.0)
            ball = blend(np.zeros_like(ball), ball, light)
        view = box.view(frame)
        view[:] = blend(view, ball, opening)


def _down(landmarks: Array) -> Array:
    """(3,) a vector down the face, half an eye width long."""
    eyes = landmarks[[e.outer for e in EYES] + [e.inner for e in EYES]].mean(axis=0)
    down = landmarks[list(MOUTH)].mean(axis=0) - eyes
    width = np.linalg.norm(landmarks[EYES[0].outer] - landmarks[EYES[0].inner])
    scaled: Array = (down * (0.5 * width / max(float(np.linalg.norm(down)), 1e-6))).astype(np.float32)
    return scaled


def _anchors(landmarks: Array, eye: _Eye) -> Array:
    corners = landmarks[[eye.outer, eye.inner], :2]
    anchors: Array = np.concatenate((corners, (corners.mean(axis=0) + _down(landmarks)[:2])[None])).astype(np.float32)
    return anchors


def _visible_eye(frame: Picture, landmarks: Array, eye: _Eye, side: int, config: EyeConfig) -> dict[str, NDArray[Any]]:
    """Layers from what the source shows between the lids, continued under them."""
    width = float(np.linalg.norm(landmarks[eye.outer, :2] - landmarks[eye.inner, :2]))
    patch, corner = cut(frame, landmarks[list(eye.contour), :2].mean(axis=0), side)
    contour = landmarks[list(eye.contour), :2] - corner
    centre = landmarks[eye.iris[0], :2] - corner
    radius = float(np.linalg.norm(landmarks[list(eye.iris[1:]), :2] - landmarks[eye.iris[0], :2], axis=1).mean())
    whole = polygon(contour, Box(0, 0, side, side))
    inside = cv2.erode((whole > 127).astype(np.uint8), _disc(config.lash * width)).astype(np.float32)
    distance = _distance(centre, side)
    colour = patch.astype(np.float32)

    # A pixel further out: the edge of the iris is mixed with the white.
    white_known = inside * (distance > config.iris_reach * radius + 1.0)
    skin = skin_colour(frame, landmarks)
    if white_known.sum() < 0.02 * width * width:
        white = np.broadcast_to(_white_colour(skin), patch.shape).astype(np.float32)
    else:
        white = fill(colour, white_known)
    iris_known = inside * (distance < (config.iris_reach + config.iris_feather) * radius)
    iris = _complete_iris(colour, iris_known, distance / max(radius, 1e-3), skin)
    return {
        "eye_white": as_bytes(white),
        "eye_iris": np.dstack((as_bytes(iris), _iris_disc(distance, radius, config))),
        "eye_anchors": _anchors(landmarks, eye) - corner,
        "eye_centres": centre.astype(np.float32),
        "eye_made_up": np.array(False),
    }


def _complete_iris(colour: Array, known: Array, radii: Array, skin: Array) -> Array:
    """The whole disc from its visible part: what is hidden has the mean colour of its distance from the centre."""
    bins = np.minimum((radii * 8).astype(int), 15)
    weight = np.bincount(bins.ravel(), known.ravel(), 16)
    if weight.sum() < 6:
        return _made_up_iris(radii, skin)
    sums = np.stack([np.bincount(bins.ravel(), (known * colour[..., c]).ravel(), 16) for c in range(3)], axis=1)
    mean = (sums / np.maximum(weight, 1e-6)[:, None]).astype(np.float32)
    profile = fill(mean[None], (weight > 0)[None].astype(np.float32))[0]
    position = np.clip(radii * 8 - 0.5, 0, 14.999)
    lower = position.astype(int)
    share = (position - lower)[..., None]
    even = profile[lower] * (1 - share) + profile[lower + 1] * share
    completed: Array = known[..., None] * colour + (1 - known[..., None]) * even
    return completed.astype(np.float32)


def _made_up_eye(frame: Picture, landmarks: Array, eye: _Eye, side: int, config: EyeConfig) -> dict[str, NDArray[Any]]:
    """Layers of an eye that the source does not show."""
    width = float(np.linalg.norm(landmarks[eye.outer, :2] - landmarks[eye.inner, :2]))
    middle = landmarks[[eye.outer, eye.inner], :2].mean(axis=0)
    _, corner = cut(frame, middle, side)
    centre = (middle - corner).astype(np.float32)
    radius = config.iris_size * width
    distance = _distance(centre, side)
    skin = skin_colour(frame, landmarks)
    # Rounder towards the corners, shaded by the upper lid.
    y = (np.arange(side, dtype=np.float32)[:, None] + 0.5 - centre[1]) / width
    shade = np.clip(1.0 - 0.9 * (distance / width) ** 2 + 2.2 * np.minimum(y - 0.02, 0.0), 0.3, 1.0)
    white = _white_colour(skin) * shade[..., None]
    iris = _made_up_iris(distance / radius, skin) * shade[..., None]
    return {
        "eye_white": as_bytes(white),
        "eye_iris": np.dstack((as_bytes(iris), _iris_disc(distance, radius, config))),
        "eye_anchors": _anchors(landmarks, eye) - corner,
        "eye_centres": centre,
        "eye_made_up": np.array(True),
    }


def _made_up_iris(radii: Array, skin: Array) -> Array:
    """A brown iris with its pupil, as bright as the picture."""
    light = float(skin.mean()) / 150.0
    profile = np.array(((14, 10, 9), (14, 10, 9), (40, 27, 20), (46, 31, 23), (38, 26, 20), (32, 23, 19)), np.float32)
    stops = np.array((0.0, 0.34, 0.46, 0.7, 0.9, 1.1), np.float32)
    channels = [np.interp(radii, stops, profile[:, c]) for c in range(3)]
    iris: Array = (np.stack(channels, axis=-1) * light).astype(np.float32)
    return iris


def _mirrored(eye: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    side = eye["eye_white"].shape[1]
    flip = np.array((-1.0, 1.0), np.float32)
    return {
        "eye_white": eye["eye_white"][:, ::-1],
        "eye_iris": eye["eye_iris"][:, ::-1],
        "eye_anchors": eye["eye_anchors"] * flip + (side, 0),
        "eye_centres": eye["eye_centres"] * flip + (side, 0),
        "eye_made_up": eye["eye_made_up"],
    }


def _iris_disc(distance: Array, radius: float, config: EyeConfig) -> Picture:
    feather = max(config.iris_feather * radius, 1.0)
    return as_bytes(255.0 * np.clip((config.iris_reach * radius + feather - distance) / feather, 0.0, 1.0))


def _lash_colour(frame: Picture, landmarks: Array, eye: _Eye) -> Picture:
    """(3,) the dark end of what lies along the edge of the upper lid."""
    size = frame.shape[0]
    edge = landmarks[[eye.outer, *eye.upper, eye.inner], :2]
    width = float(np.linalg.norm(edge[0] - edge[-1]))
    box = Box.around(edge, 3, size)
    line = None if box is None else polyline(edge, box, 0.1 * width) > 127
    if box is None or line is None or not line.any():
        return as_bytes(0.4 * skin_colour(frame, landmarks))
    pixels = box.view(frame)[line].astype(np.float32)
    light = pixels.mean(axis=1)
    return as_bytes(pixels[light <= np.percentile(light, 30)].mean(axis=0))


def _white_colour(skin: Array) -> Array:
    """A sclera a little darker than the skin around it and with half of its hue: it lies in the shadow of the lids."""
    grey = float(skin.mean())
    return (0.5 * skin + 0.38 * grey).astype(np.float32)


def _distance(centre: Array, side: int) -> Array:
    axis = np.arange(side, dtype=np.float32) + 0.5
    distance: Array = np.hypot(axis[None, :] - centre[0], axis[:, None] - centre[1]).astype(np.float32)
    return distance


def _disc(radius: float) -> Picture:
    diameter = 2 * round(radius) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)), np.uint8)
