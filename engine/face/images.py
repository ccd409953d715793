"""Pictures from files, checked before they are decoded."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.native_log import quiet_native_log

SIDE_AT_LEAST = 64
PIXELS_AT_MOST = 64_000_000
"Decoded, 64 million pixels are 192 MB."
BYTES_AT_MOST = 128 * 1024 * 1024


class ImageError(ValueError):
    """A picture cannot be used; the message says why and what would help."""


def load_image(path: str | Path) -> NDArray[np.uint8]:
    """The picture in a JPEG, PNG, WebP or BMP file as RGB (H, W, 3), turned upright as its EXIF orientation says.

    Raises ImageError for what is not such a picture, damaged, below 64 pixels on a side, or above 64 million pixels
    (told from the header, without decoding), and OSError where the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > BYTES_AT_MOST:
        raise ImageError(
            f"{path.name}: {size / 1e6:.0f} MB, at most {BYTES_AT_MOST / 1e6:.0f} are read; save it smaller"
        )
    return decode_image(path.read_bytes(), path.name)


def decode_image(data: bytes, name: str = "image") -> NDArray[np.uint8]:
    """The same for a file's bytes; `name` is what messages call it."""
    width, height = _size_in_header(data, name)
    if min(width, height) < SIDE_AT_LEAST:
        raise ImageError(
            f"{name}: {width}x{height} pixels; at least {SIDE_AT_LEAST} on each side are needed to find a face"
        )
    if width * height > PIXELS_AT_MOST:
        raise ImageError(
            f"{name}: {width}x{height} pixels, more than the {PIXELS_AT_MOST // 1_000_000} million accepted; "
            "make it smaller or crop it around the head"
        )
    with quiet_native_log():  # libjpeg and libpng report damage on the terminal
        try:
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            bgr = None
    if bgr is None or sorted(bgr.shape[:2]) != sorted((width, height)):
        raise ImageError(f"{name}: damaged, cannot be decoded; save it again as JPEG or PNG")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def _size_in_header(data: bytes, name: str) -> tuple[int, int]:
    """Width and height before the EXIF orientation. Raises ImageError also for files that end early."""
    damaged = ImageError(f"{name}: damaged or cut off; get the file again, or save it again as JPEG or PNG")
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            if b"IEND" not in data[-64:]:
                raise damaged
            width, height = struct.unpack(">II", data[16:24])
        elif data.startswith(b"\xff\xd8"):
            width, height = _jpeg_size(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            if len(data) < 8 + struct.unpack("<I", data[4:8])[0]:
                raise damaged
            width, height = _webp_size(data)
        elif data.startswith(b"BM"):
            if len(data) < struct.unpack("<I", data[2:6])[0]:
                raise damaged
            width, height = struct.unpack("<ii", data[18:26])
            height = abs(height)  # negative where the rows are stored from the top
        else:
            raise ImageError(f"{name}: not a JPEG, PNG, WebP or BMP picture; convert it to one of these")
    except (struct.error, IndexError):
        raise damaged from None
    if width < 1 or height < 1:
        raise damaged
    return int(width), int(height)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the frame header; struct.error where the file ends before it or before the end of the picture."""
    position, size = 2, None
    while True:
        marker, code = struct.unpack(">BB", data[position : position + 2])
        if marker != 0xFF:
            raise struct.error("no marker where one belongs")
        if code == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            size = width, height
        if code == 0xDA:
            # A cut-off picture decodes to grey below the cut; only the missing end marker gives it away.
            if size is None or data.rfind(b"\xff\xd9") < position:
                raise struct.error("no picture or no end")
            return size
        position += 2 + length


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise struct.error("unknown kind of WebP")
