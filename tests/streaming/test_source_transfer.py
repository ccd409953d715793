"""The source picture: bounded on the way out, never trusted on the way in."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

from streaming.source_transfer import (
    PICTURE_BYTES_LIMIT,
    PICTURE_SIDE_LIMIT,
    PIECE_BYTES,
    PictureAssembly,
    PictureError,
    decode_picture,
    digest,
    encode_picture,
    jpeg_size,
)


def picture(width: int = 200, height: int = 150) -> np.ndarray:
    """A smooth picture: red grows to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack((red, green, np.full_like(red, 60)), axis=2).astype(np.uint8)


def transferred(data: bytes, announced: tuple[int, str] | None = None, piece: int = PIECE_BYTES) -> np.ndarray | None:
    size, expected = announced or (len(data), digest(data))
    assembly = PictureAssembly(size, expected)
    result = None
    for start in range(0, len(data), piece):
        assert result is None
        result = assembly.add(data[start : start + piece])
    return result


@pytest.mark.parametrize("size", [(200, 150), (64, 64), (1024, 700)], ids=str)
def test_picture_arrives_nearly_unchanged(size):
    original = picture(*size)
    arrived = transferred(encode_picture(original))
    assert arrived.shape == original.shape
    assert np.abs(arrived.astype(int) - original).mean() < 3


def test_large_picture_is_made_smaller_and_keeps_its_shape():
    data = encode_picture(picture(3000, 1500))
    assert jpeg_size(data) == (PICTURE_SIDE_LIMIT, PICTURE_SIDE_LIMIT // 2)


def test_picture_that_hardly_compresses_still_fits():
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    assert len(encode_picture(noise)) <= PICTURE_BYTES_LIMIT


@pytest.mark.parametrize(
    ("size", "words"), [((30, 200), "64 a side are needed"), ((4000, 100), "too elongated")], ids=["tiny", "long"]
)
def test_useless_picture_is_not_sent(size, words):
    with pytest.raises(PictureError, match=words):
        encode_picture(picture(*size))


def test_announced_size_and_digest_are_held_to():
    data = encode_picture(picture())
    for announced, sent in (((len(data) - 1, digest(data)), data), ((len(data), "0" * 64), data)):
        with pytest.raises(PictureError, match="announced"):
            transferred(sent, announced)
    assert transferred(data[:-1], (len(data), digest(data))) is None


@pytest.mark.parametrize("size", [0, -5, PICTURE_BYTES_LIMIT + 1], ids=str)
def test_announcement_out_of_bounds_is_refused(size):
    with pytest.raises(PictureError, match="at most"):
        PictureAssembly(size, "0" * 64)


def test_header_that_promises_a_huge_picture_is_refused_before_it_is_decoded():
    data = bytearray(encode_picture(picture()))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = (60_000).to_bytes(2, "big") * 2
    assert jpeg_size(bytes(data)) == (60_000, 60_000)
    with pytest.raises(PictureError, match="60000x60000"):
        decode_picture(bytes(data))


@pytest.mark.parametrize("extension", [".png", ".webp", ".bmp"])
def test_other_formats_are_refused(extension):
    with pytest.raises(PictureError, match="not a JPEG"):
        decode_picture(cv2.imencode(extension, picture())[1].tobytes())


def test_hidden_data_does_not_survive():
    data = encode_picture(picture())
    secret = b"location and serial number"
    comment = b"\xff\xfe" + (len(secret) + 2).to_bytes(2, "big") + secret
    with_comment = data[:2] + comment + data[2:]
    assert transferred(with_comment).shape == (150, 200, 3)
    assert secret not in encode_picture(transferred(with_comment))


def test_garbage_raises_one_error_or_gives_a_picture_within_bounds():
    generator = random.Random(0)
    whole = encode_picture(picture(80, 80))
    for number in range(2000):
        data = bytearray(whole)
        if number % 3 == 0:
            data = bytearray(b"\xff\xd8\xff" + generator.randbytes(200))
        for _ in range(generator.randrange(1, 6)):
            data[generator.randrange(2, len(data))] = generator.randrange(256)
        try:
            decoded = decode_picture(bytes(data))
        except PictureError:
            continue
        assert max(decoded.shape[:2]) <= PICTURE_SIDE_LIMIT
        assert decoded.dtype == np.uint8
