"""The inside of the mouth: teeth that keep their shape, the upper ones on the skull, the lower ones on the jaw.

What the source shows between its lips is copied; what it hides is made up in its colours: a dark, warm cavity, the edge
of the upper teeth, a hint of the lower ones and of the tongue.
"""

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
    LEFT_EYE_OUTER,
    MOUTH_BOTTOM,
    MOUTH_TOP,
    OUTER_LOWER_LIP,
    OUTER_UPPER_LIP,
    RIGHT_EYE_OUTER,
)
from engine.generators.colour import as_bytes, skin_colour
from engine.generators.inpainting import fill
from engine.generators.patch import Box, affine, blend, blurred, cut, moved, polygon, scaled

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]

CONTOUR = (*INNER_UPPER_LIP, *reversed(INNER_LOWER_LIP))
RIGHT_CORNER, LEFT_CORNER = INNER_UPPER_LIP[0], INNER_UPPER_LIP[-1]
JAW = (152, 148, 377, 175, 171, 396, 199, 208, 428)
NOSE_BASE = (2, 97, 326, 98, 327, 94)

# After the open mouths of 46 clips: teeth in video are hardly whiter than the skin. A cavity as light as this errs
# least.
ENAMEL_OF_SKIN = np.array((0.98, 1.04, 1.14), np.float32)
CAVITY_OF_LIPS = np.array((0.46, 0.38, 0.38), np.float32)


@dataclass(frozen=True)
class MouthConfig:
    """Gaps of the lips are areas between them over the square of the mouth's width; lengths are shares of the width
    of a mouth at rest, which is taken from the distance of the eyes."""

    closed: float = 0.012
    "Gap at which nothing of the inside shows."
    opening: float = 0.08
    "Gap from which the inside shows fully."
    known: float = 0.15
    "Gap from which the source's own inside is taken apart; a smaller one stays until the lips part further."
    inside_share: float = 0.4
    "Share of it that must be teeth or darkness; where it is lip, the landmarks are wrong."
    smile: float = 0.05
    "The same where teeth fill a share `smile_teeth` of it."
    smile_teeth: float = 0.4
    gum: float = 0.1
    "How far copied teeth go on under the lips before there is gum."
    depth_shade: float = 0.5
    "Light that the middle of the cavity loses against its edge."
    shadow: float = 0.08
    "Reach of the lips' shadow on what had to be made up."
    rest_width: float = 0.52
    "Width of a mouth at rest, in distances between the outer eye corners."
    lip_border: float = 0.03
    "Border of the opening that still shows lip, or its shadow."
    upper_edge: float = 0.1
    "The made-up upper teeth end this far below the line where the lips meet at rest."
    upper_length: float = 0.25
    lower_edge: float = 0.04
    "The made-up lower teeth begin this far below that line when the jaw is closed."
    lower_length: float = 0.16
    lower_shown: float = 0.15
    "How far the lower teeth reach above the lower lip at most."
    arch: float = 0.62
    "Half the width of the arch of teeth: there they are lost in the shadow of the cheeks."
    lip_inset: float = 0.25
    """The lips' inner edge, when they close further than in the source, takes its texture from this far towards their
    outer edge: on the inner edge itself the source shows a little of the teeth."""
    seam: float = 0.03
    "Softness of the edges of the teeth."


def lip_gap(landmarks: Array) -> float:
    """Area between the lips / the square of the mouth's width, in the picture: about the mean gap in mouth widths.

    Negative where the lips overlap, as moved landmarks may.
    """
    contour = landmarks[list(CONTOUR), :2].astype(np.float64)
    x, y = contour[:, 0], contour[:, 1]
    area = 0.5 * float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
    return area / max(_mouth_width(landmarks) ** 2, 1e-9)


def close_lips(landmarks: Array) -> Array:
    """The landmarks with lips that overlap made to meet half-way."""
    upper, lower = list(INNER_UPPER_LIP[1:-1]), list(INNER_LOWER_LIP)
    across = landmarks[LEFT_CORNER, :2] - landmarks[RIGHT_CORNER, :2]
    down = np.array((-across[1], across[0])) / max(float(np.linalg.norm(across)), 1e-6)
    overlap = np.minimum((landmarks[lower, :2] - landmarks[upper, :2]) @ down, 0.0)
    closed = landmarks.copy()
    closed[upper, :2] += 0.5 * overlap[:, None] * down
    closed[lower, :2] -= 0.5 * overlap[:, None] * down
    return closed


def inset_lips(texture_px: Array, source: Array, driving: Array, config: MouthConfig) -> Array:
    """Texture positions (V, 2) of the mesh, those of the lips' inner edge moved into the lips as far as they close."""
    gap = lip_gap(source)
    closing = float(np.clip(1.0 - lip_gap(driving) / gap, 0.0, 1.0)) if gap > config.closed else 0.0
    if closing == 0:
        return texture_px
    inset = texture_px.copy()
    for inner, outer in ((INNER_UPPER_LIP, OUTER_UPPER_LIP), (INNER_LOWER_LIP, OUTER_LOWER_LIP)):
        inset[list(inner)] += config.lip_inset * closing * (texture_px[list(outer)] - texture_px[list(inner)])
    return inset


def encode_mouth(frame: Picture, landmarks: Array, config: MouthConfig) -> dict[str, NDArray[Any]]:
    """Layers of the mouth's inside.

    frame: (S, S, 3) RGB. landmarks: (478, 3) in pixels. Returns the patches `mouth_upper` and `mouth_lower` (M, M, 4;
    RGBA), `mouth_corner` (2,) their corner in pixels of the frame, `mouth_cavity` (3,) the colour behind them,
    `mouth_made_up` (), and `mouth_gap` (), that of the source's lips where the layers are made up, else 0.
    """
    side = frame.shape[0] // 2
    width = _mouth_width(landmarks)
    patch, corner = cut(frame, landmarks[[RIGHT_CORNER, LEFT_CORNER], :2].mean(axis=0), side)
    across, along = _mouth_axes(landmarks, corner, side, config)
    colour = patch.astype(np.float32)
    contour = landmarks[list(CONTOUR), :2] - corner
    known = polygon(contour, Box(0, 0, side, side)).astype(np.float32) / 255.0
    reach = max(1, round(config.lip_border * width))
    known = np.asarray(cv2.erode(known, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), np.float32)
    lips, skin = _lip_colour(patch, landmarks[:, :2] - corner), skin_colour(frame, landmarks)
    gap = lip_gap(landmarks)
    teeth, dark = _teeth_and_dark_share(colour, known, lips)
    shown = (gap >= config.known and teeth + dark >= config.inside_share) or (
        gap >= config.smile and teeth >= config.smile_teeth
    )
    if not shown:
        known = np.zeros_like(known)
    cavity = _cavity_colour(colour, known, lips)
    enamel = _enamel_colour(colour, known, skin)
    upper = _made_up_upper(across, along, enamel, cavity, lips, config)
    lower = _made_up_lower(across, along, enamel, cavity, lips, config)
    if shown:
        edge = _teeth_edge(colour, known, across, along)
        above = np.clip(0.5 + (edge - along) / config.seam, 0.0, 1.0)
        # The lower layer begins above the edge already: nothing shines through where both are soft.
        below = np.clip(1.5 + (along - edge) / config.seam, 0.0, 1.0)
        upper = _continued(upper, colour, known * above, above, lips, config.gum * width)
        lower = _continued(lower, colour, known * below, below, lips, config.gum * width)
    return {
        "mouth_upper": as_bytes(upper),
        "mouth_lower": as_bytes(lower),
        "mouth_cavity": cavity.astype(np.float32),
        "mouth_corner": corner,
        "mouth_made_up": np.array(not shown),
        "mouth_gap": np.array(0.0 if shown else gap, np.float32),
    }


def draw_mouth(
    frame: Picture,
    identity: Mapping[str, NDArray[Any]],
    source: Array,
    driving: Array,
    rigid: Array,
    config: MouthConfig,
) -> None:
    """Draw the inside of the mouth between the lips, in place.

    source, driving: (478, 3) landmarks in pixels. rigid: (3, 4) motion of the skull between them.
    """
    size = frame.shape[0]
    contour = driving[list(CONTOUR), :2]
    box = Box.around(contour, 3, size)
    shut = max(config.closed, float(identity["mouth_gap"]))
    visible = np.clip((lip_gap(driving) - shut) / (config.opening - config.closed), 0.0, 1.0)
    if box is None or visible == 0:
        return
    skull, jaw = _teeth_motion(identity["mouth_corner"], source, driving, rigid, config)
    view = box.view(frame)
    mask = polygon(contour, box, softness=size / 512)
    cavity = np.broadcast_to(as_bytes(identity["mouth_cavity"]), view.shape)
    reach = config.shadow * _rest_width(driving, config)
    depth = blurred(mask, 2.0 * reach, border=cv2.BORDER_CONSTANT)
    inside = blend(cavity, np.zeros_like(view), scaled(depth, config.depth_shade))
    for layer, motion in ((identity["mouth_lower"], jaw), (identity["mouth_upper"], skull)):
        teeth = moved(layer, motion, box)
        inside = blend(inside, teeth[..., :3], teeth[..., 3])
    if identity["mouth_made_up"]:
        light = scaled(blurred(mask, reach, border=cv2.BORDER_CONSTANT), 1.3, -60.0)
        inside = blend(cavity, inside, light)
    view[:] = blend(view, inside, scaled(mask, float(visible)))


def _teeth_motion(
    corner: Array, source: Array, driving: Array, rigid: Array, config: MouthConfig
) -> tuple[Array, Array]:
    """(2, 3) maps of the patch's pixels to the frame for what sits on the skull and what sits on the jaw."""

    def own_motion(points: tuple[int, ...]) -> Array:
        """(2,) how the points have moved beyond the skull's motion, on average."""
        numbers = list(points)
        own: Array = (driving[numbers] - (source[numbers] @ rigid[:, :3].T + rigid[:, 3])).mean(axis=0)[:2]
        return own

    corners = source[[RIGHT_CORNER, LEFT_CORNER]]
    # The plane of the front teeth: through the corners of the mouth, parallel to the face, a little way towards the
    # lips.
    middle = corners.mean(axis=0)
    middle[2] = 0.5 * (middle[2] + source[[MOUTH_TOP, MOUTH_BOTTOM], 2].mean())
    down = 0.5 * (source[JAW[0]] - source[NOSE_BASE[0]])
    points = np.stack((middle, middle + 0.5 * (corners[1] - corners[0]), middle + down))
    carried = points @ rigid[:, :3].T + rigid[:, 3]
    carried[:, :2] += own_motion(NOSE_BASE)
    skull = affine(points[:, :2] - corner, carried[:, :2])
    jaw = skull.copy()
    normal = carried[2, :2] - carried[0, :2]
    normal /= max(float(np.linalg.norm(normal)), 1e-6)
    drop = own_motion(JAW) - own_motion(NOSE_BASE)
    lip = own_motion((MOUTH_BOTTOM,)) - own_motion(NOSE_BASE)
    too_high = float((lip - drop) @ normal) - config.lower_shown * _rest_width(driving, config)
    jaw[:, 2] += drop + max(0.0, too_high) * normal
    return skull, jaw


def _rest_width(landmarks: Array, config: MouthConfig) -> float:
    return config.rest_width * float(np.linalg.norm(landmarks[RIGHT_EYE_OUTER, :2] - landmarks[LEFT_EYE_OUTER, :2]))


def _mouth_width(landmarks: Array) -> float:
    return float(np.linalg.norm(landmarks[RIGHT_CORNER, :2] - landmarks[LEFT_CORNER, :2]))


def _mouth_axes(landmarks: Array, corner: Array, side: int, config: MouthConfig) -> tuple[Array, Array]:
    """For each pixel of the patch its place across the mouth, 0 in the middle, and along the face, 0 where the lips
    meet.

    Both in widths of the mouth at rest.
    """
    right, left = landmarks[RIGHT_CORNER, :2], landmarks[LEFT_CORNER, :2]
    width = _rest_width(landmarks, config)
    axis = (left - right) / max(_mouth_width(landmarks), 1e-6)
    upper_lip = list(INNER_UPPER_LIP[1:-1])
    middle = 0.5 * (right + left)
    normal = np.array((-axis[1], axis[0]), np.float32)
    if (landmarks[JAW[0], :2] - middle) @ normal < 0:
        normal = -normal
    # The upper lip hardly moves when the mouth opens: where it ends is where the lips meet.
    height = float(((landmarks[upper_lip, :2] - middle) @ normal).mean())
    pixels = np.arange(side, dtype=np.float32) + 0.5
    x, y = pixels[None, :] + corner[0] - middle[0], pixels[:, None] + corner[1] - middle[1]
    across = (x * axis[0] + y * axis[1]) / width
    along = (x * normal[0] + y * normal[1] - height) / width
    return across.astype(np.float32), along.astype(np.float32)


def _teeth_edge(colour: Array, known: Array, across: Array, along: Array) -> float:
    """Where along the face the source's upper teeth end: after the first bright level under the lip, the dark."""
    middle = (known > 0.5) & (np.abs(across) < 0.25)
    if middle.sum() < 8:
        return 0.05
    low, high = np.percentile(along[middle], (1, 99))
    light = colour.mean(axis=2)[middle]
    levels = np.linspace(low, high, 24)
    weight = np.exp(-0.5 * ((along[middle][None] - levels[:, None]) / (0.04 * (high - low) + 1e-4)) ** 2)
    profile = (weight * light[None]).sum(axis=1) / weight.sum(axis=1)
    dark, bright = profile.min(), profile.max()
    if bright - dark < 0.15 * bright:
        return float(high)  # one row of teeth fills the opening
    is_bright = profile > 0.5 * (dark + bright)
    first = int(np.argmax(is_bright))
    if first > len(levels) // 2:
        return float(levels[first // 2])  # no upper teeth: dark, then tongue or lower teeth
    after = np.flatnonzero(~is_bright[first:])
    return float(levels[first + after[0]]) if len(after) else float(high)


def _continued(made_up: Array, colour: Array, known: Array, alpha: Array, lips: Array, reach_px: float) -> Array:
    """A layer (M, M, 4) of the source's own pixels, continued in their colours under the lips, and then as gum.

    Returns `made_up` where the source has too few.
    """
    if known.sum() < 12:
        return made_up
    near = cv2.GaussianBlur(cv2.dilate(known, np.ones((3, 3), np.uint8)), (0, 0), max(reach_px, 0.5))
    own = np.maximum(known, np.clip(2.0 * near, 0.0, 1.0))[..., None]
    return np.dstack((own * fill(colour, known) + (1.0 - own) * 0.6 * lips, 255.0 * alpha))


def _made_up_upper(
    across: Array, along: Array, enamel: Array, cavity: Array, lips: Array, config: MouthConfig
) -> Array:
    # An arch: towards the corners teeth end higher and lie in shadow.
    height = config.upper_edge - 0.25 * across**2 - along
    light = _arch_light(across, config) * (0.88 + 0.12 * _tooth_gaps(across, 0.17))
    teeth = cavity + (enamel - cavity) * light[..., None]
    gum = np.clip((height - config.upper_length) / 0.04, 0.0, 1.0)[..., None]
    colour = teeth * (1 - gum) + 0.7 * lips * gum
    return np.dstack((colour, 255.0 * np.clip(0.5 + height / config.seam, 0.0, 1.0)))


def _made_up_lower(
    across: Array, along: Array, enamel: Array, cavity: Array, lips: Array, config: MouthConfig
) -> Array:
    depth = along - config.lower_edge - 0.2 * across**2
    light = 0.75 * _arch_light(across, config) * (0.88 + 0.12 * _tooth_gaps(across, 0.11))
    teeth = cavity + (enamel - cavity) * light[..., None]
    gum = np.clip((depth - config.lower_length) / 0.04, 0.0, 1.0)[..., None]
    teeth = teeth * (1 - gum) + 0.6 * lips * gum
    rise = np.clip(1.0 - (across / 0.4) ** 2, 0.0, 1.0)
    tongue = rise * np.clip((depth + 0.4) / 0.4, 0.0, 1.0)
    tongue_colour = cavity + (0.65 * lips - cavity) * tongue[..., None]
    shown = np.clip(0.5 + depth / config.seam, 0.0, 1.0)
    colour = tongue_colour * (1 - shown[..., None]) + teeth * shown[..., None]
    return np.dstack((colour, 255.0 * np.maximum(shown, np.sqrt(tongue))))


def _arch_light(across: Array, config: MouthConfig) -> Array:
    light: Array = np.clip(1.0 - (np.abs(across) / config.arch) ** 2, 0.0, 1.0)
    return light


def _tooth_gaps(across: Array, pitch: float) -> Array:
    """1 on a tooth, 0 in the thin shadow between two; narrower towards the sides, as the arch turns away."""
    place = np.arcsin(np.clip(across / 0.55, -0.95, 0.95)) * 0.55 / pitch
    in_tooth = place % 1.0
    gaps: Array = np.clip(np.minimum(in_tooth, 1.0 - in_tooth) / 0.12, 0.0, 1.0)
    return gaps


def _lip_colour(patch: Picture, landmarks: Array) -> Array:
    """(3,) median colour between the outer and the inner contour of the lips."""
    side = patch.shape[0]
    box = Box(0, 0, side, side)
    outer = polygon(landmarks[[*OUTER_UPPER_LIP, *reversed(OUTER_LOWER_LIP)]], box)
    lips = cv2.subtract(outer, polygon(landmarks[list(CONTOUR)], box)) > 127
    pixels = patch[lips] if lips.any() else patch.reshape(-1, 3)
    median: Array = np.median(pixels, axis=0).astype(np.float32)
    return median


def _teeth_and_dark_share(colour: Array, known: Array, lips: Array) -> tuple[float, float]:
    """Shares of what lies between the lips that are brighter and less red than they are, and that are much darker."""
    pixels = colour[known > 0.5]
    if len(pixels) < 12:
        return 0.0, 0.0
    light = pixels.mean(axis=1)
    red = pixels[:, 0] / np.maximum(pixels.sum(axis=1), 1.0)
    teeth = (light > 1.05 * lips.mean()) & (red < lips[0] / max(float(lips.sum()), 1.0) - 0.01)
    return float(teeth.mean()), float((light < 0.6 * lips.mean()).mean())


def _cavity_colour(colour: Array, known: Array, lips: Array) -> Array:
    """(3,) the darkest of what the source shows, or a warm shadow."""
    made_up: Array = CAVITY_OF_LIPS * lips
    pixels = colour[known > 0.9]
    if len(pixels) < 12:
        return made_up
    light = pixels.mean(axis=1)
    dark: Array = pixels[light <= np.percentile(light, 8)].mean(axis=0)
    darker: Array = np.minimum(dark, made_up)
    return darker


def _enamel_colour(colour: Array, known: Array, skin: Array) -> Array:
    """(3,) of the teeth: the brightest of what the source shows, if that is no redder than skin, else from the skin."""
    made_up: Array = ENAMEL_OF_SKIN * skin
    pixels = colour[known > 0.9]
    if len(pixels) < 12:
        return made_up
    light = pixels.mean(axis=1)
    bright: Array = pixels[light >= np.percentile(light, 85)].mean(axis=0)
    red_share, skin_red_share = bright[0] / max(bright.sum(), 1.0), skin[0] / max(skin.sum(), 1.0)
    return bright if bright.mean() > 0.75 * skin.mean() and red_share < skin_red_share + 0.02 else made_up
