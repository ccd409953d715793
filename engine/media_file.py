"""Sound and video files: opened so that they lead nowhere else, and decoded as far as they can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

_REFUSED_FORMATS = {"tty", "concat", "hls", "dash"}
"What FFmpeg would open but is neither: text drawn as a picture, and lists of other files."


class RefusedFormatError(ValueError):
    """A file that FFmpeg reads and we do not; the message is the name of its format."""


def open_file(path: Path) -> InputContainer:
    """The container at a path. Raises RefusedFormatError, OSError and av.FFmpegError."""
    # "file:" and the whitelist: neither a name nor a playlist inside may make FFmpeg open anything else.
    container = av.open(f"file:{path}", mode="r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    if container.format.name in _REFUSED_FORMATS:
        container.close()
        raise RefusedFormatError(container.format.long_name)
    return container


@dataclass
class Decoding:
    """How decoding a stream went."""

    packets: int = 0
    failed: int = 0
    "Packets that could not be decoded."
    reason: str = ""
    "What FFmpeg said of the last of them, or of the place from which on nothing could be read."

    def frames(self, container: InputContainer, stream: Any) -> Iterator[Any]:
        """The frames of the stream that can be decoded, up to its end or its first unreadable place."""
        demuxed = container.demux(stream)
        while True:
            try:
                packet = next(demuxed, None)
            except (OSError, av.FFmpegError) as error:
                self.reason = reason_of(error)
                return
            if packet is None:
                return
            self.packets += packet.size > 0
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                self.failed += 1
                self.reason = reason_of(error)


def reason_of(error: BaseException) -> str:
    """What the system or FFmpeg says, without numbers and names of files."""
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".")
