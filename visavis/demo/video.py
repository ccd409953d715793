"""The demo's video: what the camera saw beside what was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track

from streaming.inputs import VideoFile
from streaming.media import RGB
from streaming.outputs import FileOutput, side_by_side

LABELS = ("camera: stays at the sender", "rendered from one picture")


def write_comparison(driving: Path, shown: Path, times: list[float], output: Path, console: Console) -> None:
    """Write the frames of `shown` with their sound, each beside the driving frame whose motion it shows.

    times: media time of each frame of `shown`: seconds in the driving video, which begins again at its end.
    """
    rendered = VideoFile(shown)
    camera = _frames_at(VideoFile(driving, max_side=1280), times)
    file = None
    try:
        pairs = zip(rendered.frames(), camera, strict=False)
        for (at, frame), seen in track(pairs, "writing", total=len(times), console=console):
            panels = side_by_side(tuple(zip(LABELS, (_square(seen), frame), strict=True)), rendered.height)
            if file is None:
                file = FileOutput(output, panels.shape[1], panels.shape[0], 25, audio=rendered.has_audio)
            file.write(panels, at)
        assert file is not None, "a recording has at least one frame"
        if rendered.has_audio:
            file.write_audio(rendered.read_audio(), 0.0)
        file.close()
    finally:
        if file is not None:
            file.abort()


def _frames_at(video: VideoFile, times: list[float]) -> Iterator[RGB]:
    """The frame at each of the increasing times, which go on after the end of the video with its beginning."""
    duration, turn = video.duration, 0
    frames = video.frames()
    _, current = next(frames)
    following = next(frames, None)
    half = 0.5 / float(video.rate)
    for time in times:
        while time - turn * duration >= duration:
            turn += 1
            frames = video.frames()
            _, current = next(frames)
            following = next(frames, None)
        while following is not None and following[0] <= time - turn * duration + half:
            current, following = following[1], next(frames, None)
        yield current


def _square(frame: RGB) -> RGB:
    """The middle square of a frame."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frame[top : top + side, left : left + side]
