"""Test clips of a data pack: frames, and the landmarks that a call's sender would track in them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.landmarks import LandmarkTracker

Frame = NDArray[np.uint8]
"(S, S, 3) RGB."
Array = NDArray[np.float32]

FPS = 25.0
"Of all clips of a pack."


class EvaluationError(ValueError):
    """An evaluation cannot be made as asked; the message says what is missing."""


@dataclass(frozen=True)
class ClipFile:
    """A clip that can be read."""

    name: str
    identity: str
    "Who is seen: no other clip of the same identity drives or trains a fair comparison."
    path: Path
    frames: int
    "As the manifest states it."
    size: int
    "Side of the frames in pixels, as they will be read."


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip in memory."""

    name: str
    frames: list[Frame]
    landmarks: list[Array]
    "(478, 3) frame coordinates, tracked; a frame without a face has those of the frame before."


def find_clips(data: Path, size: int, only: tuple[str, ...] = ()) -> list[ClipFile]:
    """The test clips of a pack that exist at this size, by name; `only` these, if any are named.

    data: folder with manifest.csv (columns id, split, identity, frames) and clips/SIZE/ID.mp4.
    Raises EvaluationError where there is no pack, no such clip or none at this size.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise EvaluationError(f"{data}: no data pack, it lacks manifest.csv; name a folder that has it with --data")
    with open(manifest, newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file) if row["split"] == "test"}
    found = {}
    for name, row in rows.items():
        # Frames of a larger size are made smaller, by averaging pixels.
        sides = [size * factor for factor in (1, 2, 4)]
        paths = [data / "clips" / str(side) / f"{name}.mp4" for side in sides]
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            found[name] = ClipFile(name, row["identity"], path, int(row["frames"]), size)
    if unknown := [name for name in only if name not in found]:
        raise EvaluationError(
            f"{', '.join(unknown)}: no test clip of {data} at {size} pixels; there are: {', '.join(found) or 'none'}"
        )
    if not found:
        raise EvaluationError(f"{data}: no test clip at {size} pixels; choose another --size, or another --data")
    return [clip for name, clip in sorted(found.items()) if not only or name in only]


def read_clip(file: ClipFile, frames_at_most: int | None = None) -> Clip:
    """Decode a clip and track its face, the first `frames_at_most` frames. Raises EvaluationError without a face."""
    frames: list[Frame] = []
    landmarks: list[Array] = []
    with av.open(str(file.path)) as container, LandmarkTracker() as tracker:
        for picture in container.decode(video=0):
            frame = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
            if frame.shape[0] != file.size:
                frame = np.asarray(cv2.resize(frame, (file.size, file.size), interpolation=cv2.INTER_AREA), np.uint8)
            seen = tracker.track(frame)
            if seen is None and not landmarks:
                raise EvaluationError(f"{file.path}: no face in the first frame; leave this clip out with --clips")
            frames.append(frame)
            landmarks.append(landmarks[-1] if seen is None else seen.landmarks)
            if len(frames) == frames_at_most:
                break
    return Clip(file.name, frames, landmarks)
