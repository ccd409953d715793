"""The interface of live inputs, and how frames are thinned out to a rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from streaming.media import RGB, Samples


class LiveInput(ABC):
    """Frames and voice in real time.

    `read` and `read_audio` block until something is due, and may be called from two threads. After `close` both return
    None.
    """

    has_audio: bool
    has_picture: bool = True
    "False for a voice alone, whose `read` delivers nothing."
    dropped: int = 0
    "Frames that were skipped because the reader came too late for them."
    epoch: float | None = None
    "Local time (time.monotonic) at which the input's times are 0; None before the first read."

    @abstractmethod
    def read(self) -> tuple[float, RGB] | None:
        """The next due frame with its capture time, never above the rate asked for. None at the end.

        Raises InputError if the device or file fails.
        """

    @abstractmethod
    def read_audio(self) -> tuple[float, Samples] | None:
        """The next 20 ms (960 samples) and the time of the first of them; None at the end or without sound."""

    @abstractmethod
    def close(self) -> None:
        """Release the device or file and wake the readers; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RateLimiter:
    """Thins out frames to a rate: which of the frames at the given times are let through.

    Even at the rate itself nothing is lost to jitter of up to a quarter of the period.
    """

    def __init__(self, rate: float) -> None:
        if not rate > 0:
            raise ValueError(f"rate: expected a positive number, got {rate}")
        self._period = 1.0 / rate
        self._due = float("-inf")

    def accept(self, time: float) -> bool:
        if time < self._due - self._period / 4:
            return False
        self._due = max(self._due, time - self._period) + self._period
        return True
