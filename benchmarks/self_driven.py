"""How well a generator shows a clip from its first frame and its motion alone, on the test clips.

`python -m benchmarks.self_driven --data DIR` drives the first frame of every test clip by the whole path (tracker, face
model, fit, `FaceState`, landmarks, render) and compares every second frame with the true one; beside it the still first
frame, and a flat Delaunay warp by the tracked landmarks. All clips count the same in the means.

- l1: mean absolute difference, 0 to 1; mouth_l1 and eyes_l1 the same in a box around these
- ssim: Gaussian window (sigma 1.5), RGB; psnr in dB
- akd: mean distance of the landmarks that a detector finds in the rendered and in the true frame, percent of the
  distance of the outer eye corners; `faces_lost` counts rendered frames in which it finds none
- flicker: mean absolute difference between rendered and true of the change since the frame compared before, 0 to 1
- render_ms: motion and render of one frame, on one thread

`--sheets DIR` also writes a contact sheet per clip: truth, rendered, Delaunay warp.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.delaunay_warp import DelaunayWarp
from benchmarks.environment import command_line, write_result
from engine.face.fit import fit_source, fit_state
from engine.face.landmarks import FaceError, LandmarkTracker, detect_face
from engine.face.model import FaceModel
from engine.face.regions import LEFT_BROW, LEFT_EYE, LIPS, RIGHT_BROW, RIGHT_EYE
from engine.generators import generator_names, load_generator
from engine.motion import FaceState, to_pixels
from engine.quality import average_keypoint_distance, l1, psnr, ssim

logger = logging.getLogger(__name__)

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

RESULT = Path(__file__).parent / "results" / "self_driven_mesh.json"
MOUTH = LIPS
EYES = (*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW)
BOX_MARGIN = 0.15
"Of a box, in its longer sides."
FPS = 25.0


@dataclass(frozen=True, eq=False)
class Clip:
    name: str
    frames: list[Frame]
    landmarks: list[Array]
    "(478, 3) frame coordinates, tracked; a frame without a face has those of the frame before."


def main() -> None:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    clips: dict[str, Any] = {}
    for name, path in test_clips(arguments.data, arguments.size, arguments.clips):
        clip = read_clip(name, path)
        clips[name] = measure(clip, arguments.generator, arguments.size, arguments.step, arguments.sheets)
        logger.info("%s", _line(name, clips[name]))
    if not clips:
        raise SystemExit(f"no test clip in {arguments.data} at {arguments.size} pixels; see --data, --clips and --size")
    means = mean_of(list(clips.values()))
    logger.info("%s", _line("mean", means))
    better = [name for name, figures in clips.items() if figures["rendered"]["akd"] < figures["still"]["akd"]]
    logger.info("akd better than the still source on %d of %d clips", len(better), len(clips))
    figures = {
        "size": arguments.size,
        "step": arguments.step,
        "generator": arguments.generator,
        "mean": means,
        "clips": clips,
    }
    write_result(arguments.output, command_line(), figures)


def test_clips(data: Path, size: int, only: list[str]) -> Iterator[tuple[str, Path]]:
    """Names and files of the pack's test clips that exist at this size."""
    with open(data / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            path = data / "clips" / str(size) / f"{row['id']}.mp4"
            if row["split"] == "test" and path.is_file() and (not only or row["id"] in only):
                yield row["id"], path


def read_clip(name: str, path: Path) -> Clip:
    frames: list[Frame] = []
    landmarks: list[Array] = []
    with av.open(str(path)) as container, LandmarkTracker() as tracker:
        for picture in container.decode(video=0):
            frame = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
            seen = tracker.track(frame)
            if seen is None and not landmarks:
                raise ValueError(f"{path}: no face in the first frame")
            frames.append(frame)
            landmarks.append(landmarks[-1] if seen is None else seen.landmarks)
    return Clip(name, frames, landmarks)


def measure(clip: Clip, generator_name: str, size: int, step: int, sheets: Path | None) -> dict[str, Any]:
    """Figures of one clip: `rendered`, `still` and `delaunay`, each a mean over frames, and `frames`."""
    model = FaceModel.load()
    generator = load_generator(generator_name, size)
    person, state = fit_source(model, clip.landmarks[0])
    identity = generator.encode(clip.frames[0][None], person.landmarks(state)[None].astype(np.float32))
    warp = DelaunayWarp(clip.frames[0], clip.landmarks[0])
    ways: dict[str, list[Frame]] = {"rendered": [], "still": [], "delaunay": []}
    compared = list(range(step, len(clip.frames), step))
    render_ms = []
    for k in compared:
        state = fit_state(model, person, clip.landmarks[k], previous=state, time=k / FPS)
        frame, elapsed = _timed_render(generator, identity, person, state)
        render_ms.append(elapsed)
        ways["rendered"].append(frame)
        ways["still"].append(clip.frames[0])
        ways["delaunay"].append(warp.render(clip.landmarks[k]))
    truth = [clip.frames[k] for k in compared]
    seen = [_detected(frame) for frame in truth]
    figures: dict[str, Any] = {name: _figures(frames, truth, seen) for name, frames in ways.items()}
    figures["rendered"]["render_ms"] = _spread(render_ms)
    figures["frames"] = len(compared)
    if sheets is not None:
        _write_sheet(sheets / f"{clip.name}.png", clip, truth, ways)
    return figures


def _timed_render(generator: Any, identity: Any, person: Any, state: FaceState) -> tuple[Frame, float]:
    begin = time.perf_counter()
    frame: Frame = generator.render(identity, generator.motion(person, state))[0]
    return frame, (time.perf_counter() - begin) * 1000


def _figures(frames: list[Frame], truth: list[Frame], seen: list[Array | None]) -> dict[str, Any]:
    rows: dict[str, list[float]] = {
        name: [] for name in ("l1", "ssim", "psnr", "mouth_l1", "eyes_l1", "akd", "flicker")
    }
    lost = 0
    found_in: dict[int, Array | None] = {}
    for k, (frame, true) in enumerate(zip(frames, truth, strict=True)):
        rows["l1"].append(l1(frame, true))
        rows["ssim"].append(ssim(frame, true))
        rows["psnr"].append(psnr(frame, true))
        if k > 0:
            change = frame.astype(np.int16) - frames[k - 1]
            true_change = true.astype(np.int16) - truth[k - 1]
            rows["flicker"].append(float(np.abs(change - true_change).mean() / 255))
        landmarks = seen[k]
        if landmarks is None:
            continue
        for name, points in (("mouth_l1", MOUTH), ("eyes_l1", EYES)):
            box = _box(landmarks[list(points)], true.shape[0])
            rows[name].append(l1(frame[box], true[box]))
        if id(frame) not in found_in:  # the still frame is looked at once
            found_in[id(frame)] = _detected(frame)
        found = found_in[id(frame)]
        if found is None:
            lost += 1
        else:
            rows["akd"].append(100 * average_keypoint_distance(found, landmarks))
    figures: dict[str, Any] = {
        name: float(np.mean(values)) if values else float("nan") for name, values in rows.items()
    }
    figures["akd_p95"] = float(np.percentile(rows["akd"], 95)) if rows["akd"] else float("nan")
    figures["faces_lost"] = lost
    return figures


def _detected(frame: Frame) -> Array | None:
    try:
        return detect_face(frame).landmarks
    except FaceError:
        return None


def _box(points: Array, size: int) -> tuple[slice, slice]:
    """Rows and columns of the frame around landmarks (N, 3)."""
    pixels = to_pixels(points[:, :2], size, size)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margin = BOX_MARGIN * float((high - low).max())
    left, top = np.clip(low - margin, 0, size - 4).astype(int)
    right, bottom = np.clip(high + margin, (left + 4, top + 4), size).astype(int)
    return slice(top, bottom), slice(left, right)


def mean_of(clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over clips of every figure, by the same names."""
    return {
        name: mean_of([clip[name] for clip in clips])
        if isinstance(value, dict)
        else float(np.nanmean([c[name] for c in clips]))
        for name, value in clips[0].items()
    }


def _spread(values_ms: list[float]) -> dict[str, float]:
    return {"p50": float(np.median(values_ms)), "p95": float(np.percentile(values_ms, 95))}


def _line(name: str, figures: dict[str, Any]) -> str:
    def row(of: str) -> str:
        f = figures[of]
        return (
            f"{of} l1 {f['l1']:.4f} ssim {f['ssim']:.3f} akd {f['akd']:.2f} % mouth {f['mouth_l1']:.4f} "
            f"eyes {f['eyes_l1']:.4f} flicker {f['flicker']:.4f} lost {f['faces_lost']:.3g}"
        )

    ms = figures["rendered"]["render_ms"]
    return (
        f"{name}: "
        + " | ".join(map(row, ("rendered", "still", "delaunay")))
        + f" | {ms['p50']:.1f} ms, p95 {ms['p95']:.1f}"
    )


def _write_sheet(path: Path, clip: Clip, truth: list[Frame], ways: dict[str, list[Frame]], columns: int = 8) -> None:
    chosen = np.linspace(0, len(truth) - 1, min(columns, len(truth))).astype(int)
    rows = [
        np.concatenate([frames[k] for k in chosen], axis=1) for frames in (truth, ways["rendered"], ways["delaunay"])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the data pack, with manifest.csv and clips/")
    parser.add_argument("--generator", default="mesh", choices=generator_names())
    parser.add_argument("--size", type=int, default=256, choices=(256, 512))
    parser.add_argument("--step", type=int, default=2, help="compare every how manieth frame")
    parser.add_argument("--clips", nargs="*", default=[], help="only these clips")
    parser.add_argument(
        "--sheets", type=Path, help="write contact sheets here; they show people: keep them to yourself"
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
