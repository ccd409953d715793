"""A video file with sound: every frame once, or played in real time."""

from __future__ import annotations

import errno
import logging
import threading
import time as clocks
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.video.frame import VideoFrame

from engine.media_file import Decoding, RefusedFormatError, open_file, reason_of
from streaming.inputs.base import LiveInput, RateLimiter
from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ, RGB, InputError, Samples, as_fraction

logger = logging.getLogger(__name__)

PIXEL_LIMIT = 7680 * 4320
"The largest frame that is decoded (8K): a few bytes of header must not make us allocate gigabytes."
SIDE_LIMIT_PX = 16
"The shortest side that is accepted."
RATE_RANGE = (1, 240)
"Frame rates outside are artefacts of the container (1000 in many WebM files), and the rate is measured instead."
AUDIO_STEP_S = Fraction(3, 1000)
"A smaller step in the sound's timestamps is rounding by the container; a larger one is a hole, or samples too many."
SILENCE_LIMIT_S = 3600
"The longest hole in the sound that is filled: timestamps of a damaged file may claim any."

_PROBLEMS = {
    errno.EACCES: "not allowed to read it; check the file's permissions",
    errno.EISDIR: "is a folder; name a video file",
}


class NoPictureError(InputError):
    """A file that is sound alone."""


class VideoFile:
    """A video file, read as often as asked for. Time 0 is its first frame, for the sound as well.

    Raises InputError if it is not a video, holds no frame that can be decoded, or is larger than PIXEL_LIMIT.
    """

    path: Path
    width: int
    "As delivered: after rotation, with square pixels, and limited to `max_side`."
    height: int
    rate: Fraction
    "Frames a second; the mean if the file's rate varies."
    frame_count: int | None
    "As the container states it (exact for an undamaged mp4), None where it does not."
    has_audio: bool
    problem: str | None
    "What was wrong with the file, known after `frames` has come to its end; None if it was sound."

    def __init__(self, path: str | Path, max_side: int | None = None) -> None:
        """max_side: the longer side of the frames in pixels is reduced to this, if given."""
        self.path = Path(path)
        self.problem = None
        with self._open() as container:
            if not container.streams.video:
                raise NoPictureError(f"{self.path}: has no picture, only sound; name a file with a video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InputError(f"{self.path}: its video codec is not known here; re-encode it as H.264")
            width, height = stream.codec_context.width, stream.codec_context.height
            if width * height > PIXEL_LIMIT:
                raise InputError(
                    f"{self.path}: {width}x{height} is too large, at most 7680x4320 is read; scale it down first"
                )
            if min(width, height) < SIDE_LIMIT_PX:
                raise InputError(
                    f"{self.path}: {width}x{height} is too small, at least {SIDE_LIMIT_PX} pixels a side are needed"
                )
            self.has_audio = bool(container.streams.audio) and container.streams.audio[0].codec_context is not None
            self.frame_count = stream.frames or None
            first = next(self._decode(container), None)
            if first is None:
                raise InputError(f"{self.path}: holds no frame that can be decoded; {self.problem or 'it is empty'}")
            aspect = stream.sample_aspect_ratio
            self._pixel_aspect = as_fraction(aspect) if aspect else Fraction(1)
            self._time_base = as_fraction(stream.time_base) if stream.time_base else None
            self._origin_s = self._seconds(first.pts) or Fraction(0)
            self._stated_rate = [as_fraction(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
        self._shrink = Fraction(1)
        height, width = self._oriented(first).shape[:2]
        if max_side is not None and max(width, height) > max_side:
            self._shrink = Fraction(max_side, max(width, height))
        self.height, self.width = self._oriented(first).shape[:2]
        in_range = [rate for rate in self._stated_rate if RATE_RANGE[0] <= rate <= RATE_RANGE[1]]
        self.rate = nearest_usual_rate(in_range[0] if in_range else self._measured_rate())

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last, as stated; the file is read through if nothing is."""
        if self.frame_count is not None:
            return float(self.frame_count / self.rate)
        if self._scanned_duration is None:
            times = self._packet_times()
            self._scanned_duration = float(max(times, default=self._origin_s) - self._origin_s + 1 / self.rate)
        return self._scanned_duration

    _scanned_duration: float | None = None

    def frames(self) -> Iterator[tuple[float, RGB]]:
        """Every frame once, in order, with its time. Times increase strictly.

        A damaged file yields what can be decoded; `problem` says afterwards what is missing.
        """
        for time, frame in self.decoded_frames():
            yield time, self._oriented(frame)

    def decoded_frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """As `frames`, before the conversion to RGB: for a reader that skips some (`to_rgb`)."""
        self.problem = None
        previous = None
        with self._open() as container:
            for frame in self._decode(container):
                seconds = self._seconds(frame.pts)
                time = float(seconds - self._origin_s) if seconds is not None else None
                if previous is not None and (time is None or time <= previous):
                    time = previous + float(1 / self.rate)  # no timestamp, or a broken one
                previous = time or 0.0
                yield previous, frame
        if self.problem:
            logger.warning("%s: %s", self.path, self.problem)

    def to_rgb(self, frame: VideoFrame) -> RGB:
        """A frame of `decoded_frames` as `frames` would have delivered it."""
        return self._oriented(frame)

    def audio(self) -> Iterator[tuple[float, Samples]]:
        """The sound in blocks of 960 samples without gaps, from time 0 to its end. The last may be shorter."""
        held = np.zeros(0, np.int16)
        position = 0
        for piece in self._continuous_audio():
            held = np.concatenate([held, piece])
            while held.size >= AUDIO_BLOCK:
                yield position / AUDIO_RATE_HZ, held[:AUDIO_BLOCK]
                held = held[AUDIO_BLOCK:]
                position += AUDIO_BLOCK
        if held.size:
            yield position / AUDIO_RATE_HZ, held

    def read_audio(self) -> Samples:
        """The whole sound from time 0 on; empty if there is none."""
        return np.concatenate([np.zeros(0, np.int16), *self._continuous_audio()])

    def _open(self) -> InputContainer:
        if not self.path.exists():
            raise InputError(f"{self.path}: no such file")
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise InputError(f"{self.path}: is empty")
        try:
            return open_file(self.path)
        except (OSError, av.FFmpegError) as error:
            code = getattr(error, "errno", None) or 0
            raise InputError(f"{self.path}: {_PROBLEMS.get(code, _NOT_A_VIDEO)} ({reason_of(error)})") from error
        except RefusedFormatError as error:
            raise InputError(f"{self.path}: {_NOT_A_VIDEO} ({error})") from error

    def _decode(self, container: InputContainer) -> Iterator[VideoFrame]:
        """All frames that can be decoded; `problem` is set at the end if some could not."""
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoding = Decoding()
        yield from decoding.frames(container, stream)
        packets, failed, reason = decoding.packets, decoding.failed, decoding.reason
        if packets < stream.frames:
            self.problem = f"the file is cut off: {packets} of {stream.frames} frames are there" + (
                f" ({reason})" * bool(reason)
            )
        elif failed or reason:
            self.problem = f"the file is damaged: {failed} of {packets} frames could not be decoded ({reason})"

    def _oriented(self, frame: VideoFrame) -> RGB:
        width = round(frame.width * self._pixel_aspect * self._shrink)
        height = round(frame.height * self._shrink)
        # One thread: starting several for every frame costs ten times what they save.
        image = frame.reformat(max(width, 1), max(height, 1), format="rgb24", threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image, np.uint8)

    def _seconds(self, pts: int | None) -> Fraction | None:
        return pts * self._time_base if pts is not None and self._time_base is not None else None

    def _packet_times(self, limit: int | None = None) -> list[Fraction]:
        """Presentation times of the video packets, without decoding, in order."""
        times: list[Fraction] = []
        with self._open() as container, suppress(OSError, av.FFmpegError):
            for packet in container.demux(container.streams.video[0]):
                seconds = self._seconds(packet.pts)
                if seconds is not None:
                    times.append(seconds)
                if limit is not None and len(times) >= limit:
                    break
        return sorted(times)

    def _measured_rate(self) -> Fraction:
        times = self._packet_times(limit=100)
        if len(times) < 2 or times[-1] <= times[0]:
            return Fraction(25)
        return ((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1001)

    def _continuous_audio(self) -> Iterator[Samples]:
        """Pieces that follow each other without a gap; the first starts at time 0. Holes are filled with silence."""
        if not self.has_audio:
            return
        with self._open() as container:
            resampler: av.AudioResampler | None = None
            layout: tuple[Any, ...] = ()
            written = skip = 0
            due_s = Fraction(0)  # where the next frame belongs if it follows its predecessor
            for frame in Decoding().frames(container, container.streams.audio[0]):
                if frame.pts is not None and frame.time_base is not None:
                    start_s = frame.pts * as_fraction(frame.time_base) - self._origin_s
                else:
                    start_s = due_s
                frame_layout = (frame.format.name, frame.layout.name, frame.sample_rate)
                if resampler is None or frame_layout != layout or abs(start_s - due_s) > AUDIO_STEP_S:
                    for piece in _samples(resampler.resample(None) if resampler is not None else []):
                        written += piece.size
                        yield piece
                    resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_RATE_HZ)
                    layout, due_s = frame_layout, start_s
                    skip = written - round(start_s * AUDIO_RATE_HZ)  # positive: samples before what was written
                    if skip < -SILENCE_LIMIT_S * AUDIO_RATE_HZ:
                        logger.warning("%s: the sound ends in a broken timestamp", self.path)
                        return
                    if skip < 0:
                        written -= skip
                        yield np.zeros(-skip, np.int16)
                        skip = 0
                due_s += Fraction(frame.samples, frame.sample_rate)
                frame.pts = None  # the resampler would fill holes in its own way
                for piece in _samples(resampler.resample(frame)):
                    kept = piece[skip:]
                    skip -= piece.size - kept.size
                    written += kept.size
                    if kept.size:
                        yield kept
            if resampler is not None:
                yield from _samples(resampler.resample(None))


def nearest_usual_rate(rate: Fraction) -> Fraction:
    """The whole rate, or whole rate times 1000/1001 as in television, that a container's rounded times stand for."""
    for usual in (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001)):
        if abs(rate - usual) < usual / 10_000:
            return usual
    return rate


_NOT_A_VIDEO = "is not a video that can be read, or is cut off before its index; play or re-encode it to check"


def _samples(frames: list[AudioFrame]) -> Iterator[Samples]:
    for frame in frames:
        yield np.asarray(frame.to_ndarray(), np.int16).reshape(-1)


class VideoFilePlayer(LiveInput):
    """A video file as a live input: frame and sound become due at their times after the first read."""

    def __init__(
        self,
        file: VideoFile,
        rate: float = 25.0,
        loop: bool = False,
        clock: Callable[[], float] = clocks.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """rate: the most frames a second. loop: start again at the end, times go on. clock and wait: for tests."""
        self.has_audio = file.has_audio
        self._file = file
        self._loop = loop
        self._limiter = RateLimiter(rate)
        self._period = 1.0 / rate
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._start_lock = threading.Lock()
        self.epoch: float | None = None
        self._frames = self._all_frames()
        self._audio = self._all_audio()

    def read(self) -> tuple[float, RGB] | None:
        skipped = 0
        for time, frame in self._frames:
            if self._closed.is_set():
                return None
            if not self._limiter.accept(time):
                continue
            # A reader that is late gets the newest frame; one that can never catch up, one frame a second all the same.
            if self._now() > time + self._period and skipped * self._period < 1.0:
                skipped += 1
                self.dropped += 1
                continue
            self._sleep_until(time)
            return None if self._closed.is_set() else (time, self._file.to_rgb(frame))
        return None

    def read_audio(self) -> tuple[float, Samples] | None:
        for time, samples in self._audio:
            self._sleep_until(time + AUDIO_BLOCK / AUDIO_RATE_HZ)  # as from a microphone: whole blocks only
            return None if self._closed.is_set() else (time, samples)
        return None

    def close(self) -> None:
        self._closed.set()

    def _now(self) -> float:
        with self._start_lock:
            if self.epoch is None:
                self.epoch = self._clock()
            return self._clock() - self.epoch

    def _sleep_until(self, time: float) -> None:
        delay = time - self._now()
        if delay > 0:
            self._wait(delay)

    def _all_frames(self) -> Iterator[tuple[float, VideoFrame]]:
        period, start = self._file.duration, 0.0
        while not self._closed.is_set():
            for time, frame in self._file.decoded_frames():
                if self._loop and time >= period:
                    break
                yield start + time, frame
            if not self._loop:
                return
            start += period

    def _all_audio(self) -> Iterator[tuple[float, Samples]]:
        """Blocks of exactly 960 samples; in a loop the sound of each round is as long as its picture."""
        if not self.has_audio:
            return
        held = np.zeros(0, np.int16)
        position = ends = 0
        for round_number in range(1, 2**31 if self._loop else 2):
            ends = round(self._file.duration * AUDIO_RATE_HZ * round_number)
            for _, samples in self._file.audio():
                kept = samples[: max(ends - position - held.size, 0)] if self._loop else samples
                held = np.concatenate([held, kept])
                while held.size >= AUDIO_BLOCK:
                    yield position / AUDIO_RATE_HZ, held[:AUDIO_BLOCK]
                    held = held[AUDIO_BLOCK:]
                    position += AUDIO_BLOCK
                if self._loop and position + held.size >= ends:
                    break
            missing = ends - position - held.size if self._loop else -held.size % AUDIO_BLOCK
            held = np.concatenate([held, np.zeros(max(missing, 0), np.int16)])
            while held.size >= AUDIO_BLOCK:
                yield position / AUDIO_RATE_HZ, held[:AUDIO_BLOCK]
                held = held[AUDIO_BLOCK:]
                position += AUDIO_BLOCK
