"""The sound of any file that FFmpeg reads, as one channel at any rate.

It comes a block at a time: three hours take no more memory than a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from engine.media_file import Decoding, RefusedFormatError, open_file, reason_of

Wave = NDArray[np.float32]
"(N,) in [-1, 1], mono."

VOICE_RATE_HZ = 16_000
"What the networks that listen to voices take: `MelConfig.rate_hz`."

_PLAYLIST = b"#EXTM3U"
_LATE_LIMIT_S = 60
"The latest beginning of a sound that is filled with silence: the time stamps of a damaged file may claim any."
_RATES_HZ = (1_000, 768_000)
_NOT_SOUND = "not a sound file that can be read; convert it to WAV, for example"


class SoundError(ValueError):
    """A sound cannot be used; the message names the file, says why and what would help."""


class SoundFile:
    """The sound of a file, which may be a video, read as often as asked for. Time 0 is the file's beginning.

    Channels are averaged; what is beyond full scale is clipped to it. Raises SoundError for a file that is not there,
    holds no sound, or whose sound cannot be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.problem: str | None = None
        "What was wrong with the file, known after `blocks` has come to its end; None if it was sound."
        with self._open() as container:
            stream = container.streams.audio[0]
            duration = stream.duration and stream.time_base and float(stream.duration * stream.time_base)
        self.duration: float | None = duration or None
        "Seconds, as the file states it; None where it does not."
        if next(self.blocks(), None) is None:
            raise SoundError(f"{self.path}: holds no sound that can be decoded; {self.problem or 'it is empty'}")

    def blocks(self, rate_hz: int = VOICE_RATE_HZ) -> Iterator[Wave]:
        """All of the sound in blocks of at most a few thousand samples, none empty.

        A damaged file yields what can be decoded; `problem` says afterwards what is missing.
        """
        self.problem = None
        resampler: _Resampler | None = None
        decoding = Decoding()
        with self._open() as container:
            for frame in decoding.frames(container, container.streams.audio[0]):
                if not _RATES_HZ[0] <= frame.sample_rate <= _RATES_HZ[1]:
                    raise SoundError(f"{self.path}: {frame.sample_rate} samples a second; 1000 to 768000 are read")
                if resampler is None:
                    yield from _silence_before(frame, rate_hz)
                if resampler is None or not resampler.takes(frame):
                    if resampler is not None:
                        yield from resampler.finish()
                    resampler = _Resampler(frame, rate_hz)
                yield from resampler.push(frame)
            if decoding.reason:
                self.problem = (
                    f"the sound is damaged: {decoding.failed} of {decoding.packets} packets could not be decoded "
                    f"({decoding.reason})"
                )
            if resampler is not None:
                yield from resampler.finish()

    def _open(self) -> InputContainer:
        if not self.path.exists():
            raise SoundError(f"{self.path}: no such file")
        if self.path.is_dir():
            raise SoundError(f"{self.path}: is a folder; name a sound file")
        if self.path.is_file():
            with open(self.path, "rb") as file:
                head = file.read(len(_PLAYLIST))
            if not head:
                raise SoundError(f"{self.path}: is empty")
            # FFmpeg would look for the files that it lists, for minutes.
            if head == _PLAYLIST:
                raise SoundError(f"{self.path}: {_NOT_SOUND} (a list of other files)")
        try:
            container = open_file(self.path)
        except (OSError, av.FFmpegError) as error:
            raise SoundError(f"{self.path}: {_NOT_SOUND} ({reason_of(error)})") from error
        except RefusedFormatError as error:
            raise SoundError(f"{self.path}: {_NOT_SOUND} ({error})") from error
        if not container.streams.audio:
            container.close()
            raise SoundError(f"{self.path}: has no sound, only a picture; name a file with a voice")
        if container.streams.audio[0].codec_context is None:
            container.close()
            raise SoundError(f"{self.path}: the codec of its sound is not known here; convert it to WAV")
        return container


def _silence_before(frame: Any, rate_hz: int) -> Iterator[Wave]:
    """What a sound lacks that begins later than its file."""
    if frame.pts is None or frame.time_base is None or frame.pts <= 0:
        return
    late = Fraction(frame.pts) * Fraction(frame.time_base.numerator, frame.time_base.denominator)
    missing = round(late * rate_hz) if late <= _LATE_LIMIT_S else 0
    while missing:
        block = min(missing, rate_hz)
        missing -= block
        yield np.zeros(block, np.float32)


class _Resampler:
    """Frames of one kind to one channel; exactly as many samples as belong to their time, however few."""

    def __init__(self, frame: Any, rate_hz: int) -> None:
        self._kind = _kind(frame)
        self._rate = Fraction(rate_hz, frame.sample_rate)
        self._resampler = av.AudioResampler(format="fltp", rate=rate_hz)
        self._taken = self._given = 0

    def takes(self, frame: Any) -> bool:
        return _kind(frame) == self._kind

    def push(self, frame: Any) -> Iterator[Wave]:
        frame.pts = None  # the resampler would fill holes in its own way
        self._taken += frame.samples
        yield from self._resampled(frame)

    def finish(self) -> Iterator[Wave]:
        """What the filter still holds, by silence that follows: flushed alone, it keeps the shortest sounds."""
        form, layout, rate = self._kind
        silence = av.AudioFrame(form, layout, max(rate // 10, 64))
        silence.sample_rate = rate
        for plane in silence.planes:
            plane.update((b"\x80" if form.startswith("u8") else b"\0") * plane.buffer_size)
        yield from self._resampled(silence)

    def _resampled(self, frame: Any) -> Iterator[Wave]:
        for resampled in self._resampler.resample(frame):
            # The mean here and not in the resampler, whose mixing of channels would exceed full scale.
            wave = np.asarray(resampled.to_ndarray(), np.float32).mean(axis=0)
            wave = wave[: max(round(self._taken * self._rate) - self._given, 0)]
            self._given += wave.size
            if wave.size:
                # A file of floats may hold anything.
                yield np.clip(np.nan_to_num(wave, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


def _kind(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
