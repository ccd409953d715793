import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest

from engine.face.images import ImageError, decode_image, load_image


@pytest.fixture
def picture():
    """(80, 120, 3) RGB, the four corners in four colours."""
    image = np.zeros((80, 120, 3), np.uint8)
    image[:40, :60], image[:40, 60:] = (250, 10, 10), (10, 250, 10)
    image[40:, :60], image[40:, 60:] = (10, 10, 250), (240, 240, 240)
    return image


def encoded(image, extension):
    return cv2.imencode(extension, image[:, :, ::-1])[1].tobytes()


def with_orientation(jpeg, orientation):
    """The JPEG with an EXIF block that says how the camera was held."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 0)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png_header(width, height):
    """A PNG that says it is so large, and holds nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp"])
def test_picture_is_read_as_rgb(picture, tmp_path, extension):
    path = tmp_path / f"face{extension}"
    path.write_bytes(encoded(picture, extension))
    read = load_image(path)
    assert read.shape == (80, 120, 3)
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read[20, 30], picture[20, 30], atol=12)
    np.testing.assert_allclose(read[60, 30], picture[60, 30], atol=12)


@pytest.mark.parametrize(("channels", "kept"), [(1, (99, 99, 99)), (4, (10, 20, 30))], ids=["grey", "transparent"])
def test_other_channels_become_three(channels, kept):
    image = np.full((70, 70, 1), 99, np.uint8) if channels == 1 else np.full((70, 70, 4), (30, 20, 10, 128), np.uint8)
    read = decode_image(cv2.imencode(".png", image)[1].tobytes())
    np.testing.assert_array_equal(read[5, 5], kept)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda x: x), (3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, lambda x: np.rot90(x))],
)
def test_camera_orientation_is_honoured(picture, orientation, turned):
    read = decode_image(with_orientation(encoded(picture, ".jpg"), orientation))
    expected = turned(picture)
    assert read.shape == expected.shape
    np.testing.assert_allclose(read[10, 10], expected[10, 10], atol=12)


@pytest.mark.parametrize(("side", "extension"), [(1, ".png"), (63, ".jpg")])
def test_tiny_picture_is_refused_with_its_size(side, extension):
    with pytest.raises(ImageError, match=rf"me: {side}x{side} pixels; at least 64"):
        decode_image(encoded(np.zeros((side, side, 3), np.uint8), extension), "me")


def test_huge_picture_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match=r"12000x12000 pixels, more than the 64 million .* make it smaller or crop"):
        decode_image(png_header(12000, 12000), "huge.png")


def test_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with open(path, "wb") as file:
        file.truncate(200_000_000)  # sparse
    with pytest.raises(ImageError, match="200 MB, at most 134"):
        load_image(path)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_cut_off_file_is_called_damaged(extension, share):
    data = encoded(np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8), extension)
    with pytest.raises(ImageError, match="damaged"):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a......", b"%PDF-1.7", b"\x00" * 100])
def test_what_is_no_picture_is_refused_with_the_kinds_that_are(content):
    with pytest.raises(ImageError, match="not a JPEG, PNG, WebP or BMP"):
        decode_image(content)


def test_random_damage_raises_image_error_or_gives_a_picture(capfd):
    random = np.random.default_rng(1)
    for extension in (".jpg", ".png", ".webp", ".bmp"):
        data = encoded(random.integers(0, 255, (70, 70, 3), np.uint8), extension)
        for _ in range(60):
            broken = bytearray(data)
            for position in random.integers(0, len(broken), 8):
                broken[position] = random.integers(256)
            with contextlib.suppress(ImageError):
                assert decode_image(bytes(broken)).shape[2] == 3
    assert capfd.readouterr().err == ""


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "none.jpg")
