"""An output that keeps what it is given, or only counts it."""

from __future__ import annotations

from streaming.media import RGB, Samples, check_frame, check_samples
from streaming.outputs.base import Output


class MemoryOutput(Output):
    """The newest frames and sounds with their times, up to a limit; all are counted."""

    def __init__(self, limit: int = 1000) -> None:
        """limit: how many frames and how many pieces of sound are kept; 0: none."""
        self.frames: list[tuple[float, RGB]] = []
        self.sounds: list[tuple[float, Samples]] = []
        self.frame_count = 0
        self.sample_count = 0
        self.closed = False
        self._limit = limit

    def write(self, frame_rgb: RGB, time: float) -> None:
        self.frames.append((time, check_frame(frame_rgb).copy()))
        del self.frames[: -self._limit or len(self.frames)]
        self.frame_count += 1

    def write_audio(self, samples: Samples, time: float) -> None:
        self.sounds.append((time, check_samples(samples).copy()))
        del self.sounds[: -self._limit or len(self.sounds)]
        self.sample_count += samples.size

    def close(self) -> None:
        self.closed = True
