"""Keypoints that a network found in clips, in one .npz file: what the codec's tables are learned from and judged by.

The file holds plain arrays only (no pickle): `digest` (8 bytes of the network's weights), and for each clip
`SPLIT/NAME/points` (T, K, 2) and `SPLIT/NAME/jacobians` (T, K, 2, 2), 25 frames a second.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.motion import Keypoints
from streaming.inputs import VideoFile
from streaming.media import InputError

FPS = 25
BATCH = 16
"Frames that a network is given at once."
SPLITS = ("train", "test")

Detect = Callable[[NDArray[np.uint8]], list[Keypoints]]
"(B, S, S, 3) uint8 RGB frames to the keypoints of each."


@dataclass(frozen=True)
class Clip:
    """A square video of one head, 25 frames a second."""

    name: str
    split: str
    path: Path


@dataclass(frozen=True, eq=False)
class KeypointTrack:
    """What a network found in one clip, frame by frame."""

    name: str
    split: str
    motions: list[Keypoints]


@dataclass(frozen=True, eq=False)
class KeypointTracks:
    """What one network found in several clips. All have the same K."""

    digest: bytes
    "(8 bytes) of the network's weights."
    tracks: list[KeypointTrack]

    def __post_init__(self) -> None:
        if len(self.digest) != 8:
            raise ValueError(f"digest: {len(self.digest)} bytes, expected 8")
        counts = {motion.count for track in self.tracks for motion in track.motions}
        if len(counts) != 1:
            raise ValueError(f"tracks: expected one number of keypoints, got {sorted(counts)}")

    @property
    def count(self) -> int:
        """K."""
        return next(track.motions[0].count for track in self.tracks if track.motions)

    def split(self, name: str) -> list[KeypointTrack]:
        """Those of one split. Raises ValueError if there are none."""
        found = [track for track in self.tracks if track.split == name]
        if not found:
            raise ValueError(f"the tracks hold no clip of the split {name!r}")
        return found

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads."""
        arrays = {"digest": np.frombuffer(self.digest, np.uint8)}
        for track in self.tracks:
            for name in ("points", "jacobians"):
                arrays[f"{track.split}/{track.name}/{name}"] = np.stack([getattr(m, name) for m in track.motions])
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes the names for options

    @classmethod
    def load(cls, path: str | Path) -> KeypointTracks:
        """Raises InputError for a file that holds no keypoint tracks."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            with np.load(path, allow_pickle=False) as archive:
                tracks = []
                for key in sorted(archive.files):
                    split, _, rest = key.partition("/")
                    name, _, array = rest.rpartition("/")
                    if array == "points":
                        points, jacobians = archive[key], archive[f"{split}/{name}/jacobians"]
                        motions = [
                            Keypoints(*pair, time=frame / FPS)
                            for frame, pair in enumerate(zip(points, jacobians, strict=True))
                        ]
                        tracks.append(KeypointTrack(name, split, motions))
                return cls(archive["digest"].tobytes(), tracks)
        except Exception as error:  # NumPy and zipfile raise a dozen types for what is not theirs
            raise InputError(
                f"{path}: holds no keypoint tracks ({error}); expected digest (8 bytes) and, for each clip, "
                "SPLIT/NAME/points (T, K, 2) and SPLIT/NAME/jacobians (T, K, 2, 2)"
            ) from error


def pack_clips(data: Path, size: int) -> Iterator[Clip]:
    """The clips of real people in a data pack, in the smallest size that it has from `size` pixels on, else 256."""
    with open(data / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in ("speech", "expression")]
    for row in rows:
        large = data / "clips" / "512" / f"{row['id']}.mp4"
        small = data / "clips" / "256" / f"{row['id']}.mp4"
        yield Clip(row["id"], row["split"], large if size > 256 and large.is_file() else small)


def keypoint_tracks(detect: Detect, clips: Iterable[Clip], size: int, frame_limit: int = 400) -> list[KeypointTrack]:
    """What a network finds in the first `frame_limit` frames of each clip, brought to size x size pixels."""
    import cv2

    tracks = []
    for clip in clips:
        batch: list[NDArray[np.uint8]] = []
        motions: list[Keypoints] = []
        for number, (_, frame) in enumerate(VideoFile(clip.path).frames()):
            if number == frame_limit:
                break
            if frame.shape[:2] != (size, size):
                frame = np.asarray(cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
            batch.append(frame)
            if len(batch) == BATCH:
                motions += detect(np.stack(batch))
                batch = []
        if batch:
            motions += detect(np.stack(batch))
        tracks.append(KeypointTrack(clip.name, clip.split, motions))
    return tracks
