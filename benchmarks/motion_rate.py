"""Bits of motion on the wire, and what they cost in landmark error: `python -m benchmarks.motion_rate --data DIR`.

Test clips are fitted and smoothed as a sender does it, coded, and decoded. Two errors, both in percent of the distance
of the outer eye corners:

- *coding error*: mean distance between the landmarks of the decoded and of the original state (the strict one),
- *added error*: by how much the mean distance to the detected landmarks grows.

`benchmarks.codec_run` says what the rates count, and what the baseline is.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec_run import OPEN_CODE_BITS, Coded, Numbers, at_error, code, milliseconds, order_zero
from benchmarks.environment import command_line, write_result
from engine.face.model import FaceModel
from engine.face.regions import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from engine.motion import FaceState, Motion
from streaming.codec import CodecConfig
from streaming.motion_statistics import MotionStatistics
from streaming.motion_training import ClipTrack, clip_tracks

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parent / "results" / "motion_rate.json"
STEPS = (0.0010, 0.0014, CodecConfig.step, 0.0025, 0.0035, 0.0050)
DELAYS = (0, 1, 2, 5, 10)
LOSSES = (0.0, 0.05, 0.2)


@dataclass(frozen=True)
class Point:
    """One setting over all clips; every frame counts the same."""

    step: float
    delay: int
    loss: float
    bits: float
    "Mean of a steady frame."
    kbps: float
    kbps_with_start: float
    coding_error: float
    "Percent, frames that arrived."
    coding_error_p95: float
    added_error: float
    clips: dict[str, tuple[float, float]]
    "Name: steady kbps, coding error."


class Judge:
    """Landmark errors of one clip."""

    def __init__(self, track: ClipTrack) -> None:
        self._person = track.person
        self._detected = track.landmarks[..., :2]
        self._original = self._landmarks(track.states)
        corners = self._original[:, RIGHT_EYE_OUTER] - self._original[:, LEFT_EYE_OUTER]
        self._unit = np.linalg.norm(corners, axis=-1) / 100
        self._before = self._distance(self._original, self._detected, slice(None))

    def coding_errors(self, decoded: list[tuple[int, Motion]]) -> Numbers:
        """Coding error of each decoded frame, percent."""
        return self.errors(decoded)[0]

    def errors(self, decoded: list[tuple[int, Motion]]) -> tuple[Numbers, Numbers]:
        """Coding error and added error of each decoded frame, percent."""
        frames = np.array([tick for tick, _ in decoded])
        landmarks = self._landmarks([state for _, state in decoded if isinstance(state, FaceState)])
        coding = self._distance(landmarks, self._original[frames], frames)
        return coding, self._distance(landmarks, self._detected[frames], frames) - self._before[frames]

    def _landmarks(self, states: list[FaceState]) -> NDArray[np.float32]:
        return np.stack([self._person.landmarks(state)[:, :2] for state in states])

    def _distance(self, a: NDArray[np.float32], b: NDArray[np.float32], frames: NDArray[np.int64] | slice) -> Numbers:
        distance: Numbers = np.linalg.norm(a - b, axis=-1).mean(axis=-1) / self._unit[frames]
        return distance


def measure(
    tracks: list[ClipTrack], judges: list[Judge], statistics: MotionStatistics, step: float, delay: int, loss: float
) -> tuple[Point, list[Coded]]:
    config = CodecConfig(step=step)
    runs = [code(track.states, statistics, config, delay, loss, seed) for seed, track in enumerate(tracks)]
    errors = [judge.errors(run.decoded) for judge, run in zip(judges, runs, strict=True)]
    steady = [run.bits[~run.key] for run in runs]
    coding = np.concatenate([error[0] for error in errors])
    point = Point(
        step=step,
        delay=delay,
        loss=loss,
        bits=round(float(np.concatenate(steady).mean()), 1),
        kbps=round(float(np.concatenate(steady).mean()) * 25 / 1000, 3),
        kbps_with_start=round(float(np.concatenate([run.bits for run in runs]).mean()) * 25 / 1000, 3),
        coding_error=round(float(coding.mean()), 3),
        coding_error_p95=round(float(np.quantile(coding, 0.95)), 3),
        added_error=round(float(np.concatenate([error[1] for error in errors]).mean()), 3),
        clips={
            track.name: (round(float(bits.mean()) * 25 / 1000, 3), round(float(error[0].mean()), 3))
            for track, bits, error in zip(tracks, steady, errors, strict=True)
        },
    )
    logger.info(
        "step %.5f  delay %2d  loss %2.0f %%  %5.1f bits  %.3f kbps  coding error %.3f %%  added %.3f %%",
        step, delay, 100 * loss, point.bits, point.kbps, point.coding_error, point.added_error,
    )  # fmt: skip
    return point, runs


def baseline_point(
    tracks: list[ClipTrack], judges: list[Judge], statistics: MotionStatistics, step: float, delay: int
) -> dict[str, float]:
    """Bits, kbps and coding error of the baseline."""
    nominal = [float(np.median([state.scale for state in track.states])) for track in tracks]
    bits, error = order_zero(
        [(track.states, scale) for track, scale in zip(tracks, nominal, strict=True)],
        [judge.coding_errors for judge in judges],
        statistics,
        step,
        delay + 1,
    )
    return {
        "step": step,
        "delay": delay,
        "bits": round(bits, 1),
        "kbps": round(bits * 25 / 1000, 3),
        "coding_error": round(error, 3),
    }


def plot(
    path: Path, curves: list[Point], baseline: list[dict[str, float]], target_kbps: float, target_error: float
) -> None:
    """Coding error against rate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for delay in DELAYS:
        line = [(point.kbps, point.coding_error) for point in curves if point.delay == delay]
        axes.plot(*zip(*line, strict=True), "o-", label=f"acknowledged after {delay} frames")
        line = [(entry["kbps"], entry["coding_error"]) for entry in baseline if entry["delay"] == delay]
        if delay == 0:
            axes.plot(*zip(*line, strict=True), "k:", label="order-0 entropy of frame differences")
    axes.axhline(target_error, color="grey", linewidth=0.8)
    axes.axvline(target_kbps, color="grey", linewidth=0.8)
    axes.set(
        xlabel="kbps of payload at 25 frames a second", ylabel="coding error, % of the outer eye corners' distance"
    )
    axes.set(xlim=(0, 4), ylim=(0, 1))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and landmarks/")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="JSON file to write (%(default)s)")
    parser.add_argument("--plot", type=Path, help="PNG file of the curves to write (needs the extra `bench`)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    statistics = MotionStatistics.load()
    tracks = list(clip_tracks(arguments.data, FaceModel.load(), "test"))
    judges = [Judge(track) for track in tracks]

    curves, encode_ms, decode_ms, key_bytes = [], [], [], []
    for delay in DELAYS:
        for step in STEPS:
            point, runs = measure(tracks, judges, statistics, step, delay, 0.0)
            curves.append(point)
            if step == CodecConfig.step:
                encode_ms += [value for run in runs for value in run.encode_ms]
                decode_ms += [value for run in runs for value in run.decode_ms]
                key_bytes += [value / 8 for run in runs for value in run.bits[run.key]]
    losses = [
        measure(tracks, judges, statistics, CodecConfig.step, delay, loss)[0]
        for delay in (1, 2, 5)
        for loss in LOSSES[1:]
    ]
    baseline = [baseline_point(tracks, judges, statistics, step, delay) for delay in DELAYS for step in STEPS]

    target_error, target_kbps = 0.3, 1.5
    at_target = {
        str(delay): {
            "codec": at_error([(p.kbps, p.coding_error) for p in curves if p.delay == delay], target_error),
            "order_zero": at_error(
                [(b["kbps"], b["coding_error"]) for b in baseline if b["delay"] == delay], target_error
            ),
        }
        for delay in DELAYS
    }
    figures = {
        "clips": {track.name: len(track.states) for track in tracks},
        "expression_coefficients": statistics.count,
        "kbps_at_coding_error_0.3_percent_by_delay": at_target,
        "curves": [asdict(point) for point in curves],
        "losses": [asdict(point) for point in losses],
        "order_zero_baseline": baseline,
        "nearest_open_code_kbps": OPEN_CODE_BITS * 25 / 1000,
        "encode_ms": milliseconds(encode_ms),
        "decode_ms": milliseconds(decode_ms),
        "key_frame_bytes": {"mean": round(float(np.mean(key_bytes)), 1), "max": int(max(key_bytes))},
    }
    write_result(arguments.output, command_line(), figures)
    if arguments.plot:
        plot(arguments.plot, curves, baseline, target_kbps, target_error)
    logger.info(
        "%s",
        json.dumps({name: figures[name] for name in figures if "kbps_at" in name or "ms" in name or "key" in name}),
    )


if __name__ == "__main__":
    main()
