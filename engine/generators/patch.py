"""Square patches cut out of a picture, moved and put back with soft edges: what eyes and mouth are drawn with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]

SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: `left`, `top` inclusive, `right`, `bottom` exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as OpenCV takes them."""
        return self.right - self.left, self.bottom - self.top

    @classmethod
    def around(cls, points_px: Array, margin: int, side: int) -> Box | None:
        """What holds the points and `margin` pixels around them, clipped to a frame of `side`; None when nothing is left."""
        low = np.floor(points_px.min(axis=0)).astype(int) - margin
        high = np.ceil(points_px.max(axis=0)).astype(int) + margin
        (left, top), (right, bottom) = np.clip(low, 0, side), np.clip(high, 0, side)
        return cls(int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None

    def view(self, frame: Picture) -> Picture:
        return frame[self.top : self.bottom, self.left : self.right]


def cut(frame: Picture, middle_px: Array, side: int) -> tuple[Picture, Array]:
    """The (side, side, 3) patch around a point, the frame's border repeated beyond it, and the patch's corner (2,) in pixels."""
    corner = np.round(middle_px - side / 2).astype(int)
    columns = np.clip(np.arange(corner[0], corner[0] + side), 0, frame.shape[1] - 1)
    rows = np.clip(np.arange(corner[1], corner[1] + side), 0, frame.shape[0] - 1)
    return frame[rows[:, None], columns[None, :]], corner.astype(np.float32)


def affine(source: Array, target: Array) -> Array:
    """(2, 3) the affine map that takes three points (3, 2) to three others."""
    matrix: Array = cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32)).astype(np.float32)
    return matrix


def moved(patch: Picture, matrix: Array, box: Box, border: int = cv2.BORDER_REPLICATE) -> Picture:
    """`patch` under a (2, 3) map from its pixels to the frame's (0, 0 at the outer corner of the first), cut to `box`."""
    shifted = matrix.astype(np.float64)
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - (box.left + 0.5, box.top + 0.5)
    warped: Picture = cv2.warpAffine(patch, shifted, box.size, flags=cv2.INTER_LINEAR, borderMode=border)
    return warped


def polygon(points_px: Array, box: Box, softness: float = 0.0) -> Picture:
    """(h, w) coverage of a polygon (N, 2), 0 to 255, over `box`. softness: standard deviation of its edge in pixels."""
    mask = np.zeros((box.bottom - box.top, box.right - box.left), np.uint8)
    corners = (points_px - (box.left + 0.5, box.top + 0.5)) * (1 << SUBPIXEL_BITS)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return cv2.GaussianBlur(mask, (0, 0), softness) if softness > 0 else mask


def polyline(points_px: Array, box: Box, thickness_px: float) -> Picture:
    """(h, w) coverage of an open line through points (N, 2), 0 to 255, over `box`; lines thinner than a pixel are fainter."""
    mask = np.zeros((box.bottom - box.top, box.right - box.left), np.uint8)
    corners = (points_px - (box.left + 0.5, box.top + 0.5)) * (1 << SUBPIXEL_BITS)
    whole = max(1, round(thickness_px))
    cv2.polylines(mask, [np.rint(corners).astype(np.int32)], False, 255, whole, cv2.LINE_AA, SUBPIXEL_BITS)
    return cv2.convertScaleAbs(mask, alpha=min(1.0, thickness_px / whole))


def blend(below: Picture, above: Picture, alpha: Picture) -> Picture:
    """(h, w, 3) `above` over `below` where alpha (h, w; 0 to 255) says so."""
    weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    return cv2.add(
        cv2.multiply(above, weight, scale=1 / 255), cv2.multiply(below, cv2.bitwise_not(weight), scale=1 / 255)
    )
