"""`visavis render`: a picture and a driving video in, an mp4 out."""

from __future__ import annotations

import time as clocks
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from engine.avatar import Avatar, Picture, Tracker, frames_at_once, load_tracker
from engine.face.regions import POINTS
from engine.keypoint_motion import closest_frame
from engine.motion import Motion
from streaming.inputs import InputError, MotionTrack, VideoFile, open_input
from streaming.media import Samples
from streaming.outputs import FileOutput

if TYPE_CHECKING:
    from visavis.commands import Render, Speak, Track


@dataclass(frozen=True)
class Driving:
    """A driving video or motion track: one entry a frame, None where no face was found."""

    rate: Fraction
    count: int | None
    "Frames, where the file says so."
    audio: Samples
    "The whole sound from the first frame on; empty if there is none."
    states: Iterator[tuple[float, Motion | None]]


def open_driving(path: str, tracker: Tracker) -> Driving:
    """Open a video (its frames are tracked as they are read) or a motion track. Raises InputError."""
    driving = open_input(path)
    if isinstance(driving, MotionTrack):
        return _track_driving(driving)
    return Driving(driving.rate, driving.frame_count, driving.read_audio(), _tracked(driving, tracker))


def _tracked(video: VideoFile, tracker: Tracker) -> Iterator[tuple[float, Motion | None]]:
    for time, frame in video.frames():
        yield time, tracker.process(frame, time)


def begun_alike(driving: Driving, tracker: Tracker, avatar: Avatar, console: Console) -> Driving:
    """The same driving, read whole; the avatar measures its motion from the frame that is posed most like the picture.

    Raises InputError where that cannot be told: for a motion track, and for a video without a face.
    """
    states, landmarks = [], []
    for time, state in track(
        driving.states, "looking for the frame most like the picture", driving.count, console=console
    ):
        states.append((time, state))
        seen = tracker.observation
        landmarks.append(np.full((POINTS, 2), np.nan, np.float32) if seen is None else seen.landmarks[:, :2])
    own = avatar.person.landmarks(avatar.source_state)
    try:
        _, begin = states[closest_frame(own, landmarks)]
    except ValueError as error:
        raise InputError(f"no frame to begin with: {error}") from error
    assert begin is not None
    avatar.begin(begin)
    return replace(driving, states=iter(states))


def _track_driving(track: MotionTrack) -> Driving:
    rate = Fraction(track.rate).limit_denominator(100_000)
    states = {round(state.time * rate): state for state in track.states}
    count = max(states) + 1
    audio = track.audio if track.audio is not None else np.zeros(0, np.int16)
    return Driving(rate, count, audio, ((float(k / rate), states.get(k)) for k in range(count)))


def record_track(options: Track) -> int:
    """Run `visavis track`. Raises InputError, and OSError where the file cannot be written."""
    console = Console(stderr=True)
    with load_tracker() as tracker:
        return _record(options, open_driving(str(options.driving), tracker), console)


def _record(options: Track, driving: Driving, console: Console) -> int:
    found = track(driving.states, "tracking", total=driving.count, console=console)
    states = tuple(state for _, state in found if state is not None)
    if not states:
        raise InputError(f"{options.driving}: shows no face; nothing was written")
    audio = driving.audio if driving.audio.size else None
    MotionTrack(states, float(driving.rate), audio).save(options.output)
    console.print(f"{options.output}: {len(states)} states at {float(driving.rate):g} a second")
    return 0


def render(options: Render) -> int:
    """Run the command. Raises the project's errors; nothing half-written stays."""
    console = Console(stderr=True, quiet=options.quiet)
    started = clocks.perf_counter()
    avatar = file_avatar(options)
    person = avatar.person, avatar.source_state
    with load_tracker(options.generator, options.runtime, options.size, person) as tracker:
        driving = open_driving(str(options.driving), tracker)
        if options.best_frame:
            driving = begun_alike(driving, tracker, avatar, console)
        _write(options, avatar, driving, console, started)
    return 0


def file_avatar(options: Render | Speak) -> Avatar:
    """The avatar of the pictures, for rendering as fast as this machine can. Raises as `Avatar.from_image`."""
    return Avatar.from_image(
        options.source,
        generator=options.generator,
        runtime=options.runtime,
        size=options.size,
        crop=options.crop,
        at_once=frames_at_once(),
    )


def _write(options: Render, avatar: Avatar, driving: Driving, console: Console, started: float) -> None:
    """Render all of the driving into the file, and say how it went."""

    def finish(frame: Picture) -> Picture:
        return avatar.paste_back(frame) if options.paste_back else frame

    without_face = frames = 0

    def states() -> Iterator[Motion | None]:
        nonlocal without_face
        for _, state in driving.states:
            without_face += state is None
            yield state

    height, width = finish(avatar.source_frame).shape[:2]
    first_frame_s = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with (
        FileOutput(options.output, width, height, driving.rate, audio=driving.audio.size > 0) as output,
        Progress(*columns, console=console, disable=options.quiet) as progress,
    ):
        task = progress.add_task("rendering", total=driving.count)
        for frame in avatar.render_each(states(), options.motion):
            output.write(finish(frame), float(frames / driving.rate))
            frames += 1
            first_frame_s = first_frame_s or clocks.perf_counter() - started
            progress.advance(task)
        output.write_audio(driving.audio[: round(frames / driving.rate * 48_000)], 0.0)
    seconds = clocks.perf_counter() - started
    console.print(
        f"{options.output}: {frames} frames of {width}x{height} at {float(driving.rate):g} FPS in {seconds:.1f} s "
        f"({frames / seconds:.0f} FPS, first frame after {first_frame_s:.1f} s)"
    )
    if without_face:
        console.print(f"{without_face} of {frames} frames showed no face; the last motion was held there")
