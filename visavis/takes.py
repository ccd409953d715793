"""The parts of a video that show one head: between cuts, of a length that suits training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.landmarks import LandmarkTracker
from engine.face.regions import LEFT_EYE_OUTER, POINTS, RIGHT_EYE_OUTER
from streaming.media import RGB

Array = NDArray[np.float32]

RATE = 25
"Frames a second of everything here."
LONGEST_S, SHORTEST_S = 10.0, 1.0
"The head may wander: one crop for a longer take would show it small."
CUT_COLOUR = 0.12
"Mean difference of two neighbouring frames' thumbnails, 0 to 1; a head that moves makes 0.04."
CUT_JUMP = 0.5
"Mean way of the landmarks from one frame to the next, in distances of the outer eye corners."
FACE_SHARE = 0.9
"Of a take's frames must show a face."
SEVERAL_SHARE = 0.1
"Of a take's frames may show several."


@dataclass(frozen=True, eq=False)
class Followed:
    """What the tracker saw of a video, per frame at 25 a second."""

    landmarks: Array
    "(T, 478, 3) frame coordinates, NaN without a face."
    faces: NDArray[np.int64]
    "(T,) how many there were."
    cuts: tuple[int, ...]
    "Frames at which another picture begins."


@dataclass(frozen=True)
class Take:
    """A part of a video that becomes a clip: frames `start` to before `stop`."""

    start: int
    stop: int


def follow(frames: Iterable[RGB], tracker: LandmarkTracker, progress: Callable[[int], None]) -> Followed:
    """Track the face and find the cuts. progress: called with the number of frames that are done."""
    landmarks: list[Array] = []
    faces: list[int] = []
    cuts: list[int] = []
    before: NDArray[np.int16] | None = None
    nothing = np.full((POINTS, 3), np.nan, np.float32)
    for number, frame in enumerate(frames):
        thumbnail = np.asarray(cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA), np.int16)
        cut = before is not None and float(np.abs(thumbnail - before).mean()) / 255 > CUT_COLOUR
        before = thumbnail
        if cut:
            tracker.reset()  # the face of another shot is looked for anew
        seen = tracker.track(frame)
        landmarks.append(nothing if seen is None else np.asarray(seen.landmarks, np.float32))
        faces.append(0 if seen is None else seen.faces)
        if cut or (number and _jumped(landmarks[-2], landmarks[-1])):
            cuts.append(number)
        progress(number + 1)
    return Followed(np.stack(landmarks) if landmarks else nothing[None][:0], np.array(faces, np.int64), tuple(cuts))


def takes(followed: Followed) -> list[Take]:
    """The parts between cuts, those that are too long in equal pieces, those that are too short left out."""
    found: list[Take] = []
    borders = (0, *followed.cuts, len(followed.faces))
    for start, stop in itertools.pairwise(borders):
        if (stop - start) / RATE < SHORTEST_S:
            continue
        count = int(np.ceil((stop - start) / RATE / LONGEST_S))
        edges = np.linspace(start, stop, count + 1).astype(int)
        found += [Take(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    return found


def problem_of(followed: Followed, take: Take) -> str | None:
    """Why a take is of no use, or None."""
    faces = followed.faces[take.start : take.stop]
    if (faces > 0).mean() < FACE_SHARE:
        return "no face"
    if (faces > 1).mean() > SEVERAL_SHARE:
        return "several faces"
    return None


def at_rate(frames: Iterable[tuple[float, RGB]], rate: int) -> Iterator[RGB]:
    """For each multiple of 1 / rate seconds the frame that is nearest in time."""
    tick = 0
    before: tuple[float, RGB] | None = None
    for time, frame in frames:
        if before is not None:
            middle = (before[0] + time) / 2
            while tick / rate < middle:
                yield before[1]
                tick += 1
        before = time, frame
    if before is not None and tick / rate < before[0] + 0.499 / rate:
        yield before[1]


def _jumped(before: Array, after: Array) -> bool:
    """Whether the face is another one, or elsewhere; no face before or after is no jump."""
    eyes = np.linalg.norm(after[RIGHT_EYE_OUTER] - after[LEFT_EYE_OUTER])
    return bool(np.linalg.norm((after - before)[:, :2], axis=1).mean() > CUT_JUMP * eyes)
