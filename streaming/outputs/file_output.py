"""An mp4 file with the voice."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streaming.media import AUDIO_RATE_HZ, RGB, OutputError, Samples, check_frame, check_samples
from streaming.outputs.base import Output

SYNTHETIC_COMMENT = "AI-generated: rendered by visavis from one picture"
"Stands in every file, where players show it as the comment."
SNAP_S = 0.001
"A frame so close to its place k / rate is put exactly there: containers such as WebM round times to milliseconds."
AUDIO_SNAP = AUDIO_RATE_HZ // 200
"Samples (5 ms) by which sound may lie off its predecessor's end and still be joined to it without a gap or a cut."
PENDING_LIMIT = 10 * AUDIO_RATE_HZ
"Samples that wait for the first frame, at most."
_BT601 = {"colorspace": 6, "color_primaries": 6, "color_trc": 6}
"SMPTE 170M, by its number in H.273: what players assume for pictures of this size anyway, tagged or not."
_LIMITED_RANGE = 1

_PROBLEMS = {
    errno.EACCES: "not allowed to write here; choose another folder",
    errno.EPERM: "not allowed to write here; choose another folder",
    errno.EROFS: "the folder is read-only; choose another",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "the folder does not exist; create it first",
    errno.EISDIR: "is a folder; name a file",
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file would become larger than allowed here",
    errno.ENAMETOOLONG: "the name is too long",
}


@dataclass(frozen=True)
class FileConfig:
    """How the file is encoded."""

    crf: int = 18
    "x264's quality: 0 (lossless) to 51; 18 is hard to tell from the original."
    preset: str = "veryfast"
    "x264's trade of speed against size."
    audio_bitrate_bps: int = 96_000
    "AAC, mono."
    comment: str = SYNTHETIC_COMMENT
    "What players show about the file. Only a file of true frames may say something else."


class FileOutput(Output):
    """Writes H.264 and AAC to an mp4 that appears under its name when it is complete.

    The first frame is time 0 of the file; a frame keeps its distance to the first, and frames at k / rate lie exactly
    there. Sound is cut or filled with silence to lie where its times say. Until `close` everything is in a hidden file
    beside the final one, which `abort` removes.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        rate: Fraction | float,
        audio: bool = True,
        config: FileConfig | None = None,
    ) -> None:
        """rate: nominal frames a second. audio: whether there is a voice (`write_audio` is ignored otherwise).

        Odd sizes are enlarged by one pixel, which repeats the border: the colour format has half the resolution.
        Raises OutputError if the file cannot be created.
        """
        self.path = Path(path)
        self.frame_count = 0
        config = config or FileConfig()
        self._rate = Fraction(rate).limit_denominator(100_000)
        if not 0 < self._rate <= 1000:
            raise ValueError(f"rate: expected 0 to 1000 frames a second, got {rate}")
        self._shape = (height, width, 3)
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        # A clock of about 90 kHz in which k / rate is a whole number.
        factor = -(-90_000 // self._rate.numerator)
        self._time_base = Fraction(1, self._rate.numerator * factor)
        self._frame_ticks = self._rate.denominator * factor
        self._last_pts = -1
        self._start: float | None = None
        self._pending: list[tuple[float, Samples]] = []
        self._pending_size = 0
        self._audio_position = 0
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        if self.path.is_dir():
            raise OutputError(f"{self.path}: is a folder; name a file")
        try:
            # Through FFmpeg alone an unwritable folder would show only later, without a reason.
            with open(self._partial, "wb"):
                pass
            self._container: Any = av.open(
                f"file:{self._partial}", "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._video = self._add_video(config, width + width % 2, height + height % 2)
            self._audio = self._add_audio(config) if audio else None
            self._container.metadata["comment"] = config.comment
            self._container.start_encoding()
        except (OSError, av.FFmpegError) as error:
            self._discard()
            raise OutputError(self._problem(error)) from error

    def write(self, frame_rgb: RGB, time: float) -> None:
        if check_frame(frame_rgb).shape != self._shape:
            raise ValueError(f"frame: this file takes {self._shape}, got {frame_rgb.shape}")
        container = self._opened()
        if self._start is None:
            self._start = time
        pts = self._pts(time - self._start)
        if any(amount for _, amount in self._padding[:2]):
            frame_rgb = np.pad(frame_rgb, self._padding, mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(frame_rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG", threads=1)
        frame.pts, frame.time_base, frame.duration = pts, self._time_base, self._frame_ticks
        try:
            for packet in self._video.encode(frame):
                container.mux(packet)
        except (OSError, av.FFmpegError) as error:
            raise OutputError(self._problem(error)) from error
        self._last_pts = pts
        self.frame_count += 1
        pending, self._pending = self._pending, []
        for begin, samples in pending:
            self.write_audio(samples, begin)

    def write_audio(self, samples: Samples, time: float) -> None:
        check_samples(samples)
        self._opened()
        if self._audio is None:
            return
        if self._start is None:  # where time 0 of the file lies is known with the first frame
            self._pending_size += samples.size
            if self._pending_size <= PENDING_LIMIT:
                self._pending.append((time, samples.copy()))
            return
        offset = round((time - self._start) * AUDIO_RATE_HZ) - self._audio_position
        tolerance = AUDIO_SNAP if self._audio_position else 0
        if offset > tolerance:
            self._encode_silence(offset)
        elif offset < -tolerance:
            samples = samples[-offset:]
        self._encode_audio(samples)

    def close(self) -> None:
        if self._container is None:
            return
        try:
            if self.frame_count == 0:
                raise OutputError(f"{self.path}: nothing was written: there was no frame")
            for packet in self._video.encode():
                self._container.mux(packet)
            if self._audio is not None:
                if self._audio_position == 0:
                    self._encode_silence(1024)  # a sound stream without a single frame makes an unreadable file
                for packet in self._audio.encode():
                    self._container.mux(packet)
            container, self._container = self._container, None
            container.close()
            os.replace(self._partial, self.path)
        except (OSError, av.FFmpegError) as error:
            raise OutputError(self._problem(error)) from error
        finally:
            self.abort()

    def abort(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with suppress(OSError, av.FFmpegError):  # what is thrown away need not be complete
                container.close()
        self._discard()

    def _discard(self) -> None:
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _add_video(self, config: FileConfig, width: int, height: int) -> VideoStream:
        # Without B-frames decoding order is showing order, so that readers which ignore edit lists see the same times.
        options = {"crf": str(config.crf), "preset": config.preset, "bf": "0"}
        stream: VideoStream = self._container.add_stream("libx264", rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = self._time_base
        stream.codec_context.color_range = _LIMITED_RANGE
        for name, value in _BT601.items():
            setattr(stream.codec_context, name, value)
        return stream

    def _add_audio(self, config: FileConfig) -> AudioStream:
        stream: AudioStream = self._container.add_stream("aac", rate=AUDIO_RATE_HZ)
        stream.layout = "mono"
        stream.bit_rate = config.audio_bitrate_bps
        return stream

    def _opened(self) -> Any:
        if self._container is None:
            raise OutputError(f"{self.path}: is closed already")
        return self._container

    def _pts(self, time: float) -> int:
        """Ticks for a frame at `time`, after all earlier ones."""
        nearest = round(time * self._rate)
        on_grid = abs(time - float(nearest / self._rate)) <= SNAP_S
        pts = nearest * self._frame_ticks if on_grid else round(time / self._time_base)
        return max(pts, self._last_pts + 1)

    def _encode_silence(self, count: int) -> None:
        while count > 0:
            piece = min(count, AUDIO_RATE_HZ)
            self._encode_audio(np.zeros(piece, np.int16))
            count -= piece

    def _encode_audio(self, samples: Samples) -> None:
        assert self._audio is not None
        if not samples.size:
            return
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
        frame.sample_rate = AUDIO_RATE_HZ
        frame.pts, frame.time_base = self._audio_position, Fraction(1, AUDIO_RATE_HZ)
        try:
            for packet in self._audio.encode(frame):
                self._container.mux(packet)
        except (OSError, av.FFmpegError) as error:
            raise OutputError(self._problem(error)) from error
        self._audio_position += samples.size

    def _problem(self, error: BaseException) -> str:
        code = getattr(error, "errno", None) or 0
        return f"{self.path}: {_PROBLEMS.get(code, 'cannot be written')} ({getattr(error, 'strerror', None) or error})"
