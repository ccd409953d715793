"""Clips decoded once into memory-mapped arrays, so that any frame costs a page fault and not a decoder.

Reads the layout of the data pack: `manifest.csv`, `clips/<size>/<id>.mp4`, and `landmarks/<id>.npz` with `lm`
(T, 478, 3) as fractions of the frame's width and height and `valid` (T,). `visavis train prepare` makes the same of a
folder of videos.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Array = NDArray[np.float32]

INDEX = "index.json"


class ClipError(ValueError):
    """The data for training is missing or broken; the message says what is expected."""


@dataclass(frozen=True)
class ClipRow:
    """A row of the manifest."""

    name: str
    identity: str
    split: str
    path: Path
    landmarks: Path


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip, every `step`-th frame of which lies in memory-mapped arrays."""

    name: str
    identity: str
    split: str
    frames: Frames
    "(T, S, S, 3) RGB, memory-mapped."
    landmarks: Array
    "(T, 478, 3) frame coordinates. Only frames with a face are kept."


def manifest(
    data: Path, size: int, splits: Sequence[str] = ("train",), rights: Sequence[str] = ()
) -> Iterator[ClipRow]:
    """The pack's clips at this size, or at the next multiple of it; if `rights` are given, those whose column of that
    name begins with one of them.

    Raises ClipError without a manifest or landmarks.
    """
    path = data / "manifest.csv"
    if not path.is_file():
        raise ClipError(f"{data}: no manifest.csv; name a data pack, or make one: visavis train prepare FOLDER")
    folders = _folders(data / "clips", size)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found = (folder / f"{row['id']}.mp4" for folder in folders)
            clip = next((one for one in found if one.is_file()), None)
            if row["split"] not in splits or clip is None:
                continue
            if rights and not row["rights"].startswith(tuple(rights)):
                continue
            landmarks = data / "landmarks" / f"{row['id']}.npz"
            if not landmarks.is_file():
                raise ClipError(f"{landmarks} is missing; every clip of the manifest needs its landmarks")
            yield ClipRow(row["id"], row["identity"], row["split"], clip, landmarks)


def build_cache(
    data: Path,
    folder: Path,
    *,
    size: int = 256,
    step: int = 2,
    splits: Sequence[str] = ("train",),
    rights: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Clip]:
    """Decode what the folder does not hold yet, and open all. A clip whose file has changed is decoded again.

    size: of clips that are there in larger sizes only, groups of pixels are averaged. step: every how manieth frame is
    kept: neighbours at 25 frames a second teach nothing new. progress is called with the number of clips done and of
    all. Raises ClipError.
    """
    rows = list(manifest(data, size, splits, rights))
    if not rows:
        raise ClipError(f"{data}: no clip of {' or '.join(splits)} at {size} pixels")
    folder.mkdir(parents=True, exist_ok=True)
    index_path = folder / INDEX
    index: dict[str, list[int]] = json.loads(index_path.read_text()) if index_path.is_file() else {}
    for done, row in enumerate(rows):
        if progress is not None:
            progress(done, len(rows))
        state = row.path.stat()
        version = [state.st_size, int(state.st_mtime), size, step]
        if index.get(row.name) != version:
            _decode(row, folder, size, step)
            index[row.name] = version
            _replace(index_path, json.dumps(index).encode())
    if progress is not None:
        progress(len(rows), len(rows))
    return [_open(row, folder) for row in rows]


def cache_folder(data: Path, size: int, step: int) -> Path:
    """Where clips are kept decoded: in the user's cache, or in the folder that VISAVIS_CACHE names."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("VISAVIS_CACHE") or Path(home) / "visavis")
    mark = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    return root / "clips" / f"{mark}-{size}-{step}"


def clip_chances(clips: Sequence[Clip]) -> NDArray[np.float64]:
    """How often each clip is drawn: by the root of its length, for long ones have more to show, but not that much."""
    weights: NDArray[np.float64] = np.sqrt(np.array([len(clip.frames) for clip in clips], np.float64))
    weights /= weights.sum()
    return weights


def frame_coordinates(fractions: Array, width: int, height: int) -> Array:
    """Landmarks (..., 3) from fractions of width and height (z in the scale of x) to frame coordinates."""
    side = min(width, height)
    scale = np.array((width, height, width), np.float32) / side
    centre = np.array((0.5, 0.5, 0.0), np.float32)
    return ((fractions.astype(np.float32) - centre) * scale).astype(np.float32)


def _decode(row: ClipRow, folder: Path, size: int, step: int) -> None:
    with np.load(row.landmarks) as stored:
        fractions, valid = np.ascontiguousarray(stored["lm"]), stored["valid"]
    kept: list[Frames] = []
    numbers: list[int] = []
    with av.open(str(row.path)) as container:
        for number, picture in enumerate(container.decode(video=0)):
            if number % step or number >= len(valid) or not valid[number]:
                continue
            frame = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
            side = int(row.path.parent.name)
            if frame.shape != (side, side, 3):
                raise ClipError(f"{row.path}: a frame of {frame.shape[1]}x{frame.shape[0]}, expected {side}x{side}")
            kept.append(_reduced(frame, size))
            numbers.append(number)
    if len(kept) < 2:
        raise ClipError(f"{row.path}: fewer than two frames with a face; remove it from the manifest")
    _save(folder / f"{row.name}.frames.npy", np.stack(kept))
    _save(folder / f"{row.name}.landmarks.npy", frame_coordinates(fractions[numbers], size, size))


def _open(row: ClipRow, folder: Path) -> Clip:
    frames = np.load(folder / f"{row.name}.frames.npy", mmap_mode="r")
    return Clip(row.name, row.identity, row.split, frames, np.load(folder / f"{row.name}.landmarks.npy"))


def _folders(clips: Path, size: int) -> list[Path]:
    """Those of clips of this size or a multiple of it, the smallest first."""
    sides = sorted(int(entry.name) for entry in clips.glob("*") if entry.name.isdecimal()) if clips.is_dir() else []
    return [clips / str(side) for side in sides if side >= size and side % size == 0]


def _reduced(frame: Frames, size: int) -> Frames:
    if len(frame) == size:
        return frame
    return np.asarray(cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _save(path: Path, array: NDArray[np.generic]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, array)
    os.replace(partial, path)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
