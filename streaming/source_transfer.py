"""The source picture's way to the other side: once, in small pieces, bounded, and never trusted.

The sender encodes it anew without metadata; the receiver checks size and digest, decodes it within bounds and encodes
it anew, so that no byte of the network reaches a later decoder or a file.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from streaming.media import RGB, check_frame

PICTURE_BYTES_LIMIT = 512 * 1024
"Bytes of an encoded picture on the wire, at most."
PICTURE_SIDE_LIMIT = 1024
"Pixels of a picture's longer side, at most."
PICTURE_SIDE_LEAST = 64
"Pixels of a picture's shorter side, at least: smaller ones hold no usable face."
PIECE_BYTES = 1024
"Bytes sent at a time: motion shares the queue and must not wait behind more."
JPEG_QUALITIES = (92, 85, 75, 60, 45)

_JPEG_START = b"\xff\xd8\xff"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PictureError(ValueError):
    """A source picture is not one that we send or accept."""


def encode_picture(picture_rgb: RGB) -> bytes:
    """(H, W, 3) uint8 RGB to the JPEG that is sent, within PICTURE_SIDE_LIMIT pixels and PICTURE_BYTES_LIMIT bytes."""
    check_frame(picture_rgb)
    height, width = picture_rgb.shape[:2]
    if min(height, width) < PICTURE_SIDE_LEAST:
        raise PictureError(f"the source picture has {width}x{height} pixels; {PICTURE_SIDE_LEAST} a side are needed")
    factor = PICTURE_SIDE_LIMIT / max(height, width)
    if factor < 1:
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        picture_rgb = cast(RGB, cv2.resize(picture_rgb, size, interpolation=cv2.INTER_AREA))
        if min(size) < PICTURE_SIDE_LEAST:
            raise PictureError(
                f"the source picture of {width}x{height} pixels is too elongated; crop it around the head"
            )
    for quality in JPEG_QUALITIES:
        done, data = cv2.imencode(".jpg", picture_rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and data.size <= PICTURE_BYTES_LIMIT:
            return data.tobytes()
    raise PictureError(f"the source picture does not fit into {PICTURE_BYTES_LIMIT // 1024} kB; send a smaller one")


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) that a JPEG's header announces, without decoding it. Raises PictureError if there is none."""
    if not data.startswith(_JPEG_START):
        raise PictureError("the picture is not a JPEG")
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            break
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _FRAME_MARKERS:
            height, width = (int.from_bytes(data[place + i : place + i + 2], "big") for i in (5, 7))
            return width, height
        if length < 2:
            break
        place += 2 + length
    raise PictureError("the picture's header is damaged")


def decode_picture(data: bytes) -> RGB:
    """A JPEG from the network to (H, W, 3) uint8 RGB within our bounds, re-encoded on the way. Raises PictureError."""
    if len(data) > PICTURE_BYTES_LIMIT:
        raise PictureError(f"the picture has {len(data)} bytes; at most {PICTURE_BYTES_LIMIT} are accepted")
    # What the header says bounds what the decoder allocates, so it is looked at first.
    width, height = jpeg_size(data)
    if not (min(width, height) >= PICTURE_SIDE_LEAST and max(width, height) <= PICTURE_SIDE_LIMIT):
        raise PictureError(
            f"the picture has {width}x{height} pixels; {PICTURE_SIDE_LEAST} to {PICTURE_SIDE_LIMIT} a side are accepted"
        )
    picture = _decode(data)
    if picture.shape[:2] != (height, width):
        raise PictureError("the picture's header and content differ in size")
    return _decode(encode_picture(picture))


def _decode(data: bytes) -> RGB:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cast(NDArray[Any] | None, cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except cv2.error:
        picture = None
    if picture is None:
        raise PictureError("the picture is damaged")
    return np.ascontiguousarray(picture[:, :, ::-1])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class PictureAssembly:
    """Collects the pieces of one announced picture."""

    def __init__(self, size: int, digest: str) -> None:
        if not 0 < size <= PICTURE_BYTES_LIMIT:
            raise PictureError(f"a picture of {size} bytes was announced; at most {PICTURE_BYTES_LIMIT} are accepted")
        self._size = size
        self._digest = digest
        self._data = bytearray()

    def add(self, piece: bytes) -> RGB | None:
        """The picture once its last piece is there, until then None. Raises PictureError and is to be dropped then."""
        if not piece or len(self._data) + len(piece) > self._size:
            raise PictureError("the picture is longer than announced")
        self._data += piece
        if len(self._data) < self._size:
            return None
        data = bytes(self._data)
        if digest(data) != self._digest:
            raise PictureError("the picture is not the announced one")
        return decode_picture(data)
