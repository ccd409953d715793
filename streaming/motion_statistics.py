"""What the motion codec knows before a call begins: its coordinates, predictor taps and probabilities.

The tables are learned from clips (`python -m streaming.motion_training`) and are one small file; those of faces ship.
Sender and receiver must hold the same ones; `digest` goes into the stream header.

*Parameters* of a motion, (D,) float: see `streaming.motion_kind`. *Coordinates*, (D,): `transform @ parameters`. One
step fits all of them, as their axes are those along which motion goes, and their Euclidean norm is the length that
counts:

- of faces the RMS displacement of the landmarks of a frontal face, in outer-eye-corner distances;
- of keypoints the displacement of all of them together, in half pictures (`streaming.keypoint_statistics`).

On the wire they are integers of 1/UNITS.

Everything that both sides must agree on bit by bit is integer arithmetic, so no CPU and no numpy version can drive
them apart; floating point is used only to get into and out of coordinates.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.motion import Motion
from streaming.motion_kind import FACE, KINDS, MotionKind, kind_of
from streaming.range_coder import TOTAL, CodecError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

DEFAULT_PATH = Path(__file__).parent / "data" / "motion_statistics.npz"
FORMAT_VERSION = 2

UNITS = 1 << 15
"Coordinates are integers of 1/UNITS: outer-eye-corner distances or half pictures."
COORDINATE_LIMIT = 1 << 21
"Coordinates lie within ±64 of these."

MAX_DISTANCE = 32
"A frame is predicted from one that is at most so many ticks older."
TAP_BITS = 12
WEIGHT_BITS = 8
WEIGHTS = 5
"Contexts that correct a coordinate's expected size; see `streaming.motion_prediction`."

LEVELS = 15
"Residuals from -LEVELS to LEVELS steps have a symbol of their own; one more symbol escapes to larger ones."
SYMBOLS = 2 * LEVELS + 2
CLASSES = 32
"Probability tables, one per quarter octave of expected size."
CLASS_OF_ONE = 24
"The class whose expected size begins at one step."


def _logarithm_thresholds() -> list[int]:
    """The smallest integers whose base-2 logarithm is at least m / 16, for m = 0, 1, ...: by integer arithmetic."""
    thresholds = []
    for m in range(16 * 40):
        value = max(1, int(2 ** (m / 16)) - 2)
        while value**16 < 1 << m:
            value += 1
        thresholds.append(value)
    return thresholds


LOG_THRESHOLDS = _logarithm_thresholds()
_LOG_THRESHOLDS_ARRAY = np.array(LOG_THRESHOLDS, dtype=np.int64)


def logarithm(value: int) -> int:
    """floor(16 log2(value)) of an integer from 1 on, exactly."""
    return bisect_right(LOG_THRESHOLDS, value) - 1


def logarithms(values: IntArray) -> IntArray:
    """The same of many."""
    return np.searchsorted(_LOG_THRESHOLDS_ARRAY, values, side="right") - 1


def read_tables(path: Path, what: str, way_out: str) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file. Raises OSError, and CodecError, which ends with the way out, for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError:
        raise
    except Exception as error:  # what numpy and zipfile raise for a damaged file differs by the damage
        raise CodecError(f"{path}: no {what} ({error}); {way_out}") from error


def freeze_tables(owner: object, shapes: Mapping[str, tuple[Any, tuple[int, ...]]], what: str) -> None:
    """Make arrays of a dataclass what they are on every machine: of these types, and read-only. Raises CodecError for
    one of another shape, or with numbers that are not finite."""
    for name, (dtype, shape) in shapes.items():
        values = np.array(getattr(owner, name), dtype=dtype)
        if values.shape != shape or not np.isfinite(values).all():
            raise CodecError(f"{what}: {name} has shape {values.shape}, expected {shape}, all finite")
        values.flags.writeable = False
        object.__setattr__(owner, name, values)


@dataclass(frozen=True, eq=False)
class MotionStatistics:
    """The tables for one kind of motion; distances in ticks of 1/25 s, entry 0 is one tick."""

    model_digest: NDArray[np.uint8]
    "(8,) what gives the numbers their meaning: the face model, or the weights of the network that finds the keypoints."
    transform: FloatArray
    "(D, D) coordinates = transform @ parameters."
    limit: FloatArray
    "(L,) the last L parameters are clamped to ± this: the expression's coefficients, or all of the keypoints' numbers."
    mean: NDArray[np.int32]
    "(D,) coordinates of the usual motion in the middle of the frame: the prediction of a frame that refers to none."
    mean_scale: NDArray[np.int16]
    "(D,) 16 log2 of the expected distance from `mean`, in units."
    taps: NDArray[np.int16]
    "(MAX_DISTANCE, D, 2) how much of the last and the last but one movement is added to the reference, Q12."
    scale: NDArray[np.int16]
    "(MAX_DISTANCE, D) 16 log2 of the expected prediction error, in units."
    weights: NDArray[np.int16]
    "(MAX_DISTANCE, WEIGHTS) how far each context moves `scale`, Q8."
    cumulative: NDArray[np.uint16]
    "(CLASSES, SYMBOLS + 1) cumulative frequencies of residuals, -LEVELS first, the escape last."
    kind: MotionKind[Any] = FACE

    def __post_init__(self) -> None:
        size = len(self.mean)
        if not 1 <= self.count <= self.kind.count_limit or size != self.kind.size(self.count):
            raise CodecError(f"motion statistics: {size} coordinates are none of {self.kind.noun}")
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "model_digest": (np.uint8, (8,)),
            "transform": (np.float64, (size, size)),
            "limit": (np.float64, (size - self.kind.size(0),)),
            "mean": (np.int32, (size,)),
            "mean_scale": (np.int16, (size,)),
            "taps": (np.int16, (MAX_DISTANCE, size, 2)),
            "scale": (np.int16, (MAX_DISTANCE, size)),
            "weights": (np.int16, (MAX_DISTANCE, WEIGHTS)),
            "cumulative": (np.uint16, (CLASSES, SYMBOLS + 1)),
        }
        freeze_tables(self, shapes, "motion statistics")
        steps = np.diff(self.cumulative.astype(np.int64), axis=1)
        if (self.cumulative[:, 0] != 0).any() or (self.cumulative[:, -1] != TOTAL).any() or (steps <= 0).any():
            raise CodecError(f"motion statistics: cumulative frequencies must rise from 0 to {TOTAL}")
        if (np.abs(self.mean) > COORDINATE_LIMIT).any():
            raise CodecError("motion statistics: the mean lies outside the coordinates")

    @classmethod
    def load(cls, path: str | Path | None = None) -> MotionStatistics:
        """The tables in the npz file at `path`, or those that ship. Raises CodecError or OSError."""
        path = DEFAULT_PATH if path is None else Path(path)
        retrain = "learn it again: python -m streaming.motion_training"
        arrays = read_tables(path, "motion statistics", retrain)
        version = int(arrays.pop("version", np.array(0)))
        if version != FORMAT_VERSION:
            raise CodecError(
                f"{path}: motion statistics of format {version}, this version reads {FORMAT_VERSION}; {retrain}"
            )
        kinds = {kind.name: kind for kind in KINDS}
        name = str(arrays.pop("kind", np.array("")))
        if name not in kinds:
            raise CodecError(f"{path}: motion statistics of an unknown kind of motion, {name[:40]!r}; {retrain}")
        if set(cls._arrays()) != arrays.keys():
            raise CodecError(f"{path}: expected the arrays {', '.join(sorted(cls._arrays()))}; {retrain}")
        return cls(**arrays, kind=kinds[name])

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in self._arrays()}
        np.savez_compressed(path, version=np.array(FORMAT_VERSION), kind=np.array(self.kind.name), **arrays)

    @classmethod
    def _arrays(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "kind"]

    @property
    def size(self) -> int:
        """D, the number of coordinates."""
        return len(self.mean)

    @property
    def count(self) -> int:
        """E, the coefficients of the face's expression, or K, the keypoints."""
        return (self.size - self.kind.size(0)) // (self.kind.size(1) - self.kind.size(0))

    @cached_property
    def digest(self) -> bytes:
        """(4 bytes) of every table that the two sides must share."""
        state = hashlib.sha256()
        for name in self._arrays():
            array = getattr(self, name)
            state.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return state.digest()[:4]

    @cached_property
    def inverse(self) -> FloatArray:
        """(D, D) parameters = inverse @ coordinates."""
        return np.asarray(np.linalg.inv(self.transform), np.float64)

    @cached_property
    def tables(self) -> list[list[int]]:
        """`cumulative` as Python lists, which the range coder reads fastest."""
        return [[int(value) for value in row] for row in self.cumulative]

    @cached_property
    def costs(self) -> list[list[float]]:
        """(CLASSES, SYMBOLS) bits of each symbol: what the sender weighs, never needed by the receiver."""
        steps = np.diff(self.cumulative.astype(np.float64), axis=1)
        return [[float(value) for value in row] for row in -np.log2(steps / TOTAL)]

    @cached_property
    def expected_levels(self) -> IntArray:
        """(CLASSES,) mean |residual| under each table, in 1/64 step, at least 1."""
        steps = np.diff(self.cumulative.astype(np.int64), axis=1)
        levels = np.abs(np.arange(SYMBOLS) - LEVELS)
        return np.asarray(np.maximum(1, (steps * levels).sum(axis=1) * 64 // TOTAL), np.int64)

    def coordinates(self, motion: Motion, nominal_scale: float) -> IntArray:
        """(D,) integer coordinates of a motion, clamped to what the wire carries.

        Raises CodecError for a motion that these tables are not for.
        """
        kind = kind_of(motion)
        if kind is not self.kind:
            raise CodecError(f"the motion statistics are those of {self.kind.noun}, the motion is {kind.noun}")
        count = kind.count(motion)
        if count != self.count:
            if self.kind is FACE:
                raise CodecError(
                    f"the state has {count} expression coefficients, the motion statistics {self.count}: "
                    "they belong to different face models; python -m streaming.motion_training"
                )
            raise CodecError(
                f"{count} keypoints, the motion statistics are for {self.count}: they belong to different networks"
            )
        parameters = kind.parameters(motion, nominal_scale)
        first = self.size - len(self.limit)
        parameters[first:] = np.clip(parameters[first:], -self.limit, self.limit)
        coordinates = np.rint(self.transform @ parameters * UNITS)
        return np.asarray(np.clip(coordinates, -COORDINATE_LIMIT, COORDINATE_LIMIT), np.int64)

    def motion(self, coordinates: IntArray, nominal_scale: float, time: float, confidence: float) -> Motion:
        """The motion at (D,) integer coordinates."""
        motion: Motion = self.kind.motion(self.inverse @ (coordinates / UNITS), nominal_scale, time, confidence)
        return motion
