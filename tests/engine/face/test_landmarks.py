import subprocess
import sys

import cv2
import numpy as np
import pytest

from engine.face.landmarks import (
    FaceError,
    LandmarkTracker,
    NoFaceError,
    SeveralFacesError,
    TrackerConfig,
    confidence,
    detect_face,
)
from engine.face.regions import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from engine.motion import to_pixels

# Where the eyes of the portrait are, by eye.
EYES_PX = {RIGHT_EYE_OUTER: (195, 102), LEFT_EYE_OUTER: (256, 104)}


def eye_pixels(observation, width, height):
    return to_pixels(observation.landmarks, width, height)[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER], :2]


def canvas(portrait, width, height, left, top, size):
    """A grey frame with the portrait, `size` pixels wide, pasted in."""
    frame = np.full((height, width, 3), 90, np.uint8)
    frame[top : top + size, left : left + size] = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA)
    return frame


@pytest.fixture(scope="module")
def tracker():
    with LandmarkTracker(TrackerConfig(look_interval=5, search_interval=2)) as tracker:
        yield tracker


def test_face_of_a_portrait_is_found(portrait):
    found = detect_face(portrait)
    assert found.landmarks.shape == (478, 3)
    assert found.landmarks.dtype == np.float32
    np.testing.assert_allclose(eye_pixels(found, 512, 512), list(EYES_PX.values()), atol=6)
    assert 0.7 < found.confidence <= 1.0
    assert found.faces == 1


def test_picture_without_a_face_says_what_would_help():
    with pytest.raises(NoFaceError, match="no face found in the 320x200 picture; use one that shows"):
        detect_face(np.random.default_rng(0).integers(0, 255, (200, 320, 3), np.uint8))


def test_two_faces_are_counted_and_the_way_out_named(portrait):
    with pytest.raises(SeveralFacesError, match="2 faces in the picture; crop it") as caught:
        detect_face(np.hstack((portrait, portrait)))
    assert caught.value.count == 2
    assert isinstance(caught.value, FaceError)
    assert isinstance(caught.value, ValueError)


def test_small_bystander_does_not_count(portrait):
    frame = canvas(portrait, 900, 512, 0, 0, 512)
    frame[:170, 700:870] = cv2.resize(portrait, (170, 170), interpolation=cv2.INTER_AREA)
    found = detect_face(frame)
    np.testing.assert_allclose(eye_pixels(found, 900, 512), list(EYES_PX.values()), atol=6)


def test_small_face_in_a_big_picture_is_found(portrait):
    found = detect_face(canvas(portrait, 3000, 2000, 1900, 1000, 400))
    expected = np.array(list(EYES_PX.values())) * 400 / 512 + (1900, 1000)
    np.testing.assert_allclose(eye_pixels(found, 3000, 2000), expected, atol=8)


def test_face_that_fills_the_picture_is_found(portrait):
    tight = portrait[45:185, 160:290]
    found = detect_face(cv2.resize(tight, (520, 560)))
    expected = (np.array(list(EYES_PX.values())) - (160, 45)) * 4
    np.testing.assert_allclose(eye_pixels(found, 520, 560), expected, atol=25)


def test_confidence_falls_with_size_and_outside_the_frame(portrait):
    pixels = to_pixels(detect_face(portrait).landmarks, 512, 512)
    clear = confidence(pixels, 512, 512, 0.9)
    assert 0.8 < clear <= 0.9
    assert confidence(pixels, 512, 512, 0.5) == pytest.approx(clear * 5 / 9)
    small = [confidence(pixels * factor, 512, 512, 0.9) for factor in (0.6, 0.3, 0.1)]
    assert clear > small[0] > small[1] > small[2] == 0.0
    centre = pixels[:468, 0].mean()
    shifted = [confidence(pixels - np.float32((centre * share, 0, 0)), 512, 512, 0.9) for share in (0.8, 0.95, 1.1)]
    assert clear > shifted[0] > shifted[1] > shifted[2] == 0.0


def test_confidence_falls_with_what_is_no_face(portrait):
    pixels = to_pixels(detect_face(portrait).landmarks, 512, 512)
    squeezed = pixels * np.array((1.0, 0.4, 1.0), np.float32)
    assert confidence(squeezed, 512, 512, 0.9) < 0.3
    assert confidence(np.full((478, 3), 100, np.float32), 512, 512, 0.9) == 0.0


def test_tracker_follows_a_moving_face(portrait, tracker):
    tracker.reset()
    for step in range(20):
        left = 40 + 8 * step
        found = tracker.track(canvas(portrait, 640, 480, left, 30, 400))
        assert found is not None
        expected = np.array(list(EYES_PX.values())) * 400 / 512 + (left, 30)
        np.testing.assert_allclose(eye_pixels(found, 640, 480), expected, atol=6)
    assert found.faces == 1
    assert found.confidence > 0.7


def test_tracker_says_when_the_face_is_gone_and_finds_it_again(portrait, tracker):
    tracker.reset()
    empty = np.full((480, 640, 3), 90, np.uint8)
    assert tracker.track(empty) is None
    assert any(tracker.track(canvas(portrait, 640, 480, 100, 30, 400)) is not None for _ in range(4))
    for _ in range(3):
        assert tracker.track(empty) is None
    again = [tracker.track(canvas(portrait, 640, 480, 200, 60, 400)) for _ in range(4)]
    assert again[-1] is not None
    expected = np.array(list(EYES_PX.values())) * 400 / 512 + (200, 60)
    np.testing.assert_allclose(eye_pixels(again[-1], 640, 480), expected, atol=6)


def test_face_that_jumps_is_found_in_the_same_frame(portrait, tracker):
    tracker.reset()
    for left in (20, 20, 230, 230, 10):
        found = tracker.track(canvas(portrait, 640, 480, left, 30, 400))
        assert found is not None
        expected = np.array(list(EYES_PX.values())) * 400 / 512 + (left, 30)
        np.testing.assert_allclose(eye_pixels(found, 640, 480), expected, atol=6)


def test_tracker_follows_a_small_face_in_a_window(portrait, tracker):
    tracker.reset()
    for step in range(30):
        left = 300 + 8 * step
        found = tracker.track(canvas(portrait, 1280, 720, left, 200, 300))
        assert found is not None, step
        expected = np.array(list(EYES_PX.values())) * 300 / 512 + (left, 200)
        np.testing.assert_allclose(eye_pixels(found, 1280, 720), expected, atol=6)


def test_largest_of_two_faces_is_followed_and_both_are_counted(portrait, tracker):
    tracker.reset()
    for step in range(12):
        frame = canvas(portrait, 1000, 512, 0, 0, 512)
        left = 560 + 2 * step
        frame[100:420, left : left + 320] = cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_AREA)
        found = tracker.track(frame)
        assert found is not None
        np.testing.assert_allclose(eye_pixels(found, 1000, 512), list(EYES_PX.values()), atol=8)
        assert found.faces == 2


def test_second_face_is_noticed_at_the_next_look(portrait, tracker):
    tracker.reset()
    alone = canvas(portrait, 1000, 512, 0, 0, 512)
    assert tracker.track(alone).faces == 1
    both = np.hstack((portrait, portrait[:, :488]))
    counts = [tracker.track(both).faces for _ in range(6)]
    assert counts[-1] == 2


def test_another_resolution_is_another_video(portrait, tracker):
    tracker.reset()
    for width, height, left, size in ((640, 480, 100, 400), (320, 240, 40, 200), (1280, 720, 600, 300)):
        found = tracker.track(canvas(portrait, width, height, left, 20, size))
        assert found is not None
        expected = np.array(list(EYES_PX.values())) * size / 512 + (left, 20)
        np.testing.assert_allclose(eye_pixels(found, width, height), expected, atol=6)


def test_closing_twice_is_fine():
    tracker = LandmarkTracker()
    tracker.close()
    tracker.close()


def test_nothing_is_written_to_the_terminal(portrait, tmp_path):
    """In a process of its own: the libraries speak once, when their networks are built."""
    cv2.imwrite(str(tmp_path / "face.png"), portrait[:, :, ::-1])
    program = (
        "import sys, cv2\n"
        "from engine.face.landmarks import LandmarkTracker, detect_face\n"
        "image = cv2.imread(sys.argv[1])[:, :, ::-1].copy()\n"
        "detect_face(image)\n"
        "with LandmarkTracker() as tracker:\n"
        "    assert tracker.track(image) is not None\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "face.png")], capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
