"""Several pictures beside each other with a label under each: the driving person beside the rendered head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from streaming.media import RGB, check_frame

GAP = 0.03
"Space between and around the panels, as a share of their height."
LABEL_HEIGHT = 0.11
"Height of the line under a panel, as a share of the panel's height."
GROUND = (16, 21, 19)
TEXT = (226, 234, 230)
_SHARPNESS = 4
"Letters are drawn so many times larger and scaled down: OpenCV's own smoothing leaves them ragged."


def side_by_side(panels: Sequence[tuple[str, RGB]], height: int = 384) -> RGB:
    """(label, frame) from left to right, each scaled to the same height in pixels. Returns an even-sized frame."""
    if not panels:
        raise ValueError("panels: expected at least one")
    scaled = [_to_height(check_frame(frame), height) for _, frame in panels]
    widths = tuple(frame.shape[1] for frame in scaled)
    canvas = _backdrop(tuple(label for label, _ in panels), widths, height).copy()
    gap = _gap(height)
    left = gap
    for frame in scaled:
        canvas[gap : gap + height, left : left + frame.shape[1]] = frame
        left += frame.shape[1] + gap
    return canvas


def _gap(height: int) -> int:
    return max(round(height * GAP), 2)


@lru_cache(maxsize=8)
def _backdrop(labels: tuple[str, ...], widths: tuple[int, ...], height: int) -> RGB:
    """Everything but the frames, which is the same for a whole video."""
    gap, label_height = _gap(height), round(height * LABEL_HEIGHT)
    width, total_height = sum(widths) + gap * (len(widths) + 1), gap + height + label_height
    canvas = np.full((total_height + total_height % 2, width + width % 2, 3), GROUND, np.uint8)
    left = gap
    for label, panel_width in zip(labels, widths, strict=True):
        canvas[gap + height : total_height, left : left + panel_width] = _label(label, panel_width, label_height)
        left += panel_width + gap
    return canvas


def _to_height(frame: RGB, height: int) -> RGB:
    scale = height / frame.shape[0]
    if scale == 1:
        return frame
    width = max(round(frame.shape[1] * scale), 1)
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _label(text: str, width: int, height: int) -> RGB:
    """One line of text in the middle, smaller if it would not fit."""
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(round(height * _SHARPNESS / 22), 1)
    large = np.full((height * _SHARPNESS, width * _SHARPNESS, 3), GROUND, np.uint8)
    scale = height * _SHARPNESS / 62
    (text_width, text_height), _ = cv2.getTextSize(text, font, scale, thickness)
    if text_width > large.shape[1]:
        scale *= large.shape[1] / text_width
        (text_width, text_height), _ = cv2.getTextSize(text, font, scale, thickness)
    origin = ((large.shape[1] - text_width) // 2, (large.shape[0] + text_height) // 2)
    cv2.putText(large, text, origin, font, scale, TEXT, thickness, cv2.LINE_AA)
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
