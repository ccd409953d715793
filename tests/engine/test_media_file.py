"""Files are decoded as far as they can be, and lead nowhere else."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from engine.media_file import Decoding, RefusedFormatError, open_file

FRAMES = 6


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.avi"
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream("mjpeg", rate=25, width=64, height=64, pix_fmt="yuvj420p")
        for k in range(FRAMES):
            picture = np.full((64, 64, 3), 40 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def decode(path: Path) -> tuple[int, Decoding]:
    decoding = Decoding()
    with open_file(path) as container:
        return len(list(decoding.frames(container, container.streams.video[0]))), decoding


def test_what_is_sound_decodes_whole(video: Path) -> None:
    assert decode(video) == (FRAMES, Decoding(packets=FRAMES))


def test_a_packet_that_cannot_be_decoded_is_left_out_and_counted(video: Path) -> None:
    with open_file(video) as container:
        third = list(container.demux(video=0))[2]
        position, size = third.pos, third.size
    damaged = bytearray(video.read_bytes())
    damaged[position : position + size] = bytes(size)
    video.write_bytes(damaged)
    count, decoding = decode(video)
    assert (count, decoding.packets, decoding.failed) == (FRAMES - 1, FRAMES, 1)
    assert decoding.reason


def test_what_leads_elsewhere_is_refused(tmp_path: Path, video: Path) -> None:
    playlist = tmp_path / "list.ffconcat"
    playlist.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    with pytest.raises((RefusedFormatError, av.FFmpegError)):
        open_file(playlist)
    art = tmp_path / "letters.ans"
    art.write_text("only letters\n" * 40)
    with pytest.raises(RefusedFormatError):
        open_file(art)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none.avi")
