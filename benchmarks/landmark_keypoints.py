"""Stand-in keypoints without a network: `python -m benchmarks.landmark_keypoints --data DIR -o tracks.npz`.

Fixed groups of a detector's face landmarks, each taken for one keypoint: its centre is the point, the affine map that
leads best from the group's shape in the clip's mean to that in the frame is the Jacobian; a little noise comes on top.
The motion is real, as are its correlations; a network's keypoints also follow hair and shoulders, and wander more.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.motion import Keypoints
from streaming.keypoint_tracks import FPS, KeypointTrack, KeypointTracks

NOISE = 0.002
"Standard deviation of what is added to points, half pictures; to Jacobians, five times that."
FRAME_LIMIT = 400

Array = NDArray[np.float64]


def groups_of(shape: Array, count: int) -> NDArray[np.int64]:
    """(N,) which of `count` groups each of the (N, 2) points is in: k-means from points that are far apart."""
    centres = [shape.mean(axis=0)]
    while len(centres) < count:
        distances = np.linalg.norm(shape[:, None] - np.array(centres), axis=2).min(axis=1)
        centres.append(shape[int(np.argmax(distances))])
    places = np.array(centres)
    for _ in range(30):
        groups = np.linalg.norm(shape[:, None] - places, axis=2).argmin(axis=1)
        places = np.array([shape[groups == group].mean(axis=0) for group in range(count)])
    return np.asarray(groups, np.int64)


def keypoints_of(landmarks: Array, groups: NDArray[np.int64], rng: np.random.Generator) -> list[Keypoints]:
    """landmarks: (T, N, 2), -1 and 1 at the picture's borders. The keypoints of each frame."""
    count = int(groups.max()) + 1
    points = np.empty((len(landmarks), count, 2))
    jacobians = np.empty((len(landmarks), count, 2, 2))
    for group in range(count):
        members = landmarks[:, groups == group]
        points[:, group] = members.mean(axis=1)
        shapes = members - points[:, None, group]
        mean = shapes.mean(axis=0)
        jacobians[:, group] = np.einsum("tni,nj->tij", shapes, mean) @ np.linalg.inv(mean.T @ mean)
    points += NOISE * rng.normal(size=points.shape)
    jacobians += 5 * NOISE * rng.normal(size=jacobians.shape)
    return [
        Keypoints(point.astype(np.float32), jacobian.astype(np.float32), time=frame / FPS)
        for frame, (point, jacobian) in enumerate(zip(points, jacobians, strict=True))
    ]


def landmark_tracks(data: Path, count: int, seed: int = 0) -> KeypointTracks:
    """Tracks of `count` keypoints for the clips of real people in a data pack."""
    with open(data / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in ("speech", "expression")]
    clips = {}
    for row in rows:
        with np.load(data / row["landmarks"]) as archive:
            landmarks = np.ascontiguousarray(archive["lm"][:FRAME_LIMIT], dtype=np.float64)[..., :2]
        seen = np.isfinite(landmarks).all(axis=(1, 2))
        length = int(np.argmin(np.append(seen, False)))
        if length > FPS:
            clips[row["id"]] = row["split"], 2 * landmarks[:length] - 1
    shapes = [track.mean(axis=0) for split, track in clips.values() if split == "train"]
    groups = groups_of(np.mean([(shape - shape.mean(axis=0)) / shape.std() for shape in shapes], axis=0), count)
    rng = np.random.default_rng(seed)
    tracks = [KeypointTrack(name, split, keypoints_of(track, groups, rng)) for name, (split, track) in clips.items()]
    return KeypointTracks(hashlib.sha256(groups.tobytes()).digest()[:8], tracks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and landmarks/")
    parser.add_argument("--count", type=int, default=10, help="keypoints (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="npz file to write")
    arguments = parser.parse_args()
    landmark_tracks(arguments.data, arguments.count).save(arguments.output)


if __name__ == "__main__":
    main()
