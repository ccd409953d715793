"""Camera frames to keypoints: a square that stays, and coordinates that do not jump when it does not."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from engine.face.crop import HeadCrop
from engine.face.images import load_image
from engine.keypoint_tracker import KeypointTracker
from engine.motion import Keypoints
from visavis.demo import PORTRAIT

SIZE = 128


@dataclass
class CornersOfMark:
    """A detector that finds a coloured mark: its middle, and how large it is."""

    def __call__(self, frames):
        found = []
        for frame in frames:
            mask = (frame.astype(int) @ (-1, 1, -1)) > 120
            y, x = np.nonzero(mask)
            centre = np.array((x.mean() + 0.5, y.mean() + 0.5)) * 2 / SIZE - 1
            found.append(Keypoints(centre[None], (np.eye(2) * np.sqrt(mask.sum()) / SIZE)[None]))
        return found


def with_mark(frame, at):
    cv2.rectangle(frame, (at[0] - 6, at[1] - 6), (at[0] + 6, at[1] + 6), (0, 255, 0), -1)
    return frame


@pytest.fixture(scope="module")
def wide():
    """The face somewhere in a wide picture, with the mark's place."""
    portrait = load_image(PORTRAIT)
    height, width = portrait.shape[:2]
    small = cv2.resize(portrait, (round(width * 300 / height), 300), interpolation=cv2.INTER_AREA)

    def at(left):
        canvas = np.full((360, 1000, 3), 90, np.uint8)
        canvas[30:330, left : left + small.shape[1]] = small
        place = (left + small.shape[1] // 2, 70)
        return with_mark(canvas, place), place

    return at


def in_pixels(found, crop):
    return (found.points[0] + 1) / 2 * crop.side + (crop.left, crop.top)


def test_the_square_stays_while_the_face_is_in_it(wide):
    with KeypointTracker(CornersOfMark(), SIZE) as tracker:
        found = tracker.process(wide(100)[0], 1.5)
        crop = tracker._crop
        moved = tracker.process(wide(112)[0], 1.54)
        assert tracker._crop == crop
    assert found.time == 1.5
    assert 0.5 < found.confidence <= 1
    np.testing.assert_allclose(in_pixels(found, crop), wide(100)[1], atol=3)
    np.testing.assert_allclose((moved.points - found.points)[0] * crop.side / 2, (12, 0), atol=3)


def test_a_face_that_leaves_is_followed_without_a_jump(wide):
    with KeypointTracker(CornersOfMark(), SIZE) as tracker:
        tracker.process(wide(60)[0], 0.0)
        first = tracker._crop
        for left in range(100, 601, 40):
            found = tracker.process(wide(left)[0], left / 1000)
            if found is None:
                continue
            np.testing.assert_allclose(in_pixels(found, first), wide(left)[1], atol=4)
        assert tracker._crop != first
        # How large the mark is, too, is told in the first square's unit.
        side = found.jacobians[0, 0, 0] * first.side
    assert side == pytest.approx(13, abs=2)


def test_no_face_no_motion(wide):
    with KeypointTracker(CornersOfMark(), SIZE) as tracker:
        assert tracker.process(np.full((360, 1000, 3), 90, np.uint8), 0.0) is None
        assert tracker.observation is None
        # It is not looked for in every frame.
        assert any(tracker.process(wide(100)[0], 0.04 * k) is not None for k in range(1, 50))
        assert tracker.observation is not None


def test_a_given_square_is_kept(wide):
    crop = HeadCrop(0, 0, 360)
    with KeypointTracker(CornersOfMark(), SIZE, crop=crop) as tracker:
        found = tracker.process(wide(40)[0], 0.0)
    np.testing.assert_allclose(in_pixels(found, crop), wide(40)[1], atol=3)


def test_reset_begins_with_another_square(wide):
    with KeypointTracker(CornersOfMark(), SIZE) as tracker:
        tracker.process(wide(60)[0], 0.0)
        first = tracker._crop
        tracker.reset()
        found = tracker.process(wide(500)[0], 0.0)
        assert tracker._crop != first
        np.testing.assert_allclose(in_pixels(found, tracker._crop), wide(500)[1], atol=3)
