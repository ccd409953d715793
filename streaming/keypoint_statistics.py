"""The codec's tables for keypoints: those learned for a network's weights, or general ones for any network.

*Coordinates.* Their norm is to be the displacement that a decoded frame makes visible. A keypoint's local frame acts on
the picture around it: of a change dJ, a pixel at an offset d from the keypoint moves by dJ d, so over a disc of radius
R by |dJ|² R² / 4 in the mean square. Ten to fifteen keypoints share the picture, a disc of R = 0.36 to 0.29 each, so
that a Jacobian's entries count R / 2 = JACOBIAN_RADIUS times as much as a point's coordinates.

*Learned tables* (`python -m streaming.motion_training --keypoints`) have axes along which the keypoints of one network
move together, and lie beside its weights as `motion_statistics.npz`: far the better, as keypoints of one face are
hardly ever independent.

*General tables* ship, for networks whose weights come from elsewhere. They know nothing of which keypoint is where;
under that condition the best axes are, for any K, those of what all keypoints have in common (six numbers: a shift, and
a change of the local frames) and of what sets each apart from the others (six classes of numbers, K - 1 of each).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.motion import KEYPOINT_LIMIT
from streaming.motion_kind import JACOBIAN_LIMIT, KEYPOINTS, NUMBERS_OF_A_KEYPOINT, POINT_LIMIT, FloatArray
from streaming.motion_statistics import (
    CLASSES,
    MAX_DISTANCE,
    SYMBOLS,
    UNITS,
    WEIGHTS,
    IntArray,
    MotionStatistics,
    freeze_tables,
    logarithm,
    read_tables,
)
from streaming.range_coder import CodecError

DEFAULT_PATH = Path(__file__).parent / "data" / "keypoint_statistics.npz"
LEARNED_NAME = "motion_statistics.npz"
"In the folder of a generator's weights: `weights_folder(generator) / LEARNED_NAME` (`engine.weights`)."
FORMAT_VERSION = 1

JACOBIAN_RADIUS = 0.16
"Half pictures; see above."
_CLASSES = 2 * NUMBERS_OF_A_KEYPOINT
"Of coordinates in the general tables: first what keypoints have in common, then what sets them apart."


def keypoint_metric(count: int) -> FloatArray:
    """(6K, 6K) S: dp' S dp is the squared displacement, half pictures, of a change dp of the parameters."""
    return np.diag(_weights(count) ** 2)


def keypoint_limit(count: int) -> FloatArray:
    """(6K,) how large the parameters may be."""
    return np.repeat((POINT_LIMIT, JACOBIAN_LIMIT), (2 * count, 4 * count))


def keypoint_statistics(count: int, digest: bytes, learned: Path | None = None) -> MotionStatistics:
    """The tables for K keypoints of the network whose weights have this digest (8 bytes).

    learned: a file of tables that were learned for these weights, used if it exists; without, the general ones. Raises
    CodecError for a count that no tables are for, or learned tables that are not for these weights.
    """
    if learned is None or not learned.is_file():
        return GeneralStatistics.load().expanded(count, digest)
    statistics = MotionStatistics.load(learned)
    if statistics.kind is not KEYPOINTS or statistics.count != count or statistics.model_digest.tobytes() != digest:
        raise CodecError(
            f"{learned}: tables of {statistics.count} {statistics.kind.noun} (weights "
            f"{statistics.model_digest.tobytes().hex()}), the network has {count} keypoints (weights {digest.hex()}); "
            "learn them again (python -m streaming.motion_training --keypoints), or remove the file on both sides"
        )
    return statistics


@dataclass(frozen=True, eq=False)
class GeneralStatistics:
    """Tables that are expanded to any number of keypoints. A row for each of 12 classes of coordinates.

    Other than that they are those of `MotionStatistics`.
    """

    mean: FloatArray
    "(6,) of a keypoint: point, Jacobian."
    common_axes: FloatArray
    "(6, 6) orthonormal rows: directions of what keypoints have in common, of a keypoint's weighted numbers."
    own_axes: FloatArray
    "(6, 6) the same of what sets them apart."
    mean_scale: NDArray[np.int16]
    "(12,) of what is common, if K were 1."
    taps: NDArray[np.int16]
    "(MAX_DISTANCE, 12, 2)"
    scale: NDArray[np.int16]
    "(MAX_DISTANCE, 12) of what is common, if K were 1."
    weights: NDArray[np.int16]
    "(MAX_DISTANCE, WEIGHTS)"
    cumulative: NDArray[np.uint16]
    "(CLASSES, SYMBOLS + 1)"

    def __post_init__(self) -> None:
        axes = (NUMBERS_OF_A_KEYPOINT, NUMBERS_OF_A_KEYPOINT)
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "mean": (np.float64, (NUMBERS_OF_A_KEYPOINT,)),
            "common_axes": (np.float64, axes),
            "own_axes": (np.float64, axes),
            "mean_scale": (np.int16, (_CLASSES,)),
            "taps": (np.int16, (MAX_DISTANCE, _CLASSES, 2)),
            "scale": (np.int16, (MAX_DISTANCE, _CLASSES)),
            "weights": (np.int16, (MAX_DISTANCE, WEIGHTS)),
            "cumulative": (np.uint16, (CLASSES, SYMBOLS + 1)),
        }
        freeze_tables(self, shapes, "keypoint statistics")

    @classmethod
    @cache
    def load(cls, path: Path = DEFAULT_PATH) -> GeneralStatistics:
        """The tables in an npz file, by default those that ship. Raises CodecError or OSError."""
        arrays = read_tables(path, "keypoint statistics", "install again")
        version = int(arrays.pop("version", np.array(0)))
        if version != FORMAT_VERSION or {field.name for field in fields(cls)} != arrays.keys():
            raise CodecError(f"{path}: keypoint statistics of another format; install again")
        return cls(**arrays)

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, version=np.array(FORMAT_VERSION), **arrays)

    def expanded(self, count: int, digest: bytes) -> MotionStatistics:
        """The tables of K keypoints. Equal bit by bit on every machine: products of single numbers, never sums.

        Raises CodecError for a count that is not from 1 to KEYPOINT_LIMIT.
        """
        if not 1 <= count <= KEYPOINT_LIMIT:
            raise CodecError(f"{count} keypoints: expected 1 to {KEYPOINT_LIMIT}")
        rows = coordinate_classes(count)
        common = rows < NUMBERS_OF_A_KEYPOINT
        # The common coordinates of K keypoints are sqrt(K) times as long as those of one.
        longer = np.where(common, logarithm(count) // 2, 0)
        return MotionStatistics(
            model_digest=np.frombuffer(digest, dtype=np.uint8),
            transform=general_transform(count, self.common_axes, self.own_axes),
            limit=keypoint_limit(count),
            mean=self._mean(count),
            mean_scale=(self.mean_scale[rows] + longer).astype(np.int16),
            taps=self.taps[:, rows],
            scale=(self.scale[:, rows] + longer).astype(np.int16),
            weights=self.weights,
            cumulative=self.cumulative,
            kind=KEYPOINTS,
        )

    def _mean(self, count: int) -> NDArray[np.int32]:
        mean = np.zeros(NUMBERS_OF_A_KEYPOINT * count, np.int32)
        weighted = [float(value) for value in self.mean * _weights(1)]
        for row, axis in enumerate(self.common_axes):
            length = math.fsum(float(entry) * value for entry, value in zip(axis, weighted, strict=True))
            mean[row] = round(math.sqrt(count) * length * UNITS)
        return mean


def coordinate_classes(count: int) -> IntArray:
    """(6K,) the class of each coordinate under `general_transform`."""
    common = np.arange(NUMBERS_OF_A_KEYPOINT)
    own = np.repeat(np.arange(NUMBERS_OF_A_KEYPOINT, _CLASSES), count - 1)
    return np.concatenate([common, own]).astype(np.int64)


def general_transform(count: int, common_axes: FloatArray, own_axes: FloatArray) -> FloatArray:
    """(6K, 6K) from parameters to coordinates: first what all have in common, then what sets them apart by class."""
    numbers = NUMBERS_OF_A_KEYPOINT
    mixing = _mixing(count)
    common = common_axes[:, None, :] * mixing[0][:, None]  # (axis, keypoint, number)
    own = own_axes[:, None, None, :] * mixing[1:, :, None]  # (axis, mixture, keypoint, number)
    rows = np.concatenate([common, own.reshape(numbers * (count - 1), count, numbers)])
    in_order = np.concatenate([rows[..., :2].reshape(-1, 2 * count), rows[..., 2:].reshape(-1, 4 * count)], axis=1)
    result: FloatArray = in_order * _weights(count)
    return result


def _mixing(count: int) -> FloatArray:
    """(K, K) orthonormal, the first row constant: Helmert's, each row one entry against all those before it."""
    matrix = np.zeros((count, count))
    matrix[0] = 1 / math.sqrt(count)
    for row in range(1, count):
        matrix[row, :row] = 1 / math.sqrt(row * (row + 1))
        matrix[row, row] = -row / math.sqrt(row * (row + 1))
    return matrix


def _weights(count: int) -> FloatArray:
    """(6K,) how much the parameters count."""
    return np.repeat((1.0, JACOBIAN_RADIUS), (2 * count, 4 * count))
