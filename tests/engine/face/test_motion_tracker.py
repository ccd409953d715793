import av
import cv2
import numpy as np
import pytest

from engine.face.fit import fit_source
from engine.face.landmarks import detect_face
from engine.face.motion_tracker import MotionTracker
from engine.motion import to_pixels


def test_portrait_is_tracked_into_a_state(model, portrait):
    with MotionTracker(model) as tracker:
        for number in range(4):
            state = tracker.process(portrait, number * 0.04)
            assert state is not None
            assert state.time == pytest.approx(number * 0.04)
            shown = to_pixels(tracker.person.landmarks(state), 512, 512)
            seen = to_pixels(tracker.observation.landmarks, 512, 512)
            eyes = np.linalg.norm(seen[33] - seen[263])
            assert np.linalg.norm((shown - seen)[:468, :2], axis=1).mean() < 0.015 * eyes
        assert tracker.process(np.zeros_like(portrait), 0.2) is None
        assert tracker.observation is None


def test_frame_without_a_face_is_none_and_the_next_one_is_not(model, portrait):
    with MotionTracker(model, smoothing=None) as tracker:
        assert tracker.process(np.zeros_like(portrait), 0.0) is None
        states = [tracker.process(portrait, 0.04 * number) for number in range(1, 12)]
        assert states[-1] is not None
        tracker.reset()
        assert tracker.process(portrait, 1.0) is not None


def test_driver_in_the_source_picture_is_recognised(model, portrait):
    source = fit_source(model, detect_face(portrait[20:320, 70:370].copy()).landmarks)
    with MotionTracker(model, source=source) as tracker:
        tracker.process(portrait, 0.0)
        assert tracker.person is source[0]
        tracker.reset()
        tracker.process(cv2.resize(portrait, (512, 600)), 0.0)  # a longer face is another face
        assert tracker.person is not source[0]


@pytest.mark.data
def test_clip_of_a_talking_person_is_followed(model, data_pack):
    errors = []
    with MotionTracker(model) as tracker, av.open(str(data_pack.clip("p88_01"))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == 60:
                break
            state = tracker.process(frame.to_ndarray(format="rgb24"), number / 25)
            assert state is not None
            assert state.confidence > 0.5
            shown = tracker.person.landmarks(state)[:468, :2]
            errors.append(np.linalg.norm(shown - tracker.observation.landmarks[:468, :2], axis=1).mean() / state.scale)
    assert np.mean(errors) < 0.01  # of the eye corners' distance, smoothing included
