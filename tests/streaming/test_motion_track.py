from __future__ import annotations

import os

import numpy as np
import pytest

from engine.motion import FaceState
from streaming.inputs import InputError, open_input
from streaming.motion_track import MotionTrack, MotionTrackPlayer


def make_state(time: float, size: int = 12, seed: int = 0) -> FaceState:
    rng = np.random.default_rng((seed, round(time * 1000)))
    return FaceState(
        rotation=rng.normal(size=3),
        translation=rng.normal(size=2),
        scale=float(rng.uniform(0.1, 1.0)),
        expression=rng.normal(size=size),
        gaze=rng.normal(size=2),
        time=time,
        confidence=float(rng.uniform()),
    )


def make_track(count: int = 10, audio: bool = True) -> MotionTrack:
    samples = np.random.default_rng(1).integers(-9000, 9000, 5000).astype(np.int16) if audio else None
    return MotionTrack(tuple(make_state(k / 25) for k in range(count)), rate=25.0, audio=samples)


@pytest.mark.parametrize("audio", [True, False])
def test_what_is_saved_is_loaded(tmp_path, audio):
    track = make_track(audio=audio)
    track.save(tmp_path / "track.npz")
    loaded = open_input(str(tmp_path / "track.npz"))
    assert isinstance(loaded, MotionTrack)
    assert loaded.rate == 25.0
    assert len(loaded.states) == 10
    for before, after in zip(track.states, loaded.states, strict=True):
        for name in ("rotation", "translation", "expression", "gaze"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert after.time == before.time
        assert after.scale == pytest.approx(before.scale, rel=1e-6)
        assert after.confidence == pytest.approx(before.confidence, rel=1e-6)
    if track.audio is None:
        assert loaded.audio is None
    else:
        np.testing.assert_array_equal(loaded.audio, track.audio)
    assert os.listdir(tmp_path) == ["track.npz"]


def test_tracks_that_make_no_sense_are_refused():
    state = make_state(0.0)
    with pytest.raises(ValueError, match="at least one"):
        MotionTrack((), 25.0)
    with pytest.raises(ValueError, match="increase"):
        MotionTrack((state, state), 25.0)
    with pytest.raises(ValueError, match="differ"):
        MotionTrack((state, make_state(1.0, size=3)), 25.0)
    with pytest.raises(ValueError, match="rate"):
        MotionTrack((state,), float("nan"))
    with pytest.raises(ValueError, match="int16"):
        MotionTrack((state,), 25.0, audio=np.zeros(10))


def parts(**changes) -> dict[str, np.ndarray]:
    """The arrays of a good track of four states, with changes; None removes one."""
    arrays = {
        "format": np.array("visavis-motion"),
        "version": np.array(1),
        "rate": np.array(25.0),
        "time": np.arange(4) / 25,
        "rotation": np.zeros((4, 3), np.float32),
        "translation": np.zeros((4, 2), np.float32),
        "scale": np.ones(4, np.float32),
        "expression": np.zeros((4, 5), np.float32),
        "gaze": np.zeros((4, 2), np.float32),
        "confidence": np.ones(4, np.float32),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": np.array("other")}, "another kind"),
        ({"version": np.array(2)}, "reads version 1"),
        ({"version": None}, "version is missing"),
        ({"gaze": None}, "gaze is missing"),
        ({"rotation": np.zeros((4, 2), np.float32)}, "rotation: unexpected|rotation: expected 3"),
        ({"rotation": np.zeros((3, 3), np.float32)}, "rotation: unexpected"),
        ({"scale": np.zeros(4, np.float32)}, "scale"),
        ({"scale": np.full(4, np.nan)}, "scale"),
        ({"time": np.zeros(4)}, "increase"),
        ({"time": np.array(["a"] * 4)}, "time: unexpected"),
        ({"expression": np.zeros((4, 500), np.float32)}, "at most 128"),
        ({"confidence": np.full(4, 7.0)}, "confidence"),
        ({"rate": np.array([1.0, 2.0])}, "motion track"),
        ({"audio": np.zeros(100, np.float32)}, "int16"),
        ({"extra": np.zeros(4)}, "unexpected part 'extra.npy'"),
    ],
)
def test_files_that_are_no_tracks_are_refused(tmp_path, changes, words):
    path = tmp_path / "track.npz"
    np.savez(path, **parts(**changes))
    with pytest.raises(InputError, match=words) as caught:
        MotionTrack.load(path)
    assert str(path) in str(caught.value)


def test_the_unchanged_parts_are_a_track(tmp_path):
    """So that each refusal above is for the change that it makes."""
    np.savez(tmp_path / "track.npz", **parts())
    assert len(MotionTrack.load(tmp_path / "track.npz").states) == 4


def test_a_pickle_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "was_run"),))

    path = tmp_path / "track.npz"
    np.savez(path, **parts(time=np.array([Bomb()] * 4, dtype=object)))
    with pytest.raises(InputError):
        MotionTrack.load(path)
    assert not (tmp_path / "was_run").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "track.npz"
    make_track().save(path)
    monkeypatch.setattr("streaming.motion_track.AUDIO_LIMIT", 100)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("was unpacked"))
    with pytest.raises(InputError, match=r"unexpected part 'audio.npy' of 10128 bytes"):
        MotionTrack.load(path)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_files_raise_one_kind_of_error(tmp_path, seed):
    path = tmp_path / "track.npz"
    make_track().save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(40):
        content = bytearray(good)
        for position in rng.integers(0, len(content), 8):
            content[position] = rng.integers(256)
        path.write_bytes(bytes(content[: rng.integers(1, len(content))]) if rng.uniform() < 0.3 else bytes(content))
        try:
            MotionTrack.load(path)
        except InputError:
            continue


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"nothing\.npz: no such file"):
        MotionTrack.load("nothing.npz")


class FakeTime:
    def __init__(self) -> None:
        self.now = 50.0

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_playing_gives_states_and_voice_at_their_times():
    track, time = make_track(), FakeTime()
    player = MotionTrackPlayer(track, clock=time.clock, wait=time.wait)
    for number in range(10):
        state = player.read()
        assert state is not None
        assert state.time == pytest.approx(number / 25)
        assert time.now - 50.0 == pytest.approx(number / 25)
    assert player.read() is None
    sound = []
    while (item := player.read_audio()) is not None:
        sound.append(item[1])
    assert len(sound) == 6
    np.testing.assert_array_equal(np.concatenate(sound)[:5000], track.audio)


def test_a_loop_repeats_states_and_voice_in_step():
    track, time = make_track(count=10), FakeTime()  # 0.4 s; the voice is shorter
    player = MotionTrackPlayer(track, loop=True, clock=time.clock, wait=time.wait)
    times = [player.read().time for _ in range(25)]
    np.testing.assert_allclose(times, np.arange(25) / 25, atol=1e-6)
    sound = np.concatenate([player.read_audio()[1] for _ in range(40)])
    np.testing.assert_array_equal(sound[:5000], track.audio)
    assert not sound[5000:19_200].any()
    np.testing.assert_array_equal(sound[19_200:24_200], track.audio)


def test_close_ends_the_playing():
    player = MotionTrackPlayer(make_track())
    assert player.read() is not None
    player.close()
    player.close()
    assert player.read() is None


# Keypoints


def test_keypoints_that_are_saved_are_loaded_and_played(tmp_path, moving_keypoints):
    states = tuple(moving_keypoints(10, 8))
    MotionTrack(states, rate=25.0).save(tmp_path / "track.npz")
    loaded = MotionTrack.load(tmp_path / "track.npz")
    for before, after in zip(states, loaded.states, strict=True):
        np.testing.assert_array_equal(after.points, before.points)
        np.testing.assert_array_equal(after.jacobians, before.jacobians)
        assert (after.time, after.confidence) == (before.time, before.confidence)
    player = MotionTrackPlayer(loaded, loop=True, clock=lambda: 0.0, wait=lambda _: None)
    played = [player.read() for _ in range(12)]
    np.testing.assert_array_equal(played[9].points, states[1].points)
    assert played[9].time == pytest.approx(9 / 25)


def test_kinds_are_not_mixed_in_a_track(moving_keypoints):
    with pytest.raises(ValueError, match="differ in their kind"):
        MotionTrack((make_state(0.0), *moving_keypoints(10, 3)[1:]), 25.0)
    with pytest.raises(ValueError, match="keypoints"):
        MotionTrack((moving_keypoints(10, 1)[0], moving_keypoints(15, 2)[1]), 25.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": np.zeros((4, 10, 3), np.float32)}, "points: expected K x 2"),
        ({"points": np.zeros((4, 65, 2), np.float32)}, "65 keypoints"),
        ({"points": np.zeros((4, 20), np.float32)}, "points: unexpected"),
        ({"points": None}, "points is missing"),
        ({"jacobians": None}, "jacobians is missing"),
        ({"jacobians": np.zeros((4, 9, 2, 2), np.float32)}, "jacobians"),
        ({"jacobians": np.full((4, 10, 2, 2), np.nan, np.float32)}, "not finite"),
        ({"rotation": np.zeros((4, 3), np.float32)}, "unexpected part 'points'|unexpected part 'jacobians'"),
        ({"confidence": None}, "confidence is missing"),
    ],
)
def test_files_that_are_no_tracks_of_keypoints_are_refused(tmp_path, changes, words):
    face = ("rotation", "translation", "scale", "expression", "gaze")
    good = {"points": np.zeros((4, 10, 2), np.float32), "jacobians": np.zeros((4, 10, 2, 2), np.float32)}
    np.savez(tmp_path / "good.npz", **parts(**good, **dict.fromkeys(face)))
    assert MotionTrack.load(tmp_path / "good.npz").states[0].count == 10
    np.savez(tmp_path / "track.npz", **parts(**(dict.fromkeys(face) | good | changes)))
    with pytest.raises(InputError, match=words):
        MotionTrack.load(tmp_path / "track.npz")
