"""Small videos, made on the spot: frames that carry their number, and a tone that begins at a known time. Keypoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.motion import Keypoints

BITS = 10
TONE_HZ = 1000.0


def numbered_frame(number: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """A grey frame with a moving bar; the number stands in its top half as ten black or white columns."""
    frame = np.full((height, width, 3), 96, np.uint8)
    frame[height // 2 :, (number * 5) % width : (number * 5) % width + 8] = (220, 40, 40)
    for bit in range(BITS):
        frame[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 235 if number >> bit & 1 else 16
    return frame


def frame_number(frame: NDArray[np.uint8]) -> int:
    """The number that `numbered_frame` wrote, also after scaling and compression."""
    row = frame[frame.shape[0] // 4, :, 1]
    centres = [(2 * bit + 1) * frame.shape[1] // (2 * BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(centres) if row[x] > 126)


def tone(seconds: float, begin: float, end: float, rate: int = 48_000) -> NDArray[np.int16]:
    """Silence with a tone of full loudness from its first sample on between begin and end."""
    times = np.arange(round(seconds * rate)) / rate
    wave = 20_000 * np.cos(2 * np.pi * TONE_HZ * (times - begin))
    return np.where((times >= begin) & (times < end), wave, 0).astype(np.int16)


def onset(samples: NDArray[np.int16]) -> float:
    """Seconds until the sound reaches half of full loudness for the first time."""
    return int(np.argmax(np.abs(samples.astype(np.int32)) > 10_000)) / 48_000


@dataclass(frozen=True)
class VideoMaker:
    """Writes videos into a folder of the test with PyAV alone, so that our own writer is not what checks our reader."""

    folder: Path

    def __call__(
        self,
        name: str = "video.mp4",
        frames: int = 50,
        rate: Fraction | int = 25,
        size: tuple[int, int] = (160, 96),
        audio: NDArray[np.int16] | None = None,
        audio_rate: int = 48_000,
        audio_start: float = 0.0,
        video_start: float = 0.0,
        times: Iterable[float] | None = None,
        rotation: int = 0,
        faststart: bool = False,
        codec: str = "libx264",
        audio_codec: str = "aac",
    ) -> Path:
        """times: one per frame, else frame k is at k / rate. audio_start, video_start: when the streams begin."""
        path = self.folder / name
        rate = Fraction(rate)
        tick = Fraction(1, 90_000)
        with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as container:
            video = container.add_stream(codec, rate=rate, options={"crf": "12"} if codec == "libx264" else {})
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = tick
            if rotation:
                video.set_display_rotation(rotation)
            sound = container.add_stream(audio_codec, rate=audio_rate, layout="mono") if audio is not None else None
            for number, time in enumerate(times or (k / rate for k in range(frames))):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = round((Fraction(time) + Fraction(video_start)) / tick), tick
                frame.duration = round(1 / rate / tick)
                container.mux(video.encode(frame))
            container.mux(video.encode())
            if sound is not None and audio is not None:
                frame = av.AudioFrame.from_ndarray(audio[None], "s16", "mono")
                frame.sample_rate, frame.time_base = audio_rate, Fraction(1, audio_rate)
                frame.pts = round(audio_start * audio_rate)
                container.mux(sound.encode(frame))
                container.mux(sound.encode())
        return path


@pytest.fixture
def make_video(tmp_path: Path) -> VideoMaker:
    return VideoMaker(tmp_path)


@pytest.fixture(scope="session")
def numbered() -> Callable[..., NDArray[np.uint8]]:
    return numbered_frame


@pytest.fixture(scope="session")
def number_of() -> Callable[[NDArray[np.uint8]], int]:
    return frame_number


@pytest.fixture(scope="session")
def make_tone() -> Callable[..., NDArray[np.int16]]:
    return tone


@pytest.fixture(scope="session")
def onset_of() -> Callable[[NDArray[np.int16]], float]:
    return onset


def keypoints_in_motion(count: int, frames: int, seed: int = 0, speed: float = 1.0) -> list[Keypoints]:
    """Points that share most of a smooth movement, and local frames that turn and stretch with it."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-0.6, 0.6, (count, 2))
    phases = rng.uniform(0, 6, count)
    motions = []
    for frame in range(frames):
        t = frame / 25 * speed
        shared = np.array([0.1 * np.sin(2 * t), 0.05 * np.cos(3 * t)])
        own = 0.02 * np.stack([np.sin(5 * t + phases), np.cos(4 * t + phases)], axis=1)
        turn = 0.1 * np.sin(2 * t) + 0.03 * np.sin(6 * t + phases)
        stretch = 1 + 0.05 * np.cos(3 * t + phases)
        jacobians = stretch[:, None, None] * np.stack(
            [np.stack([np.cos(turn), -np.sin(turn)], 1), np.stack([np.sin(turn), np.cos(turn)], 1)], axis=1
        )
        noise = 0.002 * rng.normal(size=(count, 2))
        motions.append(Keypoints(places + shared + own + noise, jacobians, time=frame / 25))
    return motions


@pytest.fixture(scope="session")
def moving_keypoints() -> Callable[..., list[Keypoints]]:
    return keypoints_in_motion
