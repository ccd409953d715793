"""Sound and poses in, frames out: which, when, and of what."""

import numpy as np
import pytest

from engine.audio.mel import mel_spectrogram
from engine.audio.mel_windows import causal_window, mel_window
from engine.audio.voice_landmarks import (
    CAUSAL,
    EXACT,
    HELD_POSE,
    NEWEST,
    TIMINGS,
    VoiceLandmarks,
    voiced_frames,
)

RATE = 16_000
FRAMES = 40


@pytest.fixture(scope="module")
def voice():
    """1.6 s of noise that swells and fades."""
    rng = np.random.default_rng(0)
    count = FRAMES * RATE // 25
    return (0.3 * rng.standard_normal(count) * np.sin(np.linspace(0, 20, count)) ** 2).astype(np.float32)


@pytest.fixture(scope="module")
def poses():
    return [np.full((74, 2), frame, np.float32) for frame in range(FRAMES)]


class Spy:
    """Predicts for each slot the pose that it saw, and keeps what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, mels, seen):
        self.calls.append((mels, seen))
        return np.repeat(seen[:, :1], 57, axis=1)


def streamed(voice, poses, timing, spy, piece=333):
    """The frames of a stream in small pieces, sound and poses at their times."""
    landmarks = VoiceLandmarks(spy, timing)
    found, given = [], 0
    for begin in range(0, len(voice), piece):
        landmarks.add_sound(voice[begin : begin + piece])
        while given < len(poses) and given * RATE // 25 <= begin + piece:
            landmarks.add_pose(poses[given])
            given += 1
        found.extend(landmarks.take())
    for pose in poses[given:]:
        landmarks.add_pose(pose)
    landmarks.finish()
    return [*found, *landmarks.take()]


@pytest.mark.parametrize("timing", TIMINGS.values(), ids=TIMINGS)
def test_every_frame_comes_once_with_the_windows_of_the_whole_recording(timing, voice, poses):
    spy = Spy()
    found = streamed(voice, poses, timing, spy)
    assert [one.frame for one in found] == list(range(FRAMES))
    mel = mel_spectrogram(voice)
    window = causal_window if timing.causal else mel_window
    for one, (mels, seen) in zip(found, spy.calls, strict=True):
        np.testing.assert_array_equal(one.mel, window(mel, one.frame))
        np.testing.assert_array_equal(mels, [window(mel, max(one.frame + k, 0)) for k in timing.mels])
        numbers = np.clip([one.frame + k for k in timing.poses], 0, FRAMES - 1)
        np.testing.assert_array_equal(seen[:, 0, 0], numbers)
        drawn = numbers[list(timing.drawn)]
        assert one.frames == tuple(drawn)
        np.testing.assert_array_equal(one.contents, np.broadcast_to(drawn[:, None, None], (5, 57, 2)))


def test_published_delays():
    assert (EXACT.sound_ms, EXACT.pose_ms, EXACT.delay_ms) == (212.5, 80, 212.5)
    assert (HELD_POSE.sound_ms, HELD_POSE.pose_ms) == (212.5, 0)
    assert (NEWEST.sound_ms, NEWEST.pose_ms) == (132.5, 0)
    assert (CAUSAL.sound_ms, CAUSAL.pose_ms, CAUSAL.delay_ms) == (25, 0, 25)


@pytest.mark.parametrize("timing", TIMINGS.values(), ids=TIMINGS)
def test_a_frame_comes_as_soon_as_its_delay_says(timing, voice, poses):
    """Measured, 2.5 ms of sound at a time: never later, and at some frame (windows begin at whole columns) then."""
    piece = RATE // 400
    for axis in ("sound", "pose"):
        landmarks, waited = VoiceLandmarks(Spy(), timing), []
        if axis == "pose":
            landmarks.add_sound(voice)
        else:
            for pose in poses:
                landmarks.add_pose(pose)
        steps = poses if axis == "pose" else range(len(voice) // piece)
        for number, step in enumerate(steps):
            if axis == "pose":
                landmarks.add_pose(step)
                now = 40.0 * number
            else:
                landmarks.add_sound(voice[step * piece : (step + 1) * piece])
                now = 2.5 * (number + 1)
            waited += [now - 40 * one.frame for one in landmarks.take() if one.frame >= 4]
        assert len(waited) > 20
        assert max(waited) == pytest.approx(timing.sound_ms if axis == "sound" else timing.pose_ms, abs=2.5)


class TestAwkwardSound:
    def test_silence_clipping_and_a_millisecond_are_sound_too(self, poses):
        for samples in (np.zeros(RATE, np.float32), np.ones(RATE, np.float32), np.full(16, 0.5, np.float32)):
            found = streamed(samples, poses[:10], EXACT, Spy())
            assert [one.frame for one in found] == list(range(10))
            assert all(np.isfinite(one.mel).all() and np.abs(one.mel).max() <= 4 for one in found)

    def test_stereo_and_what_is_not_finite_are_refused(self):
        landmarks = VoiceLandmarks(Spy())
        with pytest.raises(ValueError, match=r"expected \(N,\)"):
            landmarks.add_sound(np.zeros((100, 2), np.float32))
        with pytest.raises(ValueError, match="not finite"):
            landmarks.add_sound(np.full(100, np.nan, np.float32))
        with pytest.raises(ValueError, match=r"pose: expected \(74, 2\) finite"):
            landmarks.add_pose(np.zeros((68, 2), np.float32))

    def test_what_nobody_fetches_is_not_kept_for_ever(self, poses):
        landmarks = VoiceLandmarks(Spy())
        for _ in range(30):
            landmarks.add_sound(np.zeros(RATE, np.float32))
        with pytest.raises(ValueError, match="more than 30 s of sound wait for poses"):
            landmarks.add_sound(np.zeros(RATE, np.float32))
        for _ in range(30 * 25 + 1):
            landmarks.add_pose(poses[0])
        with pytest.raises(ValueError, match="more than 30 s of poses wait for sound"):
            landmarks.add_pose(poses[0])

    def test_long_recordings_take_no_more_memory(self, poses):
        landmarks = VoiceLandmarks(Spy())
        held = []
        for _ in range(20):
            landmarks.add_sound(np.zeros(RATE, np.float32))
            for _ in range(25):
                landmarks.add_pose(poses[0])
            assert list(landmarks.take())
            held.append((len(landmarks._mel), len(landmarks._poses)))
        columns, seen = np.max(held, axis=0)
        assert columns < 2 * 80
        assert seen < 10

    def test_a_recording_that_ends_early_is_followed_by_silence(self, voice, poses):
        found = list(voiced_frames([voice[:RATE]], poses, Spy()))
        assert [one.frame for one in found] == list(range(FRAMES))
        assert (found[-1].mel == -4).all()
        for one, other in zip(found[:20], streamed(voice, poses, EXACT, Spy()), strict=False):
            np.testing.assert_array_equal(one.mel, other.mel)
