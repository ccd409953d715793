"""Sounds of all kinds, good and bad, and how much memory they take."""

from __future__ import annotations

import tracemalloc
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from engine.audio.sound_file import SoundError, SoundFile


def write_wav(path: Path, samples: np.ndarray, rate: int = 48_000) -> Path:
    """samples: (N,) or (N, channels) int16."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def tone(seconds: float, rate: int, level: float = 0.5, hz: float = 440.0) -> np.ndarray:
    return np.rint(32767 * level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def whole(path: Path, rate_hz: int = 16_000) -> np.ndarray:
    return np.concatenate(list(SoundFile(path).blocks(rate_hz)))


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples[len(samples) // 4 : -len(samples) // 4] ** 2)))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_any_rate_becomes_the_rate_asked_for(tmp_path, rate):
    samples = whole(write_wav(tmp_path / "a.wav", tone(1.0, rate), rate))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(16_000, abs=20)
    assert level(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    spectrum = np.abs(np.fft.rfft(samples[2000:10_000]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=2)


def test_stereo_is_averaged(tmp_path):
    left = tone(0.5, 48_000)
    samples = whole(write_wav(tmp_path / "a.wav", np.stack((left, np.zeros_like(left)), axis=1)))
    assert level(samples) == pytest.approx(0.25 / np.sqrt(2), rel=0.01)


def test_silence_and_full_scale_stay_within_bounds(tmp_path):
    assert not whole(write_wav(tmp_path / "silent.wav", np.zeros(4800))).any()
    square = np.where(tone(0.5, 48_000) >= 0, 32767, -32768)
    clipped = whole(write_wav(tmp_path / "clipped.wav", square))
    assert np.abs(clipped).max() == 1.0
    assert np.isfinite(clipped).all()


def test_a_millisecond_is_a_sound(tmp_path):
    assert len(whole(write_wav(tmp_path / "a.wav", tone(0.001, 48_000)))) == 16


def test_a_long_sound_comes_a_little_at_a_time(tmp_path):
    seconds = 120
    sound = SoundFile(write_wav(tmp_path / "long.wav", np.tile(tone(1.0, 8_000), seconds), 8_000))
    assert sound.duration == pytest.approx(seconds, abs=1)
    count = largest = 0
    tracemalloc.start()
    for samples in sound.blocks():
        count += samples.size
        largest = max(largest, samples.size)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == pytest.approx(seconds * 16_000, abs=16_000)
    assert largest < 100_000
    assert peak < 2e6  # the whole would be 7.7 MB


def test_the_sound_of_a_video_is_taken_and_starts_where_the_video_does(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(0.2, 16_000)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 8_000
        container.mux(stream.encode(frame))
    samples = whole(path)
    assert len(samples) == pytest.approx(11_200, abs=50)
    assert not samples[:7_900].any()
    assert level(samples[8_000:]) > 0.3


def test_a_file_that_was_cut_short_gives_what_is_there(tmp_path):
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=16_000)
        stream.layout = "mono"
        noise = np.random.default_rng(0).integers(-20_000, 20_000, 64_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert 10_000 < len(whole(path)) < 50_000


def test_floats_that_are_no_numbers_are_silence(tmp_path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=16_000, layout="mono")
        values = np.full(1600, 3.0, np.float32)
        values[::2] = np.nan
        frame = av.AudioFrame.from_ndarray(values[None], format="flt", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
    samples = whole(path)
    assert set(np.unique(samples)) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.wav", None, "no such file"),
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is no sound at all" * 50, "not a sound file that can be read"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.wav\n", "not a sound file"),
    ],
)
def test_what_is_no_sound_is_said_with_its_name(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SoundError, match=message) as raised:
        SoundFile(path)
    assert name in str(raised.value)


def test_folders_and_files_without_a_sample_are_refused(tmp_path):
    with pytest.raises(SoundError, match="is a folder; name a sound file"):
        SoundFile(tmp_path)
    with pytest.raises(SoundError, match=r"none\.wav"):
        SoundFile(write_wav(tmp_path / "none.wav", np.zeros(0)))


def test_a_picture_alone_is_refused(tmp_path):
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    with pytest.raises(SoundError, match="has no sound, only a picture"):
        SoundFile(path)
