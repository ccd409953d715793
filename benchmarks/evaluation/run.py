"""A whole evaluation: all clips, both protocols, one dictionary of figures and a folder of sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation.clips import ClipFile, EvaluationError, find_clips, read_clip
from benchmarks.evaluation.contenders import DELAUNAY, STILL, Contender, load_contenders
from benchmarks.evaluation.cross_identity import choose_pairs, measure_cross_identity
from benchmarks.evaluation.figures import DEFINITIONS, Figures, better_on, mean_over_clips
from benchmarks.evaluation.metrics import Metrics, Row
from benchmarks.evaluation.same_identity import TRUTH, SameIdentity, measure_same_identity
from benchmarks.evaluation.sheets import Strip
from engine.face.model import FaceModel

TURN_EDGES = (0.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0)
"Degrees between which frames are put together for the errors against the head's turn."
FEW_SHOT_NOTE = "only the second half of each clip is compared, for every number of source frames"


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated, on what."""

    data: Path
    "A data pack with test clips (see `find_clips`)."
    generators: tuple[str, ...]
    runtime: str
    size: int = 256
    step: int = 2
    "Every how manieth frame is compared."
    sources: tuple[int, ...] = (1,)
    "Numbers of source frames."
    clips: tuple[str, ...] = ()
    "Only these, if any."
    cross_pairs: int = 0
    "Pairs of two people; 0 leaves cross identity out."
    lpips_weights: Path | None = None
    fid_network: Path | None = None

    def __post_init__(self) -> None:
        if not self.generators:
            raise EvaluationError("no generator to evaluate; name one with --generator")
        if self.step < 1:
            raise EvaluationError(f"step {self.step}: at least 1, which compares every frame")
        if not self.sources or min(self.sources) < 1:
            raise EvaluationError(f"sources {self.sources}: numbers of source frames, at least 1")


Advance = Callable[[str, int, int], None]
"Called with what is being done, how many frames of it are done and how many there are."


def evaluate(config: EvaluationConfig, sheets: Path, advance: Advance = lambda *_: None) -> dict[str, Any]:
    """Measure everything; contact sheets go to the folder `sheets`. Returns the figures, as they are written to JSON.

    Raises EvaluationError, GeneratorError, RuntimeUnavailableError and MetricUnavailableError before the work begins.
    """
    files = find_clips(config.data, config.size, config.clips)
    for file in files:
        _check_length(file, config)
    pairs = choose_pairs(files, config.cross_pairs) if config.cross_pairs else []
    contenders = load_contenders(config.generators, config.runtime, config.size, config.sources)
    model = FaceModel.load()
    metrics = Metrics(model, config.lpips_weights, config.fid_network)
    names = [contender.name for contender in contenders]
    try:
        figures: dict[str, Any] = {
            "size": config.size,
            "step": config.step,
            "runtime": config.runtime,
            "generators": names,
            "embedder": metrics.embedder_name,
            "not_measured": metrics.not_measured,
            "definitions": {name: definition.meaning for name, definition in DEFINITIONS.items()},
        }
        found = _all_same_identity(config, files, contenders, metrics, model, sheets, advance)
        figures["same_identity"] = _same_identity_figures(found, names)
        for name, distance in metrics.frechet_distances(TRUTH).items():
            figures["same_identity"]["mean"][name]["fid"] = distance
        if max(config.sources) > 1:
            figures["few_shot"] = _few_shot_figures(found)
        if pairs:
            crossed = _all_cross_identity(config, pairs, contenders, metrics, model, sheets, advance)
            figures["cross_identity"] = {
                "mean": _means(list(crossed.values())),
                "better_on": _compare(names, list(crossed.values())),
                "pairs": crossed,
            }
    finally:
        metrics.close()
    return figures


def _check_length(file: ClipFile, config: EvaluationConfig) -> None:
    if file.frames <= config.step or file.frames // 2 < max(config.sources):
        raise EvaluationError(
            f"{file.name}: {file.frames} frames are too few for --step {config.step} and "
            f"{max(config.sources)} source frames; leave it out with --clips"
        )


def _all_same_identity(
    config: EvaluationConfig,
    files: Sequence[ClipFile],
    contenders: Sequence[Contender],
    metrics: Metrics,
    model: FaceModel,
    sheets: Path,
    advance: Advance,
) -> dict[str, SameIdentity]:
    done, total = 0, sum(len(range(config.step, file.frames, config.step)) for file in files)
    found = {}

    def progress() -> None:
        nonlocal done
        done += 1
        advance("same identity", done, max(done, total))

    advance("same identity", 0, total)
    for file in files:  # one clip in memory at a time
        strip = Strip(without=(STILL,))
        clip = read_clip(file)
        found[file.name] = measure_same_identity(
            clip, contenders, metrics, model, config.step, config.sources, strip, progress
        )
        strip.write(sheets / f"{file.name}.jpg")
    return found


def _all_cross_identity(
    config: EvaluationConfig,
    pairs: Sequence[tuple[ClipFile, ClipFile]],
    contenders: Sequence[Contender],
    metrics: Metrics,
    model: FaceModel,
    sheets: Path,
    advance: Advance,
) -> dict[str, dict[str, Figures]]:
    done, total = 0, sum(len(range(0, driver.frames, config.step)) for _, driver in pairs)
    found = {}

    def progress() -> None:
        nonlocal done
        done += 1
        advance("cross identity", done, max(done, total))

    for source, driver in pairs:
        strip = Strip()
        figures = measure_cross_identity(
            read_clip(source, 1), read_clip(driver), contenders, metrics, model, config.step, strip, progress
        )
        found[f"{source.name} by {driver.name}"] = figures
        strip.write(sheets / f"{source.name}_by_{driver.name}.jpg")
    return found


def _same_identity_figures(found: dict[str, SameIdentity], names: Sequence[str]) -> dict[str, Any]:
    ways = [clip.ways for clip in found.values()]
    return {
        "mean": _means(ways),
        "better_on": _compare(names, ways),
        "by_turn": {
            name: _by_turn([row for clip in found.values() for row in clip.rows[name]])
            for name in (*names, STILL, DELAUNAY)
        },
        "clips": {name: {"frames": clip.frames, "ways": clip.ways} for name, clip in found.items()},
    }


def _few_shot_figures(found: dict[str, SameIdentity]) -> dict[str, Any]:
    clips = [clip.few_shot for clip in found.values()]
    result: dict[str, Any] = {"note": FEW_SHOT_NOTE, "mean": {}, "better_on": {}, "clips": {}}
    for generator, by_count in clips[0].items():
        result["mean"][generator] = {
            str(count): mean_over_clips([clip[generator][count] for clip in clips]) for count in by_count
        }
        result["better_on"][generator] = {
            f"{count} sources than with 1": better_on([(clip[generator][count], clip[generator][1]) for clip in clips])
            for count in by_count
            if count > 1
        }
    for name, clip in found.items():
        result["clips"][name] = {
            generator: {str(count): figures for count, figures in by_count.items()}
            for generator, by_count in clip.few_shot.items()
        }
    return result


def _means(clips: Sequence[dict[str, Figures]]) -> dict[str, Figures]:
    return {name: mean_over_clips([clip[name] for clip in clips]) for name in clips[0]}


def _compare(names: Sequence[str], clips: Sequence[dict[str, Figures]]) -> dict[str, dict[str, dict[str, str]]]:
    """Every generator against all others and the baselines: generator, opponent, figure, "n of m"."""
    return {
        name: {other: better_on([(clip[name], clip[other]) for clip in clips]) for other in clips[0] if other != name}
        for name in names
    }


def _by_turn(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Mean L1 and AKD of the frames whose head is turned away from the source's by so many degrees."""
    bins = []
    for low, high in pairwise(TURN_EDGES):
        inside = [row for row in rows if low <= row["turn"] < high and "akd" in row]
        if inside:
            values = {name: float(np.mean([row[name] for row in inside])) for name in ("l1", "akd")}
            bins.append({"from": low, "to": high, "frames": float(len(inside)), **values})
    return bins
