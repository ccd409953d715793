"""The square around a head that generators work on, and the way back into the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.regions import MESH_POINTS
from engine.motion import Array, from_pixels, to_pixels

# The mesh ends at the hairline and the chin: room for the hair above, the neck below and the ears at the sides.
ROOM_ABOVE, ROOM_BELOW, ROOM_ASIDE = 0.38, 0.14, 0.18
"Of the face box's height and width."
MARGIN = 1.1
PORTRAIT_MARGIN = 1.35
"For a picture that will be animated: the head moves in it."


@dataclass(frozen=True)
class HeadCrop:
    """A square of `side` pixels whose upper left corner is pixel (left, top); it may reach beyond the picture."""

    left: int
    top: int
    side: int

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side: expected at least 1 pixel, got {self.side}")

    @classmethod
    def around(cls, landmarks: NDArray[np.floating], width: int, height: int, margin: float = MARGIN) -> HeadCrop:
        """The crop for a face, or for one face over several frames of a `width` x `height` picture.

        landmarks: (..., 478, 3) frame coordinates; NaN frames are ignored. margin: side of the square over the head's.
        The square is moved into the picture, and made as small as the picture is where the face still fits. Raises
        ValueError where all is NaN.
        """
        points = to_pixels(np.asarray(landmarks, np.float32)[..., :MESH_POINTS, :2], width, height).reshape(-1, 2)
        points = points[np.isfinite(points).all(1)]
        if not len(points):
            raise ValueError("landmarks: no frame with a face to crop around")
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        face_width, face_height = x1 - x0, y1 - y0
        x0, x1 = x0 - ROOM_ASIDE * face_width, x1 + ROOM_ASIDE * face_width
        y0, y1 = y0 - ROOM_ABOVE * face_height, y1 + ROOM_BELOW * face_height
        wanted = margin * max(x1 - x0, y1 - y0)
        side = int(np.ceil(max(min(wanted, width, height), face_width, face_height)))
        left = round(float(x0 + x1 - side) / 2)
        top = round(float(y0 + y1 - side) / 2)
        return cls(_moved_inside(left, side, width), _moved_inside(top, side, height), side)

    @classmethod
    def whole(cls, width: int, height: int) -> HeadCrop:
        """The crop for a picture that already is a square head crop. Raises ValueError where it is not square."""
        if width != height:
            raise ValueError(
                f"the picture is {width}x{height} pixels, not square; let it be cropped around the head (crop 'auto')"
            )
        return cls(0, 0, width)

    def apply(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """(size, size, 3) of the (H, W, 3) image; what lies outside repeats the edge."""
        height, width = image.shape[:2]
        right, bottom = self.left + self.side, self.top + self.side
        inside = image[max(self.top, 0) : max(bottom, 0), max(self.left, 0) : max(right, 0)]
        if inside.size == 0:
            raise ValueError(f"the crop {self} lies outside the {width}x{height} picture")
        borders = max(-self.top, 0), max(bottom - height, 0), max(-self.left, 0), max(right - width, 0)
        if any(borders):
            inside = np.asarray(cv2.copyMakeBorder(inside, *borders, cv2.BORDER_REPLICATE), np.uint8)
        return _resize(inside, size)

    def landmarks_in(self, landmarks: Array, width: int, height: int) -> Array:
        """(..., 2 or 3) frame coordinates of the `width` x `height` picture as those of the crop."""
        points = to_pixels(landmarks, width, height)
        points[..., 0] -= self.left
        points[..., 1] -= self.top
        return from_pixels(points, self.side, self.side)

    def landmarks_out(self, landmarks: Array, width: int, height: int) -> Array:
        """The inverse of `landmarks_in`."""
        points = to_pixels(landmarks, self.side, self.side)
        points[..., 0] += self.left
        points[..., 1] += self.top
        return from_pixels(points, width, height)

    def paste(self, image: NDArray[np.uint8], head: NDArray[np.uint8], feather: float = 0.06) -> NDArray[np.uint8]:
        """A copy of the (H, W, 3) image with the square (S, S, 3) `head` in the crop's place.

        Towards the crop's edges it fades into the image over `feather` of the side, except at edges of the picture.
        """
        height, width = image.shape[:2]
        x0, y0 = max(self.left, 0), max(self.top, 0)
        x1, y1 = min(self.left + self.side, width), min(self.top + self.side, height)
        result = image.copy()
        if x0 >= x1 or y0 >= y1:
            return result
        resized = _resize(head, self.side)[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
        band = max(feather * self.side, 1e-6)
        across = _fade(x0, x1, band, self.left > 0, self.left + self.side < width)
        down = _fade(y0, y1, band, self.top > 0, self.top + self.side < height)
        alpha = (down[:, None] * across)[..., None]
        below = result[y0:y1, x0:x1].astype(np.float32)
        result[y0:y1, x0:x1] = np.rint(below + alpha * (resized.astype(np.float32) - below)).astype(np.uint8)
        return result


def _moved_inside(start: int, side: int, length: int) -> int:
    if side > length:
        return (length - side) // 2
    return min(max(start, 0), length - side)


def _resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (size, size):
        return image.copy()
    smaller = size < image.shape[0]
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _fade(start: int, stop: int, band: float, at_start: bool, at_stop: bool) -> NDArray[np.float32]:
    """(stop - start,) smooth weights, 0 at the ends that fade and 1 from `band` on."""
    centres = np.arange(start, stop) + 0.5
    ramp = np.ones(stop - start)
    if at_start:
        ramp = np.minimum(ramp, (centres - start) / band)
    if at_stop:
        ramp = np.minimum(ramp, (stop - centres) / band)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), np.float32)
