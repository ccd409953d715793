"""Bits of keypoints on the wire, and their errors: `python -m benchmarks.keypoint_rate --tracks FILE.npz`.

The keypoints that a network finds in test clips are coded and decoded, with the general tables that ship and with those
learned for these keypoints (`--learned FILE`, from `python -m streaming.motion_training --keypoints`). Two errors:

- *point error*: mean distance between the decoded and the original points, in pixels of a 256-pixel picture;
- *Jacobian error*: mean Frobenius norm of the difference, and what it moves at the radius at which a keypoint's local
  frame acts (`streaming.keypoint_statistics`), in the same pixels.

`benchmarks.codec_run` says what the rates count, and what the baseline is. The nearest open code sends 872 bits a frame
for ten keypoints; `bits_per_keypoint` compares other numbers of them.

With `--generator NAME --data DIR` the tracks are made first, by the network of a generator that is driven by keypoints;
`--save-tracks FILE` keeps them for the next time, and for learning tables.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.codec_run import OPEN_CODE_BITS, Coded, Numbers, at_error, code, milliseconds, order_zero
from benchmarks.environment import command_line, write_result
from engine.generators import load_generator
from engine.generators.keypoint_generator import KeypointGenerator
from engine.motion import Keypoints, Motion
from streaming.codec import CodecConfig
from streaming.keypoint_statistics import JACOBIAN_RADIUS, keypoint_statistics
from streaming.keypoint_tracks import KeypointTrack, KeypointTracks, keypoint_tracks, pack_clips
from streaming.motion_statistics import MotionStatistics

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parent / "results" / "keypoint_rate.json"
STEPS = (0.002, 0.0035, CodecConfig.keypoint_step, 0.008, 0.012, 0.02)
DELAYS = (0, 1, 2, 5)
LOSSES = (0.05, 0.2)
TARGET_ERROR_PX = 0.25
"Of 256: about the wander of a detector on a face at rest."
_HALF_PICTURE_PX = 128


@dataclass(frozen=True)
class Point:
    """One setting over all clips; every frame counts the same."""

    tables: str
    "general, learned, or order-0 baseline."
    step: float
    delay: int
    loss: float
    bits: float
    "Mean of a steady frame."
    bits_per_keypoint: float
    kbps: float
    "At 25 frames a second."
    point_error_px: float
    "Frames that arrived; pixels of 256."
    point_error_percent: float
    "The same in percent of the picture's side."
    point_error_px_p95: float
    jacobian_error: float
    jacobian_error_px: float
    key_frame_bytes: float | None
    "Mean of the key frames."
    longest_packet_bytes: int | None


class Judge:
    """Errors of one clip."""

    def __init__(self, track: KeypointTrack) -> None:
        self._points = np.stack([motion.points for motion in track.motions])
        self._jacobians = np.stack([motion.jacobians for motion in track.motions])

    def point_errors(self, decoded: list[tuple[int, Motion]]) -> Numbers:
        """Of each decoded frame, pixels of 256."""
        frames = [tick for tick, _ in decoded]
        points = np.stack([motion.points for _, motion in decoded if isinstance(motion, Keypoints)])
        errors: Numbers = np.linalg.norm(points - self._points[frames], axis=-1).mean(axis=-1) * _HALF_PICTURE_PX
        return errors

    def jacobian_errors(self, decoded: list[tuple[int, Motion]]) -> Numbers:
        """Of each decoded frame, mean Frobenius norm."""
        frames = [tick for tick, _ in decoded]
        jacobians = np.stack([motion.jacobians for _, motion in decoded if isinstance(motion, Keypoints)])
        errors: Numbers = np.linalg.norm(jacobians - self._jacobians[frames], axis=(-2, -1)).mean(axis=-1)
        return errors


def measure(
    tracks: list[KeypointTrack],
    statistics: MotionStatistics,
    tables: str,
    step: float,
    delay: int,
    loss: float = 0.0,
) -> tuple[Point, list[Coded]]:
    """All clips at one setting."""
    config = CodecConfig(keypoint_step=step)
    judges = [Judge(track) for track in tracks]
    runs = [code(track.motions, statistics, config, delay, loss, seed) for seed, track in enumerate(tracks)]
    bits = float(np.concatenate([run.bits[~run.key] for run in runs]).mean())
    points = np.concatenate([judge.point_errors(run.decoded) for judge, run in zip(judges, runs, strict=True)])
    jacobians = np.concatenate([judge.jacobian_errors(run.decoded) for judge, run in zip(judges, runs, strict=True)])
    everything = np.concatenate([run.bits for run in runs])
    point = Point(
        tables=tables,
        step=step,
        delay=delay,
        loss=loss,
        bits=round(bits, 1),
        bits_per_keypoint=round(bits / statistics.count, 2),
        kbps=round(bits * 25 / 1000, 3),
        point_error_px=round(float(points.mean()), 4),
        point_error_percent=round(float(points.mean()) / 2.56, 4),
        point_error_px_p95=round(float(np.quantile(points, 0.95)), 4),
        jacobian_error=round(float(jacobians.mean()), 4),
        jacobian_error_px=round(float(jacobians.mean()) * JACOBIAN_RADIUS * _HALF_PICTURE_PX, 4),
        key_frame_bytes=round(float(np.concatenate([run.bits[run.key] for run in runs]).mean()) / 8, 1),
        longest_packet_bytes=int(everything.max()) // 8,
    )
    logger.info(
        "%-8s step %.4f  delay %d  loss %2.0f %%  %6.1f bits  %.2f kbps  points %.3f px  Jacobians %.4f",
        tables, step, delay, 100 * loss, point.bits, point.kbps, point.point_error_px, point.jacobian_error,
    )  # fmt: skip
    return point, runs


def baseline_point(tracks: list[KeypointTrack], statistics: MotionStatistics, step: float, delay: int) -> Point:
    """The order-0 entropy of frame differences, at the same steps along the axes of `statistics`."""
    judges = [Judge(track) for track in tracks]
    clips = [(track.motions, 1.0) for track in tracks]
    bits, points = order_zero(clips, [judge.point_errors for judge in judges], statistics, step, delay + 1)
    _, jacobians = order_zero(clips, [judge.jacobian_errors for judge in judges], statistics, step, delay + 1)
    return Point(
        "order-0", step, delay, 0.0, round(bits, 1), round(bits / statistics.count, 2), round(bits * 25 / 1000, 3),
        round(points, 4), round(points / 2.56, 4), float("nan"), round(jacobians, 4),
        round(jacobians * JACOBIAN_RADIUS * _HALF_PICTURE_PX, 4), None, None,
    )  # fmt: skip


def generator_tracks(name: str, size: int, data: Path) -> KeypointTracks:
    """What a generator's own network finds in the clips of a data pack.

    Raises GeneratorError for a generator that is not there, or is not driven by keypoints.
    """
    generator = load_generator(name, size)
    if not isinstance(generator, KeypointGenerator):
        raise SystemExit(f"generator {name} is not driven by keypoints: nothing to measure here")
    return KeypointTracks(generator.digest, keypoint_tracks(generator.detect, pack_clips(data, size), size))


def plot(path: Path, points: list[Point], count: int) -> None:
    """Point error against bits, without losses."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    styles = {"general": "s--", "learned": "o-", "order-0": ":"}
    colours = {delay: f"C{index}" for index, delay in enumerate(DELAYS)}
    for tables, style in styles.items():
        for delay in DELAYS if tables != "order-0" else (1,):
            line = [(p.bits, p.point_error_px) for p in points if (p.tables, p.delay, p.loss) == (tables, delay, 0.0)]
            if line:
                colour = colours[delay] if tables != "order-0" else "black"
                label = f"{tables}, acknowledged after {delay}"
                axes.plot(*zip(*line, strict=True), style, label=label, markersize=4, color=colour)
    if count == 10:
        axes.axvline(OPEN_CODE_BITS, color="grey", linewidth=0.8)
        axes.text(OPEN_CODE_BITS, axes.get_ylim()[1], "nearest open code ", ha="right", va="top", color="grey")
    axes.set(xlabel=f"bits a frame, {count} keypoints", ylabel="mean error of a point, pixels of 256")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tracks", type=Path, help="npz file of keypoint tracks (streaming.keypoint_tracks)")
    source.add_argument("--generator", help="make the tracks with this generator's network")
    parser.add_argument("--data", type=Path, help="with --generator: folder with manifest.csv and clips/")
    parser.add_argument("--size", type=int, default=256, help="with --generator: side of its frames (%(default)s)")
    parser.add_argument("--save-tracks", type=Path, help="with --generator: npz file to keep the tracks in, then stop")
    parser.add_argument("--learned", type=Path, help="npz file of tables learned for these keypoints")
    parser.add_argument("--frames", type=int, default=200, help="frames of each clip (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="JSON file to write (%(default)s)")
    parser.add_argument("--plot", type=Path, help="PNG file of the curves to write (needs the extra `bench`)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.generator is None:
        found = KeypointTracks.load(arguments.tracks)
    elif arguments.data is None:
        parser.error("--generator: needs --data")
    else:
        found = generator_tracks(arguments.generator, arguments.size, arguments.data)
        if arguments.save_tracks is not None:
            found.save(arguments.save_tracks)
            return
    tracks = [
        KeypointTrack(track.name, track.split, track.motions[: arguments.frames]) for track in found.split("test")
    ]
    tables = {"general": keypoint_statistics(found.count, found.digest)}
    if arguments.learned is not None:
        if not arguments.learned.is_file():
            parser.error(f"--learned: {arguments.learned} is not there")
        tables["learned"] = keypoint_statistics(found.count, found.digest, arguments.learned)

    points: list[Point] = []
    encode_ms: list[float] = []
    decode_ms: list[float] = []
    for name, statistics in tables.items():
        for delay in DELAYS:
            for step in STEPS:
                point, runs = measure(tracks, statistics, name, step, delay)
                points.append(point)
                if step == CodecConfig.keypoint_step:
                    encode_ms += [value for run in runs for value in run.encode_ms]
                    decode_ms += [value for run in runs for value in run.decode_ms]
        for delay in (1, 5):
            for loss in LOSSES:
                points.append(measure(tracks, statistics, name, CodecConfig.keypoint_step, delay, loss)[0])
    points += [baseline_point(tracks, tables["general"], step, delay) for delay in DELAYS for step in STEPS]
    at_target = {
        name: {
            str(delay): at_error(
                [(p.bits, p.point_error_px) for p in points if (p.tables, p.delay, p.loss) == (name, delay, 0.0)],
                TARGET_ERROR_PX,
            )
            for delay in DELAYS
        }
        for name in (*tables, "order-0")
    }
    figures = {
        "clips": {track.name: len(track.motions) for track in tracks},
        "keypoints": found.count,
        "weights": found.digest.hex(),
        f"bits_at_point_error_{TARGET_ERROR_PX}_px_by_delay": at_target,
        "nearest_open_code_bits_for_10_keypoints": OPEN_CODE_BITS,
        "points": [{key: value for key, value in asdict(point).items() if value == value} for point in points],
        "encode_ms": milliseconds(encode_ms),
        "decode_ms": milliseconds(decode_ms),
    }
    write_result(arguments.output, command_line(), figures)
    if arguments.plot:
        plot(arguments.plot, points, found.count)
    logger.info("%s", json.dumps(at_target))


if __name__ == "__main__":
    main()
