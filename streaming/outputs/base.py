"""The interface of outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from streaming.media import RGB, Samples


class Output(ABC):
    """Takes pictures and sound with times on one media clock.

    In a `with` block the output is closed at the end, or aborted if the block ended in an error.
    """

    @abstractmethod
    def write(self, frame_rgb: RGB, time: float) -> None:
        """Show or store a frame. Raises ValueError for a wrong shape or type, OutputError if it cannot be written."""

    @abstractmethod
    def write_audio(self, samples: Samples, time: float) -> None:
        """Play or store sound; `time` is that of the first sample."""

    @abstractmethod
    def close(self) -> None:
        """Finish; a second call does nothing. Raises OutputError if what was written could not be kept."""

    def abort(self) -> None:
        """Give up what is not finished. The same as `close` for outputs that keep nothing."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()
