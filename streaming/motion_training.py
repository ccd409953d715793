"""Learn the motion codec's tables from tracks.

    python -m streaming.motion_training --data DIR                     of faces: the tables that ship
    python -m streaming.motion_training --keypoints TRACKS -o FILE     of the keypoints of one network
    python -m streaming.motion_training --keypoints TRACKS --general   of any network's keypoints: those that ship

Run it again whenever the face model (or the network's weights) change: coordinates, predictor taps and probabilities
all follow from it. The codec's own prediction and quantisation run on the tracks at several round trips (closed loop),
because the frames that it predicts from carry its own errors; tables and tracks are fitted in turns.

TRACKS is what `streaming.keypoint_tracks` saves, by way of `python -m benchmarks.keypoint_rate --generator NAME
--save-tracks TRACKS`. FILE belongs beside the weights, as `motion_statistics.npz`; then both sides of a call must have
it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.face.fit import FaceFitter
from engine.face.model import FaceModel, Person
from engine.face.smoothing import FaceStateSmoother
from engine.motion import FaceState
from streaming.codec import CodecConfig
from streaming.keypoint_statistics import DEFAULT_PATH as GENERAL_PATH
from streaming.keypoint_statistics import (
    JACOBIAN_RADIUS,
    GeneralStatistics,
    coordinate_classes,
    general_transform,
    keypoint_limit,
    keypoint_metric,
)
from streaming.keypoint_tracks import KeypointTracks
from streaming.motion_kind import FACE, HEAD_SIZE, KEYPOINTS, NUMBERS_OF_A_KEYPOINT, POSE_SIZE, MotionKind
from streaming.motion_prediction import (
    HISTORY,
    TRAINED_FPS,
    Frame,
    decoded_frame,
    expected_levels,
    first_prediction,
    predict,
    prediction_contexts,
)
from streaming.motion_statistics import (
    CLASS_OF_ONE,
    CLASSES,
    DEFAULT_PATH,
    LEVELS,
    MAX_DISTANCE,
    SYMBOLS,
    TAP_BITS,
    UNITS,
    WEIGHT_BITS,
    WEIGHTS,
    FloatArray,
    IntArray,
    MotionStatistics,
    logarithm,
    logarithms,
)
from streaming.range_coder import TOTAL
from streaming.residual_coding import SHIFT_LIMIT, choose_residuals

logger = logging.getLogger(__name__)

DEPTH_WEIGHT = 0.02
"Weight of a displacement in depth against one in the picture."
VIEWS = ((0.0, 0.0), (0.25, 0.0), (-0.25, 0.0), (0.0, 0.2), (0.0, -0.2))
"(yaw, pitch) in radians at which the parameters' effect on the landmarks is measured."
_DISTANCES = (1, 2, 3, 4, 6, 8, 11, 16, 24, 32)
_DEAD_ZONE = 0.6
"About where the sender's choice goes from no step to one: only the starting tables need it."


@dataclass
class _Recording:
    """What the closed loop saw at one distance, a row per frame."""

    residuals: list[list[int]] = field(default_factory=list)
    targets: list[IntArray] = field(default_factory=list)
    "What had to be added to the reference, (D,) units."
    steps: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    contexts: list[IntArray] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingConfig:
    """How the tables are learned."""

    step: float = 0.0019
    "Quantisation step of the closed loop, outer-eye-corner distances; the tables serve other steps as well."
    bit_price: float = 0.12
    "As in `streaming.codec.CodecConfig`."
    rounds: int = 3
    "Turns of running the codec and fitting the tables to what it did."
    frames: int = 100
    "Frames of each track that are used at each distance."
    expression_room: float = 4.0
    "Expression coefficients may be so many times larger than the largest that was seen."


def model_digest(model: FaceModel) -> bytes:
    """(8 bytes) of everything that gives expression coefficients their meaning."""
    state = hashlib.sha256()
    for name in sorted(entry.name for entry in fields(model)):
        state.update(np.ascontiguousarray(getattr(model, name), dtype="<f4").tobytes())
    return state.digest()[:8]


def parameters(states: Sequence[FaceState]) -> FloatArray:
    """(T, D) of a track, relative to its median scale."""
    nominal = float(np.median([state.scale for state in states]))
    return np.stack([FACE.parameters(state, nominal) for state in states])


def landmark_sensitivity(model: FaceModel) -> FloatArray:
    """(D, D) S: dp' S dp is the mean squared landmark displacement, outer-eye-corner distances, of a change dp."""
    person = model.person()
    size = HEAD_SIZE + model.expression_size
    delta = 1e-2
    result = np.zeros((size, size))

    def landmarks(values: FloatArray) -> FloatArray:
        pose = values[:POSE_SIZE].astype(np.float32)
        rest = values[POSE_SIZE:].astype(np.float32)
        state = FaceState(pose[:3], pose[3:5], float(np.exp(values[5])), expression=rest[2:], gaze=rest[:2])
        return person.landmarks(state).astype(np.float64)

    for yaw, pitch in VIEWS:
        base = np.zeros(size)
        base[:2] = pitch, yaw
        changes = np.stack([landmarks(base + step) - landmarks(base - step) for step in np.eye(size) * delta]) / (
            2 * delta
        )
        changes[..., 2] *= np.sqrt(DEPTH_WEIGHT)
        flat = changes.reshape(size, -1)
        result += flat @ flat.T / (changes.shape[1] * len(VIEWS))
    return result


@dataclass(frozen=True, eq=False)
class ClipTrack:
    """What a sender sees and sends of one clip; T frames with a face."""

    name: str
    states: list[FaceState]
    "(T,) fitted and smoothed online."
    landmarks: NDArray[np.float32]
    "(T, 478, 3) as detected, frame coordinates."
    person: Person
    "As known at the end."


def clip_tracks(data: Path, model: FaceModel, split: str) -> Iterator[ClipTrack]:
    """The clips of real people in a data pack that have at least a few frames with a face."""
    with open(data / "manifest.csv", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["split"] == split and row["kind"] in ("speech", "expression")
        ]
    for row in rows:
        with np.load(data / row["landmarks"]) as archive:
            landmarks = np.ascontiguousarray(archive["lm"], dtype=np.float32)
        landmarks[..., :2] -= 0.5
        fitter, smoother = FaceFitter(model), FaceStateSmoother(model)
        seen = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
        states = [smoother.step(fitter.fit(landmarks[frame], time=frame / TRAINED_FPS)) for frame in seen]
        if len(states) > HISTORY:
            yield ClipTrack(row["id"], states, landmarks[seen], fitter.person)


def expression_limit(tracks: Sequence[FloatArray], config: TrainingConfig | None = None) -> FloatArray:
    """(E,) how large expression coefficients may be, from tracks of a face's parameters, (T, D) each."""
    room = (config or TrainingConfig()).expression_room
    result: FloatArray = room * np.abs(np.concatenate(tracks)[:, HEAD_SIZE:]).max(axis=0)
    return result


def learn_statistics(
    tracks: Sequence[FloatArray],
    sensitivity: FloatArray,
    limit: FloatArray,
    digest: bytes,
    config: TrainingConfig | None = None,
    kind: MotionKind[Any] = FACE,
) -> MotionStatistics:
    """Tables for tracks of parameters at 25 frames a second.

    tracks: (T, D) each (`streaming.motion_kind`), translation already divided by the track's nominal scale.
    sensitivity: (D, D), what a change of the parameters counts: `landmark_sensitivity`, `keypoint_metric`.
    limit: (L,) how large the last L parameters may be: `expression_limit`, `keypoint_limit`.
    digest: (8 bytes) of the face model, or of the network's weights.
    """
    return _learn(tracks, _transform(tracks, sensitivity), limit, digest, config or TrainingConfig(), kind)


def learn_keypoint_statistics(
    tracks: Sequence[FloatArray], digest: bytes, config: TrainingConfig | None = None
) -> MotionStatistics:
    """Tables for one network's keypoints, from tracks of their parameters, (T, 6K) each, at 25 frames a second."""
    count = tracks[0].shape[1] // NUMBERS_OF_A_KEYPOINT
    config = config or TrainingConfig(step=CodecConfig.keypoint_step)
    return learn_statistics(tracks, keypoint_metric(count), keypoint_limit(count), digest, config, KEYPOINTS)


def learn_general_statistics(tracks: Sequence[FloatArray], config: TrainingConfig | None = None) -> GeneralStatistics:
    """Tables for any keypoints, from tracks of some network's: as if nobody knew which keypoint is which."""
    count = tracks[0].shape[1] // NUMBERS_OF_A_KEYPOINT
    config = config or TrainingConfig(step=CodecConfig.keypoint_step)
    common_axes, own_axes = _general_axes(tracks)
    classes = coordinate_classes(count)
    statistics = _learn(
        tracks, general_transform(count, common_axes, own_axes), keypoint_limit(count), bytes(8), config, KEYPOINTS,
        classes,
    )  # fmt: skip
    first = np.array([np.flatnonzero(classes == number)[0] for number in range(2 * NUMBERS_OF_A_KEYPOINT)])
    shorter = np.where(first < NUMBERS_OF_A_KEYPOINT, logarithm(count) // 2, 0)
    everything = np.concatenate(tracks)
    points, jacobians = everything[:, : 2 * count].reshape(-1, 2), everything[:, 2 * count :].reshape(-1, 4)
    return GeneralStatistics(
        mean=np.concatenate([np.median(points, axis=0), np.median(jacobians, axis=0)]),
        common_axes=common_axes,
        own_axes=own_axes,
        mean_scale=(statistics.mean_scale[first] - shorter).astype(np.int16),
        taps=statistics.taps[:, first],
        scale=(statistics.scale[:, first] - shorter).astype(np.int16),
        weights=statistics.weights,
        cumulative=statistics.cumulative,
    )


def _learn(
    tracks: Sequence[FloatArray],
    transform: FloatArray,
    limit: FloatArray,
    digest: bytes,
    config: TrainingConfig,
    kind: MotionKind[Any],
    classes: IntArray | None = None,
) -> MotionStatistics:
    """classes: (D,) coordinates of one class share their taps and sizes; all but the common ones then have mean 0."""
    targets = [np.rint(track @ transform.T * UNITS).astype(np.int64) for track in tracks]
    everything = np.concatenate(targets)
    mean = np.rint(np.median(everything, axis=0))
    size = everything.shape[1]
    if classes is None:
        classes = np.arange(size)
    else:
        mean[classes >= NUMBERS_OF_A_KEYPOINT] = 0
    units = round(config.step * UNITS)
    statistics = MotionStatistics(
        model_digest=np.frombuffer(digest, dtype=np.uint8),
        transform=transform,
        limit=limit,
        mean=mean.astype(np.int32),
        mean_scale=_log16(_by_class(np.abs(everything - mean).mean(axis=0), classes)),
        taps=np.zeros((MAX_DISTANCE, size, 2), dtype=np.int16),
        scale=_by_distance([_log16(_by_class(_mean_change(targets, d), classes)) for d in _DISTANCES]),
        weights=np.zeros((MAX_DISTANCE, WEIGHTS), dtype=np.int16),
        cumulative=_cumulative(_laplace_tables()),
        kind=kind,
    )
    for turn in range(1, config.rounds + 1):
        logger.info("round %d of %d, over a minute each", turn, config.rounds)
        recordings = {d: _record(statistics, targets, d, config) for d in _DISTANCES}
        taps = {d: _fit_taps(recording, classes) for d, recording in recordings.items()}
        fits = {d: _fit_sizes(statistics, recording, d, units, classes) for d, recording in recordings.items()}
        statistics = replace(
            statistics,
            taps=_by_distance([taps[d] for d in _DISTANCES]),
            scale=_by_distance([fits[d].scale for d in _DISTANCES]),
            weights=_by_distance([fits[d].weights for d in _DISTANCES]),
            cumulative=_cumulative(_counts([fit.counts for fit in fits.values()])),
        )
    return statistics


def _by_class(values: FloatArray, classes: IntArray) -> FloatArray:
    """(D, ...) with each row replaced by the mean of its class."""
    numbers = np.bincount(classes)
    sums = np.zeros((len(numbers), *values.shape[1:]))
    np.add.at(sums, classes, values)
    result: FloatArray = (sums / numbers.reshape(-1, *[1] * (values.ndim - 1)))[classes]
    return result


def _general_axes(tracks: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """(6, 6) each: along which what keypoints have in common moves most in two ticks, and what sets them apart."""
    count = tracks[0].shape[1] // NUMBERS_OF_A_KEYPOINT
    changes = np.concatenate([track[2:] - track[:-2] for track in tracks])
    numbers = np.concatenate(
        [
            changes[:, : 2 * count].reshape(-1, count, 2),
            JACOBIAN_RADIUS * changes[:, 2 * count :].reshape(-1, count, 4),
        ],
        axis=2,
    )
    common = numbers.mean(axis=1)
    own = (numbers - common[:, None]).reshape(-1, NUMBERS_OF_A_KEYPOINT)
    common_axes, own_axes = (np.linalg.eigh(values.T @ values)[1][:, ::-1].T for values in (common, own))
    return common_axes, own_axes


@dataclass(frozen=True, eq=False)
class _SizeFit:
    """The best expected sizes at one distance."""

    scale: NDArray[np.int16]
    "(D,)"
    weights: NDArray[np.int16]
    "(WEIGHTS,)"
    counts: FloatArray
    "(CLASSES, SYMBOLS) of the residuals under them."


def _transform(tracks: Sequence[FloatArray], sensitivity: FloatArray) -> FloatArray:
    """(D, D) the metric's square root, turned to the axes along which frames two ticks apart differ most."""
    values, vectors = np.linalg.eigh(sensitivity)
    if values[0] <= 0:
        raise ValueError("sensitivity: a parameter moves no landmark")
    root = vectors * np.sqrt(values) @ vectors.T
    changes = np.concatenate([track[2:] - track[:-2] for track in tracks]) @ root.T
    _, axes = np.linalg.eigh(changes.T @ changes)
    result: FloatArray = axes[:, ::-1].T @ root
    return result


def _record(
    statistics: MotionStatistics, targets: Sequence[IntArray], distance: int, config: TrainingConfig
) -> _Recording:
    recording = _Recording()
    units, bit_price = round(config.step * UNITS), config.bit_price
    for track in targets:
        decoded: list[Frame] = []
        for tick, target in enumerate(track[: config.frames + distance]):
            reference = tick - distance
            if reference < 0:
                prediction = first_prediction(statistics, units)
                residuals = choose_residuals(statistics, prediction, target, units, bit_price)
                decoded.append(decoded_frame(prediction, residuals, tick, 0, 0, units))
                continue
            older = decoded[max(0, reference - HISTORY) : reference][::-1]
            prediction = predict(statistics, decoded[reference], older, distance, units, TRAINED_FPS)
            residuals = choose_residuals(statistics, prediction, target, units, bit_price)
            decoded.append(decoded_frame(prediction, residuals, tick, distance, 0, units))
            if reference >= 2:
                x0, x1, x2 = (decoded[reference - back].coordinates for back in range(3))
                recording.residuals.append(residuals)
                recording.targets.append(target - x0)
                recording.steps.append((x0 - x1, x1 - x2))
                contexts = prediction_contexts(decoded[reference], x0 - x1, x1 - x2)
                recording.contexts.append(np.stack([np.broadcast_to(context, x0.shape) for context in contexts]))
    return recording


def _fit_taps(recording: _Recording, classes: IntArray) -> NDArray[np.int16]:
    """(D, 2) least squares with a little ridge, so that a coordinate that hardly moves gets no taps."""
    steps = np.array(recording.steps, dtype=np.float64).transpose(2, 0, 1)  # (D, N, 2)
    targets = np.array(recording.targets, dtype=np.float64).T[..., None]  # (D, N, 1)
    gram = _by_class(steps.transpose(0, 2, 1) @ steps, classes)
    ridge = np.eye(2) * (16.0 * steps.shape[1])
    taps = np.linalg.solve(gram + ridge, _by_class(steps.transpose(0, 2, 1) @ targets, classes))[..., 0]
    result: NDArray[np.int16] = np.rint(np.clip(taps, -7.9, 7.9) * (1 << TAP_BITS)).astype(np.int16)
    return result


def _fit_sizes(
    statistics: MotionStatistics, recording: _Recording, distance: int, units: int, classes: IntArray
) -> _SizeFit:
    """Adam on the code length, as a function of the expected size, by the slope between neighbouring tables."""
    residuals = np.array(recording.residuals)
    contexts = np.array(recording.contexts, dtype=np.float64)
    levels = np.abs(residuals)
    costs = np.array(statistics.costs)
    log_units = logarithm(units)
    scale = statistics.scale[distance - 1].astype(np.float64)
    weights = statistics.weights[distance - 1] / (1 << WEIGHT_BITS)
    parameters = np.concatenate([scale, weights])
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    rows = np.arange(len(residuals)) if len(residuals) < 6000 else np.linspace(0, len(residuals) - 1, 6000).astype(int)
    iterations = 120
    for iteration in range(1, iterations + 1):
        size, inner = _sizes(statistics, parameters, contexts[rows], levels[rows], log_units)
        # Half a table to either side: a floor of the size would see no slope within a table.
        table = np.floor(size / 4 + CLASS_OF_ONE - 0.5).astype(int)
        slope = (_code_length(costs, table + 1, residuals[rows]) - _code_length(costs, table, residuals[rows])) / 4
        gradient = np.concatenate(
            [
                _by_class(slope.sum(axis=0) * 2, classes),
                np.einsum("nd,ncd->c", slope, contexts[rows]),
                [(slope * inner).sum()],
            ]
        ) / len(rows)
        gradient[len(scale) :] /= 8
        first = 0.9 * first + 0.1 * gradient
        second = 0.98 * second + 0.02 * gradient**2
        rate = np.concatenate([np.full(len(scale), 1.5), np.full(WEIGHTS, 0.03)]) * (1 - iteration / (iterations + 1))
        change = first / (1 - 0.9**iteration) / (np.sqrt(second / (1 - 0.98**iteration)) + 1e-4)
        parameters -= rate * change
    size, _ = _sizes(statistics, parameters, contexts, levels, log_units)
    table, _, symbol = _symbols(np.floor(size / 4 + CLASS_OF_ONE).astype(int), residuals)
    counts = np.zeros((CLASSES, SYMBOLS))
    np.add.at(counts, (table, symbol), 1)
    limits = 1 << WEIGHT_BITS
    return _SizeFit(
        np.rint(np.clip(parameters[: len(scale)], -400, 400)).astype(np.int16),
        np.rint(np.clip(parameters[len(scale) :], -4, 4) * limits).astype(np.int16),
        counts,
    )


def _sizes(
    statistics: MotionStatistics, parameters: FloatArray, contexts: FloatArray, levels: IntArray, log_units: int
) -> tuple[FloatArray, FloatArray]:
    """(N, D) expected sizes as `streaming.residual_coding` has them, and the context that it adds itself."""
    scale, weights = parameters[:-WEIGHTS], parameters[-WEIGHTS:]
    before = scale - log_units + np.einsum("c,ncd->nd", weights[:-1], contexts)
    expected = expected_levels(statistics, np.floor(before).astype(np.int64))
    inner = np.zeros(levels.shape)
    if levels.shape[1] > 1:
        observed = 64 + 64 * np.cumsum(levels, axis=1)[:, :-1]
        inner[:, 1:] = logarithms(observed) - logarithms(64 + np.cumsum(expected, axis=1)[:, :-1])
    return before + weights[-1] * inner, inner


def _symbols(table: IntArray, residuals: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The table, shift and symbol that `streaming.residual_coding` uses at each expected size."""
    shift = np.clip((table - CLASSES + 4) >> 2, 0, SHIFT_LIMIT)
    high = residuals >> shift
    return (
        np.clip(table - 4 * shift, 0, CLASSES - 1),
        shift,
        np.where(np.abs(high) <= LEVELS, high + LEVELS, SYMBOLS - 1),
    )


def _code_length(costs: FloatArray, table: IntArray, residuals: IntArray) -> FloatArray:
    """Bits of each residual."""
    table, shift, symbol = _symbols(table, residuals)
    escaped = np.where(symbol == SYMBOLS - 1, 6 + np.log2(np.maximum(np.abs(residuals >> shift) - LEVELS, 1)), 0)
    result: FloatArray = costs[table, symbol] + shift + escaped
    return result


def _laplace_tables() -> FloatArray:
    """(CLASSES, SYMBOLS) probabilities to start from: a Laplace distribution with a heavier tail mixed in."""
    sizes = 2.0 ** ((np.arange(CLASSES) - CLASS_OF_ONE + 0.5) / 4)
    tables = np.zeros((CLASSES, SYMBOLS))
    for share, spread in ((0.85, 0.85), (0.15, 2.5)):
        beyond = np.exp(-(np.arange(LEVELS + 1) + _DEAD_ZONE) / (sizes[:, None] * spread))  # P(level > n)
        tables[:, LEVELS] += share * (1 - beyond[:, 0])
        one_side = share * (beyond[:, :-1] - beyond[:, 1:]) / 2
        tables[:, LEVELS + 1 : -1] += one_side
        tables[:, :LEVELS] += one_side[:, ::-1]
        tables[:, -1] += share * beyond[:, -1]
    return tables


def _counts(counts: Sequence[FloatArray]) -> FloatArray:
    """(CLASSES, SYMBOLS) probabilities: what was seen, both signs together, and the starting tables as 200 symbols."""
    seen = np.sum(counts, axis=0)
    seen[:, :-1] = (seen[:, :-1] + seen[:, -2::-1]) / 2
    seen += 200 * _laplace_tables()
    result: FloatArray = seen / seen.sum(axis=1, keepdims=True)
    return result


def _cumulative(probabilities: FloatArray) -> NDArray[np.uint16]:
    """(CLASSES, SYMBOLS + 1) integers from 0 to TOTAL; each symbol keeps at least 1, the rest goes to residual 0."""
    frequencies = 1 + np.floor(probabilities * (TOTAL - SYMBOLS)).astype(np.int64)
    frequencies[:, LEVELS] += TOTAL - frequencies.sum(axis=1)
    return np.concatenate([np.zeros((CLASSES, 1)), np.cumsum(frequencies, axis=1)], axis=1).astype(np.uint16)


def _by_distance(values: Sequence[NDArray[np.int16]]) -> NDArray[np.int16]:
    """Values at _DISTANCES, interpolated to 1 ... MAX_DISTANCE."""
    known = np.array(values, dtype=np.float64)
    result = np.empty((MAX_DISTANCE, *known.shape[1:]))
    for distance in range(1, MAX_DISTANCE + 1):
        upper = int(np.searchsorted(_DISTANCES, distance))
        lower = upper if _DISTANCES[upper] == distance else upper - 1
        span = _DISTANCES[upper] - _DISTANCES[lower]
        share = (distance - _DISTANCES[lower]) / span if span else 0.0
        result[distance - 1] = (1 - share) * known[lower] + share * known[upper]
    rounded: NDArray[np.int16] = np.rint(result).astype(np.int16)
    return rounded


def _mean_change(targets: Sequence[IntArray], distance: int) -> FloatArray:
    changes = [np.abs(track[distance:] - track[:-distance]) for track in targets if len(track) > distance]
    result: FloatArray = np.concatenate(changes).mean(axis=0)
    return result


def _log16(values: FloatArray) -> NDArray[np.int16]:
    result: NDArray[np.int16] = np.rint(16 * np.log2(np.maximum(values, 1))).astype(np.int16)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="of faces: folder with manifest.csv and landmarks/")
    what.add_argument("--keypoints", type=Path, help="of keypoints: npz file of tracks; the split `train` is used")
    parser.add_argument("--general", action="store_true", help="with --keypoints: tables for any network")
    parser.add_argument("--tracks", type=int, help="use so many of the tracks, evenly spread (all)")
    parser.add_argument("-o", "--output", type=Path, help="npz file to write (by default where those that ship are)")
    arguments = parser.parse_args()
    if arguments.general and arguments.keypoints is None:
        parser.error("--general: needs --keypoints")
    if arguments.keypoints is not None and not arguments.general and arguments.output is None:
        parser.error("-o: say where; beside the weights of the network, as motion_statistics.npz")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.keypoints is None:
        model = FaceModel.load()
        tracks = _some([parameters(track.states) for track in clip_tracks(arguments.data, model, "train")], arguments)
        digest = model_digest(model)
        learned = learn_statistics(tracks, landmark_sensitivity(model), expression_limit(tracks), digest)
    else:
        found = KeypointTracks.load(arguments.keypoints)
        tracks = _some(
            [
                np.stack([KEYPOINTS.parameters(motion, 1.0) for motion in track.motions])
                for track in found.split("train")
            ],
            arguments,
        )
        if arguments.general:
            path = arguments.output or GENERAL_PATH
            learn_general_statistics(tracks).save(path)
            logger.info("wrote %s: tables for any keypoints", path)
            return
        learned = learn_keypoint_statistics(tracks, found.digest)
    path = arguments.output or DEFAULT_PATH
    learned.save(path)
    logger.info(
        "wrote %s: %s, count %d, of %s, tables %s",
        path, learned.kind.noun, learned.count, learned.model_digest.tobytes().hex(), learned.digest.hex(),
    )  # fmt: skip


def _some(tracks: list[FloatArray], arguments: argparse.Namespace) -> list[FloatArray]:
    """The tracks that are asked for."""
    if arguments.tracks is not None:
        picked = np.unique(np.linspace(0, len(tracks) - 1, min(max(arguments.tracks, 1), len(tracks))).astype(int))
        tracks = [tracks[index] for index in picked]
    logger.info("%d tracks, %d frames", len(tracks), sum(map(len, tracks)))
    return tracks


if __name__ == "__main__":
    main()
