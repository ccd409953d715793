"""The demo's video: what the camera saw beside what was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from streaming.inputs import VideoFile
from streaming.media import RGB
from streaming.outputs import FileOutput

CAPTION_HEIGHT = 28
MARGIN = 8


def write_side_by_side(driving: Path, shown: Path, times: list[float], output: Path, console: Console) -> None:
    """Write the frames of `shown` with their sound, each beside the driving frame whose motion it shows.

    times: media time of each frame of `shown`: seconds in the driving video, which begins again at its end.
    """
    rendered = VideoFile(shown)
    size = rendered.height
    camera = _frames_at(VideoFile(driving, max_side=1280), times)
    width, height = 2 * size + 3 * MARGIN, size + CAPTION_HEIGHT + MARGIN
    # Even sides, as the colour format of mp4 files wants them.
    canvas = np.full((height + height % 2, width + width % 2, 3), 24, np.uint8)
    for text, left in (("camera: stays at the sender", MARGIN), ("rendered from one picture", size + 2 * MARGIN)):
        cv2.putText(canvas, text, (left, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
    with FileOutput(output, canvas.shape[1], canvas.shape[0], 25, audio=rendered.has_audio) as file:
        pairs = zip(rendered.frames(), camera, strict=False)
        for (at, frame), seen in track(pairs, "writing", total=len(times), console=console):
            canvas[CAPTION_HEIGHT:][:size, MARGIN:][:, :size] = _square(seen, size)
            canvas[CAPTION_HEIGHT:][:size, size + 2 * MARGIN :][:, :size] = frame
            file.write(canvas, at)
        if rendered.has_audio:
            file.write_audio(rendered.read_audio(), 0.0)


def _frames_at(video: VideoFile, times: list[float]) -> Iterator[RGB]:
    """The frame at each of the increasing times, which go on after the end of the video with its beginning."""
    duration, turn = video.duration, 0
    frames = video.frames()
    _, current = next(frames)
    following = next(frames, None)
    for time in times:
        while time - turn * duration >= duration:
            turn += 1
            frames = video.frames()
            _, current = next(frames)
            following = next(frames, None)
        half = 0.5 / float(video.rate)
        while following is not None and following[0] <= time - turn * duration + half:
            current, following = following[1], next(frames, None)
        yield current


def _square(frame: RGB, size: int) -> RGB:
    """The middle square of a frame, scaled."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frame[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (size, size), interpolation=interpolation))
