from __future__ import annotations

import logging
from fractions import Fraction

import numpy as np
import pytest

from streaming.inputs import InputError, VideoFile, VideoFilePlayer, open_input, open_live_input
from streaming.media import AUDIO_BLOCK


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), Fraction(30_000, 1001), Fraction(24_000, 1001)], ids=str)
def test_every_frame_comes_once_at_its_time(make_video, number_of, rate):
    video = VideoFile(make_video(frames=40, rate=rate))
    times, frames = zip(*video.frames(), strict=True)
    assert video.rate == rate
    assert video.frame_count == 40
    assert [number_of(frame) for frame in frames] == list(range(40))
    np.testing.assert_allclose(times, np.arange(40) / float(rate), atol=1e-5)  # a clock of 90 kHz
    assert all(frame.shape == (video.height, video.width, 3) == (96, 160, 3) for frame in frames)
    assert video.problem is None


def test_a_file_can_be_read_twice(make_video, number_of):
    video = VideoFile(make_video(frames=5))
    for _ in range(2):
        assert [number_of(frame) for _, frame in video.frames()] == list(range(5))


def test_varying_frame_times_are_kept(make_video):
    times = [0.0, 0.04, 0.10, 0.12, 0.30, 0.31]
    video = VideoFile(make_video(times=times))
    np.testing.assert_allclose([time for time, _ in video.frames()], times, atol=2e-5)


def test_webm_without_frame_count_or_usable_rate(make_video, number_of):
    video = VideoFile(make_video("video.webm", frames=30, rate=30, codec="libvpx", audio=None))
    assert video.frame_count is None
    assert float(video.rate) == pytest.approx(30, rel=0.01)
    assert video.duration == pytest.approx(1.0, abs=0.01)
    assert [number_of(frame) for _, frame in video.frames()] == list(range(30))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_honoured(make_video, numbered, rotation):
    video = VideoFile(make_video(frames=1, size=(160, 96), rotation=rotation))
    _, frame = next(video.frames())
    expected = np.rot90(numbered(0), rotation // 90)
    assert (video.height, video.width, 3) == frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 6  # compression


def test_large_frames_are_reduced_on_request(make_video, number_of):
    video = VideoFile(make_video(frames=3, size=(640, 360)), max_side=320)
    assert (video.width, video.height) == (320, 180)
    assert [number_of(frame) for _, frame in video.frames()] == [0, 1, 2]


@pytest.mark.parametrize("audio_rate", [48_000, 44_100, 16_000])
@pytest.mark.parametrize(
    ("audio_start", "video_start", "expected"), [(0.0, 0.0, 1.0), (0.25, 0.0, 1.25), (0.0, 0.2, 0.8)], ids=str
)
def test_sound_is_aligned_with_the_first_frame(
    make_video, make_tone, onset_of, audio_rate, audio_start, video_start, expected
):
    path = make_video(
        audio=make_tone(2, 1.0, 1.5, audio_rate),
        audio_rate=audio_rate,
        audio_start=audio_start,
        video_start=video_start,
    )
    video = VideoFile(path)
    assert video.has_audio
    samples = video.read_audio()
    assert samples.dtype == np.int16
    assert onset_of(samples) == pytest.approx(expected, abs=0.002)
    assert next(iter(video.frames()))[0] == 0.0


def test_audio_blocks_follow_each_other_without_a_gap(make_video, make_tone):
    video = VideoFile(make_video(audio=make_tone(1, 0.2, 0.8, 44_100), audio_rate=44_100))
    blocks = list(video.audio())
    assert all(samples.size == AUDIO_BLOCK for _, samples in blocks[:-1])
    np.testing.assert_allclose([time for time, _ in blocks], np.arange(len(blocks)) * 0.02)
    np.testing.assert_array_equal(np.concatenate([samples for _, samples in blocks]), video.read_audio())


def test_a_file_without_sound_has_none(make_video):
    video = VideoFile(make_video(frames=3))
    assert not video.has_audio
    assert list(video.audio()) == []
    assert video.read_audio().size == 0


def test_a_file_cut_off_in_the_middle_yields_its_beginning_and_says_so(make_video, make_tone, number_of, caplog):
    path = make_video(frames=50, audio=make_tone(2, 0.0, 2.0), faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = VideoFile(path)
    assert video.frame_count == 50
    with caplog.at_level(logging.WARNING):
        numbers = [number_of(frame) for _, frame in video.frames()]
    assert 5 < len(numbers) < 50
    assert numbers == list(range(len(numbers)))
    assert "cut off" in str(video.problem)
    assert "of 50 frames" in str(video.problem)
    assert str(path) in caplog.text
    assert 0 < video.read_audio().size < 2 * 48_000


def test_damage_in_the_middle_is_skipped_and_reported(make_video):
    path = make_video(frames=50, faststart=True)
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    video = VideoFile(path)
    times = [time for time, _ in video.frames()]
    assert len(times) > 25
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("garbage.mp4", np.random.default_rng(0).bytes(20_000), "is not a video"),
        ("empty.mp4", b"", "is empty"),
        ("text.txt", b"hello\n" * 100, "is not a video"),
        ("missing.mp4", None, "no such file"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        open_input(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_mp4_without_its_index_is_refused(make_video):
    path = make_video(faststart=False)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="cut off before its index"):
        VideoFile(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="folder"):
        VideoFile(tmp_path)


def test_sound_alone_is_refused(tmp_path, make_tone):
    import av

    path = tmp_path / "voice.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(make_tone(1, 0.0, 1.0)[None], "s16", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="only sound"):
        VideoFile(path)


def test_a_gigantic_frame_is_refused_before_it_is_decoded(tmp_path):
    # Uncompressed video says its size in a line of text.
    path = tmp_path / "huge.y4m"
    path.write_bytes(b"YUV4MPEG2 W12000 H12000 F25:1 C420jpeg\nFRAME\n" + bytes(1000))
    with pytest.raises(InputError, match="12000x12000 is too large"):
        VideoFile(path)


def test_a_file_without_a_whole_frame_is_refused(tmp_path):
    path = tmp_path / "short.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H64 F25:1 C420jpeg\n")
    with pytest.raises(InputError, match="no frame that can be decoded"):
        VideoFile(path)


def test_damage_anywhere_is_read_around_or_refused(make_video, make_tone):
    path = make_video(frames=10, audio=make_tone(0.4, 0.1, 0.3), faststart=True)
    good, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for turn in range(120):
        content = bytearray(good)
        for position in rng.integers(0, len(good) if turn % 2 else 2500, rng.integers(1, 20)):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        try:
            video = VideoFile(path)
            assert sum(1 for _ in video.frames()) <= 12
            assert video.duration >= 0
            video.read_audio()
        except InputError:
            refused += 1
    assert 0 < refused < 120


def test_a_playlist_opens_nothing_else(tmp_path, make_video):
    make_video("inner.mp4", frames=3)
    path = tmp_path / "list.ffconcat"
    path.write_text("ffconcat version 1.0\nfile http://127.0.0.1:9/x.mp4\n")
    with pytest.raises(InputError):
        VideoFile(path)


class FakeTime:
    """A clock that only moves when someone waits, or when the test says that work took time."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def player(path, **options):
    time = FakeTime()
    return VideoFilePlayer(VideoFile(path), clock=time.clock, wait=time.wait, **options), time


def test_played_frames_come_at_their_times(make_video, number_of):
    live, time = player(make_video(frames=10))
    seen = []
    while (item := live.read()) is not None:
        assert time.now - 100.0 == pytest.approx(item[0], abs=1e-6)
        seen.append(number_of(item[1]))
    assert seen == list(range(10))
    assert live.dropped == 0


def test_a_file_of_higher_rate_is_thinned_out_evenly(make_video):
    live, _ = player(make_video(frames=60, rate=30), rate=25)
    times = []
    while (item := live.read()) is not None:
        times.append(item[0])
    assert 49 <= len(times) <= 51
    assert max(np.diff(times)) < 0.07


def test_a_late_reader_loses_frames_but_not_the_time(make_video):
    live, time = player(make_video(frames=50))
    delays = []
    while (item := live.read()) is not None:
        delays.append(time.now - 100.0 - item[0])
        time.now += 0.1  # the work on a frame
    assert max(delays) < 0.05
    assert 25 <= live.dropped <= 40


def test_a_hopelessly_late_reader_still_sees_frames(make_video):
    live, time = player(make_video(frames=100))
    seen = 0
    while live.read() is not None:
        time.now += 100.0
        seen += 1
    assert seen >= 3


def test_a_loop_goes_on_in_time_with_sound_as_long_as_the_picture(make_video, make_tone, onset_of):
    live, _ = player(make_video(frames=25, audio=make_tone(0.5, 0.1, 0.3)), loop=True)
    times = [live.read()[0] for _ in range(60)]
    np.testing.assert_allclose(times, np.arange(60) / 25, atol=1e-6)
    blocks = [live.read_audio() for _ in range(110)]
    np.testing.assert_allclose([time for time, _ in blocks], np.arange(110) * 0.02, atol=1e-9)
    sound = np.concatenate([samples for _, samples in blocks])
    for turn in range(2):
        assert onset_of(sound[turn * 48_000 : (turn + 1) * 48_000]) == pytest.approx(0.1, abs=0.002)


def test_played_sound_comes_in_whole_blocks_when_they_have_passed(make_video, make_tone):
    live, time = player(make_video(frames=25, audio=make_tone(1.01, 0.0, 1.0)))
    count = 0
    while (item := live.read_audio()) is not None:
        assert item[1].size == AUDIO_BLOCK
        assert time.now - 100.0 == pytest.approx(item[0] + 0.02, abs=1e-6)
        count += 1
    assert count >= 50


def test_close_wakes_a_waiting_reader(make_video):
    import threading

    live = open_live_input(str(make_video(times=[0.0, 30.0])))
    assert live.read() is not None
    results = []
    reader = threading.Thread(target=lambda: results.append(live.read()))
    reader.start()
    live.close()
    live.close()
    reader.join(timeout=5)
    assert results == [None]
    assert live.read() is None
