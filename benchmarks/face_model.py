"""How well the face model, its fit and the smoothing follow faces that they have never seen: the test identities.

`python -m benchmarks.face_model --data DIR` learns the model with all its directions again (about two minutes), then
measures, every test clip counting the same:

- the reprojection error against the number of expression coefficients, in percent of the outer eye corners' distance,
  with how much of the blinks and of the mouth's opening is kept (slope of the fitted gap over the seen one),
- the same for the shipped model as a call uses it, where the person is learned meanwhile, and the milliseconds of a
  fit,
- what a picture of the driver, taken from the first frame, would show: the landmarks of the source's person in the
  driver's states,
- the lag and the steadiness of the smoothed motion.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import command_line, write_result
from engine.face.fit import FaceFitter, fit_person, fit_source, fit_state, lid_gaps
from engine.face.learn import learn, mouth_gaps
from engine.face.model import FaceModel, Person
from engine.face.regions import LEFT_EYE, LEFT_IRIS, LIPS, MESH_POINTS, RIGHT_EYE, RIGHT_IRIS
from engine.face.smoothing import FaceStateSmoother
from engine.motion import FaceState, rotation_matrix, rotation_vector

logger = logging.getLogger(__name__)

SIZES = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64)
FRAME_SECONDS = 0.04
REGIONS = {
    "mesh": tuple(range(MESH_POINTS)),
    "mouth": LIPS,
    "eyes": (*RIGHT_EYE, *LEFT_EYE),
    "irises": (*RIGHT_IRIS, *LEFT_IRIS),
}


@dataclass(frozen=True, eq=False)
class Clip:
    name: str
    landmarks: NDArray[np.float32]
    "(T, 478, 3) frame coordinates."


def load_clips(data: Path) -> list[Clip]:
    """The test clips' landmarks, frames without a face left out."""
    clips = []
    with open(data / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test" and row["kind"] in ("speech", "expression"):
                with np.load(data / row["landmarks"]) as archive:
                    points = np.ascontiguousarray(archive["lm"], dtype=np.float32)
                points = points[np.isfinite(points).all((1, 2))]
                points[..., :2] -= 0.5
                clips.append(Clip(row["id"], points))
    return clips


def errors(person: Person, states: list[FaceState], clip: Clip) -> dict[str, float]:
    """Mean distances in percent of the eye corners' distance, and slopes of the fitted gaps over the seen ones."""
    shown = np.array([person.landmarks(state) for state in states])
    unit = np.array([state.scale for state in states])
    distance = np.linalg.norm(shown[..., :2] - clip.landmarks[..., :2], axis=2) / unit[:, None] * 100
    result = {name: float(distance[:, list(points)].mean()) for name, points in REGIONS.items()}
    result["lid_gap_kept"] = slope(lid_gaps(clip.landmarks[..., :2]).mean(1), lid_gaps(shown[..., :2]).mean(1))
    result["mouth_gap_kept"] = slope(mouth_gaps(clip.landmarks[..., :2]), mouth_gaps(shown[..., :2]))
    return result


def slope(seen: NDArray[np.float64], shown: NDArray[np.float64]) -> float:
    """Of the regression line of `shown` over `seen`: 1 where the whole movement is kept."""
    return float(np.polyfit(seen, shown, 1)[0])


def average(results: list[dict[str, float]]) -> dict[str, float]:
    """Name by name over the clips."""
    return {name: round(float(np.mean([result[name] for result in results])), 4) for name in results[0]}


def follow(model: FaceModel, person: Person, clip: Clip) -> list[FaceState]:
    """Every frame fitted for a known person, each from the one before."""
    states: list[FaceState] = []
    for number, points in enumerate(clip.landmarks):
        states.append(fit_state(model, person, points, states[-1] if states else None, number * FRAME_SECONDS))
    return states


def curve(wide: FaceModel, clips: list[Clip]) -> list[dict[str, float]]:
    """Errors against the number of coefficients; the person is known from 40 frames of the clip."""
    rows = []
    for size in SIZES:
        model = wide.with_expression_size(size)
        results = []
        for clip in clips:
            person = fit_person(model, clip.landmarks[:: max(1, len(clip.landmarks) // 40)])
            results.append(errors(person, follow(model, person, clip), clip))
        rows.append({"coefficients": size, **average(results)})
        logger.info("%s", rows[-1])
    return rows


def in_a_call(model: FaceModel, clips: list[Clip]) -> dict[str, float]:
    """The online fitter, which learns the person meanwhile."""
    results, milliseconds, jumps, moves = [], [], [], []
    for clip in clips:
        fitter = FaceFitter(model)
        shown, states = [], []
        for number, points in enumerate(clip.landmarks):
            start = time.perf_counter()
            states.append(fitter.fit(points, number * FRAME_SECONDS))
            milliseconds.append((time.perf_counter() - start) * 1e3)
            shown.append(fitter.person.landmarks(states[-1]))
        unit = np.array([state.scale for state in states])
        distance = np.linalg.norm(np.array(shown)[..., :2] - clip.landmarks[..., :2], axis=2) / unit[:, None] * 100
        results.append({name: float(distance[:, list(points)].mean()) for name, points in REGIONS.items()})
        # Learning must not show: the drift of the expression against a fitter that knows the settled person.
        known = follow(model, fitter.person, clip)
        drift = np.array([a.expression - b.expression for a, b in zip(states, known, strict=True)])
        jumps.append(float(np.linalg.norm(np.diff(drift, axis=0), axis=1).max()) * 100)
        moves.append(float(np.quantile([np.linalg.norm(a.expression - b.expression)
                                        for a, b in zip(known[1:], known, strict=False)], 0.95)) * 100)  # fmt: skip
    return {
        **average(results),
        "fit_ms_median": round(float(np.median(milliseconds)), 3),
        "fit_ms_p95": round(float(np.quantile(milliseconds, 0.95)), 3),
        "learning_step_largest_percent": round(max(jumps), 4),
        "expression_step_p95_percent": round(float(np.mean(moves)), 4),
    }


def driving_own_picture(model: FaceModel, clips: list[Clip]) -> dict[str, dict[str, float]]:
    """The source is the first frame. Its person's landmarks, driven by the states of two drivers, against the truth."""
    online, known, still = [], [], []
    for clip in clips:
        person, source = fit_source(model, clip.landmarks[0])
        fitter = FaceFitter(model)  # not told of the source, and so it learns the driver
        states = [fitter.fit(points, number * FRAME_SECONDS) for number, points in enumerate(clip.landmarks)]
        online.append(errors(person, states, clip))
        known.append(errors(person, follow(model, person, clip), clip))
        unmoved = errors(person, [source] * len(states), clip)
        still.append({name: value for name, value in unmoved.items() if name in REGIONS})
    return {
        "driver_learned_meanwhile": average(online),
        "driver_known_to_be_the_source": average(known),
        "still_source": average(still),
    }


def delay(raw: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Milliseconds by which (T, N) `smoothed` comes late; to first order, smoothed = raw - delay * raw's speed."""
    speed = np.gradient(raw, FRAME_SECONDS, axis=0)
    return float((speed * (raw - smoothed)).sum() / np.square(speed).sum() * 1e3)


def calm_frames(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(T,) where a low-passed (T, N) signal moves least: the calmest third."""
    kernel = np.ones(9) / 9
    slow = np.stack([np.convolve(column, kernel, "same") for column in values.T], 1)
    speed = np.linalg.norm(np.gradient(slow, axis=0), axis=1)
    return np.asarray(speed <= np.quantile(speed, 1 / 3))


def signals(person: Person, states: list[FaceState]) -> dict[str, NDArray[np.float64]]:
    """(T, N) each, in the units of `FaceState`; gaps as in `errors`."""
    base = rotation_matrix(states[0].rotation).T
    shape = np.array([person.shape(state) for state in states])
    return {
        "rotation": np.array([rotation_vector(base @ rotation_matrix(state.rotation)) for state in states]),
        "translation": np.array([state.translation / state.scale for state in states], np.float64),
        "scale": np.log([[state.scale] for state in states]),
        "expression": np.array([state.expression for state in states], np.float64),
        "mouth_gap": mouth_gaps(shape)[:, None],
        "lid_gap": lid_gaps(shape),
        "gaze": np.array([state.gaze for state in states], np.float64),
    }


def smoothing(model: FaceModel, clips: list[Clip]) -> dict[str, Any]:
    """Lag and steadiness per signal, medians over the clips, and the lag of a synthetic nod and blink."""
    rows: dict[str, list[tuple[float, float]]] = {}
    blinks: list[float] = []
    for clip in clips:
        person = fit_person(model, clip.landmarks[:: max(1, len(clip.landmarks) // 40)])
        states = follow(model, person, clip)
        smoother = FaceStateSmoother(model)
        raw, smoothed = signals(person, states), signals(person, [smoother.step(state) for state in states])
        for name, values in raw.items():
            calm = calm_frames(values)[1:-1]
            before, after = (np.linalg.norm(np.diff(x, 2, axis=0), axis=1)[calm] for x in (values, smoothed[name]))
            ratio = float(np.sqrt(np.square(after).mean() / np.square(before).mean()))
            rows.setdefault(name, []).append((delay(values, smoothed[name]), ratio))
        blinks += blink_depths(raw["lid_gap"].mean(1), smoothed["lid_gap"].mean(1))
    table = {
        name: {
            "lag_ms": round(float(np.median([lag for lag, _ in values])), 2),
            "jitter_kept_when_calm": round(float(np.median([ratio for _, ratio in values])), 3),
        }
        for name, values in rows.items()
    }
    return {
        "signals": table,
        "blinks": len(blinks),
        "blink_depth_kept_median": round(float(np.median(blinks)), 3),
        "blink_depth_kept_p10": round(float(np.quantile(blinks, 0.1)), 3),
        "nod_of_10_degrees_in_300_ms_lag_ms": synthetic_lag(model, _nod, 300),
        "mouth_opening_in_120_ms_lag_ms": synthetic_lag(model, _mouth, 120),
    }


def blink_depths(raw: NDArray[np.float64], smoothed: NDArray[np.float64]) -> list[float]:
    """Per blink (the gap falls by half its usual size for a short time), how much of its depth is kept."""
    usual = float(np.median(raw))
    depths = []
    closed = raw < 0.6 * usual
    starts = np.flatnonzero(closed[1:] & ~closed[:-1]) + 1
    for start in starts:
        stop = start + int(np.argmin(closed[start:])) if not closed[start:].all() else len(raw)
        if stop - start <= 8:  # longer: looking down or resting the eyes
            depths.append(
                (usual - float(smoothed[start : stop + 2].min())) / (usual - float(raw[start : stop + 2].min()))
            )
    return depths


def _rest(model: FaceModel, seconds: float) -> FaceState:
    zeros = np.zeros(model.expression_size, np.float32)
    return FaceState(zeros[:3], zeros[:2], 0.3, zeros, zeros[:2], seconds)


def _nod(model: FaceModel, share: float, seconds: float) -> FaceState:
    return replace(_rest(model, seconds), rotation=np.array((np.radians(10) * share, 0, 0), np.float32))


def _mouth(model: FaceModel, share: float, seconds: float) -> FaceState:
    expression = np.zeros(model.expression_size, np.float32)
    expression[0] = 2.0 * share * model.expression_deviation[0]
    return replace(_rest(model, seconds), expression=expression)


def synthetic_lag(model: FaceModel, make: Callable[[FaceModel, float, float], FaceState], duration_ms: float) -> float:
    """Milliseconds by which the middle of a minimum-jerk movement at 25 frames a second comes late."""
    times = np.arange(75) * FRAME_SECONDS
    phase = np.clip((times - 1.0) / (duration_ms / 1e3), 0, 1)
    shares = phase**3 * (10 - 15 * phase + 6 * phase**2)
    smoother = FaceStateSmoother(model)
    steps = [smoother.step(make(model, share, seconds)) for share, seconds in zip(shares, times, strict=True)]
    rest, end = make(model, 0.0, 0.0), make(model, 1.0, 0.0)
    direction = np.concatenate((end.rotation - rest.rotation, end.expression - rest.expression))
    values = [np.concatenate((one.rotation, one.expression)) @ direction / (direction @ direction) for one in steps]
    fine = np.linspace(times[0], times[-1], 20000)
    crossings = [fine[np.argmax(np.interp(fine, times, curve) >= 0.5)] for curve in (shares, np.array(values))]
    return round(float(crossings[1] - crossings[0]) * 1e3, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and landmarks/")
    parser.add_argument("--wide", type=Path, help="a model with 64 directions made before, instead of learning it")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "face_model.json")
    parser.add_argument("--no-curve", action="store_true", help="only the shipped model")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips = load_clips(arguments.data)
    figures: dict[str, Any] = {"clips": len(clips), "frames": sum(len(clip.landmarks) for clip in clips)}
    model = FaceModel.load()
    if not arguments.no_curve:
        figures["curve"] = curve(FaceModel.load(arguments.wide) if arguments.wide else learn(arguments.data), clips)
    figures["shipped_coefficients"] = model.expression_size
    for name, measure in (("in_a_call", in_a_call), ("own_picture", driving_own_picture), ("smoothing", smoothing)):
        figures[name] = measure(model, clips)
        logger.info("%s: %s", name, figures[name])
    write_result(arguments.output, command_line(), figures)


if __name__ == "__main__":
    main()
