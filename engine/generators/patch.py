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
        """Points (N, 2) and `margin` pixels around them, clipped to a frame of `side`; None when nothing is left."""
        low = np.floor(points_px.min(axis=0)).astype(int) - margin
        high = np.ceil(points_px.max(axis=0)).astype(int) + margin
        (left, top), (right, bottom) = np.clip(low, 0, side), np.clip(high, 0, side)
        return cls(int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None

    def view(self, frame: Picture) -> Picture:
        return frame[self.top : self.bottom, self.left : self.right]


def cut(frame: Picture, middle_px: Array, side: int) -> tuple[Picture, Array]:
    """The (side, side, 3) patch around a point, and the patch's corner (2,) in pixels of the frame.

    Beyond the frame its border is repeated.
    """
    corner = np.round(middle_px - side / 2).astype(int)
    columns = np.clip(np.arange(corner[0], corner[0] + side), 0, frame.shape[1] - 1)
    rows = np.clip(np.arange(corner[1], corner[1] + side), 0, frame.shape[0] - 1)
    return frame[rows[:, None], columns[None, :]], corner.astype(np.float32)


def affine(source: Array, target: Array) -> Array:
    """(2, 3) the affine map that takes three points (3, 2) to three others."""
    return np.asarray(cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32)), np.float32)


def moved(patch: Picture, matrix: Array, box: Box, border: int = cv2.BORDER_REPLICATE) -> Picture:
    """`patch` under a (2, 3) map from its pixels to the frame's, cut to `box`."""
    # OpenCV counts from the middle of the first pixel, we from its outer corner.
    shifted = matrix.astype(np.float64)
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - (box.left + 0.5, box.top + 0.5)
    return np.asarray(cv2.warpAffine(patch, shifted, box.size, flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)


def polygon(points_px: Array, box: Box, softness: float = 0.0) -> Picture:
    """(h, w) coverage of a polygon (N, 2), 0 to 255, over `box`. softness: standard deviation of its edge in pixels."""
    mask = np.zeros((box.bottom - box.top, box.right - box.left), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(points_px, box)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return blurred(mask, softness) if softness > 0 else mask


def polyline(points_px: Array, box: Box, thickness_px: float) -> Picture:
    """(h, w) coverage of an open line (N, 2), 0 to 255, over `box`; lines thinner than a pixel are fainter."""
    mask = np.zeros((box.bottom - box.top, box.right - box.left), np.uint8)
    whole = max(1, round(thickness_px))
    cv2.polylines(mask, [_fixed_point(points_px, box)], False, 255, whole, cv2.LINE_AA, SUBPIXEL_BITS)
    return scaled(mask, min(1.0, thickness_px / whole))


def blend(below: Picture, above: Picture, alpha: Picture) -> Picture:
    """(h, w, 3) `above` over `below` where alpha (h, w; 0 to 255) says so."""
    weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    over = cv2.multiply(above, weight, scale=1 / 255)
    return np.asarray(cv2.add(over, cv2.multiply(below, cv2.bitwise_not(weight), scale=1 / 255)), np.uint8)


def scaled(mask: Picture, factor: float, offset: float = 0.0) -> Picture:
    """`mask` times factor plus offset, from 0 to 255."""
    stretched = cv2.addWeighted(mask, factor, mask, 0.0, offset)
    return np.asarray(stretched, np.uint8)


def blurred(
    picture: Picture, across: float, down: float | None = None, border: int = cv2.BORDER_REFLECT_101
) -> Picture:
    """Gaussian blur by standard deviations in pixels; `down` as `across` without its own."""
    down = across if down is None else down
    smooth = cv2.GaussianBlur(picture, (0, 0), sigmaX=max(across, 0.1), sigmaY=max(down, 0.1), borderType=border)
    return np.asarray(smooth, np.uint8)


def _fixed_point(points_px: Array, box: Box) -> NDArray[np.int32]:
    corners = (points_px - (box.left + 0.5, box.top + 0.5)) * (1 << SUBPIXEL_BITS)
    fixed: NDArray[np.int32] = np.rint(corners).astype(np.int32)
    return fixed
