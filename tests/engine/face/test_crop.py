import numpy as np
import pytest

from engine.face.crop import HeadCrop
from engine.motion import from_pixels, to_pixels


def face_at(x0, y0, x1, y1, width, height):
    """(478, 3) frame coordinates of a face whose mesh fills this box, pixels."""
    random = np.random.default_rng(0)
    points = random.uniform((x0, y0, -5), (x1, y1, 5), (478, 3)).astype(np.float32)
    points[0, :2], points[1, :2] = (x0, y0), (x1, y1)
    return from_pixels(points, width, height)


def ramp(height, width):
    """An image whose red counts columns and green counts rows."""
    y, x = np.mgrid[:height, :width]
    return np.stack((x % 256, y % 256, np.zeros_like(x)), -1).astype(np.uint8)


def test_crop_has_room_for_hair_neck_and_ears():
    crop = HeadCrop.around(face_at(400, 300, 500, 420, 1000, 800), 1000, 800)
    # 120 high with 38 % above and 14 % below, times 1.1.
    assert crop.side == pytest.approx(1.52 * 120 * 1.1, abs=1.5)
    assert crop.left + crop.side / 2 == pytest.approx(450, abs=1)
    assert crop.top + crop.side / 2 == pytest.approx((300 - 0.38 * 120 + 420 + 0.14 * 120) / 2, abs=1)


def test_crop_covers_the_face_of_all_frames_and_ignores_lost_ones():
    one = face_at(100, 100, 200, 220, 1000, 800)
    other = face_at(400, 100, 500, 220, 1000, 800)
    crop = HeadCrop.around(np.stack((one, np.full_like(one, np.nan), other)), 1000, 800)
    assert crop.left <= 100
    assert crop.left + crop.side >= 500
    with pytest.raises(ValueError, match="no frame with a face"):
        HeadCrop.around(np.full((2, 478, 3), np.nan), 100, 100)


def test_crop_moves_into_the_picture_and_is_no_larger():
    crop = HeadCrop.around(face_at(10, 10, 210, 250, 640, 480), 640, 480)
    assert (crop.left, crop.top) == (0, 0)
    tight = HeadCrop.around(face_at(50, 20, 210, 236, 256, 256), 256, 256)
    assert (tight.left, tight.top, tight.side) == (0, 0, 256)


def test_face_larger_than_the_picture_is_padded_by_the_edge():
    crop = HeadCrop.around(face_at(-20, 5, 120, 95, 100, 100), 100, 100)
    assert crop.side >= 140
    out = crop.apply(ramp(100, 100), crop.side)
    assert (out[:, 0, 0] == 0).all(), "the first column repeats"


def test_apply_shows_the_pixels_of_the_square():
    image = ramp(100, 200)
    crop = HeadCrop(30, 20, 50)
    np.testing.assert_array_equal(crop.apply(image, 50), image[20:70, 30:80])
    assert crop.apply(image, 128).shape == (128, 128, 3)
    half = crop.apply(image, 25)
    np.testing.assert_allclose(half[10, 10, :2], image[40, 50, :2] + 0.5, atol=1)


def test_crop_beside_the_picture_is_refused():
    with pytest.raises(ValueError, match="lies outside the 100x100"):
        HeadCrop(200, 200, 50).apply(ramp(100, 100), 50)


def test_landmarks_go_into_the_crop_and_back():
    landmarks = face_at(300, 200, 400, 320, 640, 480)
    crop = HeadCrop(250, 120, 240)
    inside = crop.landmarks_in(landmarks, 640, 480)
    expected = to_pixels(landmarks, 640, 480)[:, :2] - (250, 120)
    np.testing.assert_allclose(to_pixels(inside, 240, 240)[:, :2], expected, atol=1e-3)
    assert inside[3, 2] * 240 == pytest.approx(landmarks[3, 2] * 480, abs=1e-4), "depth is scaled along"
    np.testing.assert_allclose(crop.landmarks_out(inside, 640, 480), landmarks, atol=1e-5)


def test_paste_changes_the_square_and_nothing_else():
    image = ramp(100, 200)
    before = image.copy()
    head = np.full((64, 64, 3), 200, np.uint8)
    out = HeadCrop(30, 20, 50).paste(image, head)
    np.testing.assert_array_equal(image, before)
    assert (out[45, 55] == 200).all()
    outside = np.ones((100, 200), bool)
    outside[20:70, 30:80] = False
    np.testing.assert_array_equal(out[outside], image[outside])


def test_paste_fades_at_its_edges_but_not_at_the_pictures():
    image = np.zeros((100, 100, 3), np.uint8)
    head = np.full((60, 60, 3), 200, np.uint8)
    out = HeadCrop(0, 20, 60).paste(image, head, feather=0.2)[..., 0].astype(int)
    assert out[50, 0] == 200, "the picture ends here, no seam to hide"
    row = out[50, 40:60]
    assert (np.diff(row) <= 0).all()
    assert row[-1] < 20


def test_paste_of_the_crop_itself_gives_the_picture_again():
    image = ramp(120, 160)
    crop = HeadCrop(-10, 30, 100)
    np.testing.assert_array_equal(crop.paste(image, crop.apply(image, crop.side)), image)


def test_whole_picture_must_be_square():
    assert HeadCrop.whole(256, 256) == HeadCrop(0, 0, 256)
    with pytest.raises(ValueError, match="640x480 pixels, not square"):
        HeadCrop.whole(640, 480)
