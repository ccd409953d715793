"""Same identity: the first frame of a clip, driven by the rest of it, beside the true frames.

With several source frames, the first and others spread over the first half of the clip, only the second half is
compared, for one source frame as well, so that the numbers of sources can be set side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.delaunay_warp import DelaunayWarp
from benchmarks.evaluation.clips import FPS, Clip, Frame
from benchmarks.evaluation.contenders import DELAUNAY, STILL, Contender, Source
from benchmarks.evaluation.figures import Figures, summarise
from benchmarks.evaluation.metrics import SLOW_EVERY, Metrics, Row, View
from benchmarks.evaluation.sheets import Strip
from engine.face.fit import fit_state
from engine.face.model import FaceModel, Person
from engine.motion import FaceState
from engine.quality import FaceRegions
from engine.quality.pose import turn_between

TRUTH = "truth"


@dataclass(frozen=True)
class SameIdentity:
    """What was found in one clip."""

    frames: int
    "Compared."
    ways: dict[str, Figures]
    "By contender or baseline, from one source frame, over the whole clip."
    few_shot: dict[str, dict[int, Figures]]
    "By contender, then by number of source frames, over the second half of the clip; empty if only one was asked for."
    rows: dict[str, list[Row]]
    "By contender or baseline: the frames' values, with `turn`, by which the head is away from the source's, degrees."


@dataclass(eq=False)
class _Way:
    """One way to show the clip, on its way through it."""

    render: Callable[[int], tuple[Frame, float | None]]
    "Frame of the clip to the rendered one, and the milliseconds that it took."
    begins: int
    "First frame that is compared."
    rows: list[Row] = field(default_factory=list)
    last: tuple[Frame, Frame] | None = None
    seen: View | None = None


def source_frames(count: int, frames: int) -> list[int]:
    """Which frames of a clip are the sources: the first, the others spread over its first half.

    Those for a divisor of `count` are among them. Raises ValueError where the first half is too short.
    """
    half = frames // 2
    if not 1 <= count <= max(half, 1):
        raise ValueError(f"{count} source frames: the first half of a clip of {frames} frames has {half}")
    return [k * half // count for k in range(count)]


def measure_same_identity(
    clip: Clip,
    contenders: Sequence[Contender],
    metrics: Metrics,
    model: FaceModel,
    step: int = 2,
    sources: Sequence[int] = (1,),
    strip: Strip | None = None,
    advance: Callable[[], None] = lambda: None,
) -> SameIdentity:
    """Compare every `step`-th frame. strip: collects pictures for a sheet. advance: called after each frame."""
    size, half = clip.frames[0].shape[0], len(clip.frames) // 2
    compared = range(step, len(clip.frames), step)
    motions = {k: _Motion(model, clip, source_frames(k, len(clip.frames))) for k in sorted({1, *sources})}
    judged_as = motions[1].source.person
    ways: dict[tuple[str, int], _Way] = {}
    for contender in contenders:
        for count, motion in motions.items():
            if count == 1 or contender.takes_several_sources:
                begins = compared.start if count == 1 else half
                ways[contender.name, count] = _Way(_renderer(contender, motion, clip), begins)
    warp = DelaunayWarp(clip.frames[0], clip.landmarks[0])
    ways[STILL, 1] = _Way(lambda _: (clip.frames[0], None), compared.start)
    ways[DELAUNAY, 1] = _Way(lambda k: (warp.render(clip.landmarks[k]), None), compared.start)

    chosen = strip.choose(compared) if strip is not None else set()
    for number, k in enumerate(compared):
        truth = metrics.look(clip.frames[k], judged_as)
        slow = number % SLOW_EVERY == 0
        turn = turn_between(motions[1].source.states[0], motions[1].state(k))
        if slow:
            metrics.gather(TRUTH, truth.frame)
        shown = {TRUTH: truth.frame}
        for (name, count), way in ways.items():
            if k < way.begins:
                continue
            frame, elapsed_ms = way.render(k)
            if way.seen is None or way.seen.frame is not frame:  # the still source is looked at once
                way.seen = metrics.look(frame, judged_as)
            row = metrics.against_truth(way.seen, truth, way.last, slow)
            row |= {"turn": turn, "frame": float(k)}
            if elapsed_ms is not None:
                row["render_ms"] = elapsed_ms
            way.rows.append(row)
            way.last = frame, truth.frame
            label = name if count == 1 else f"{name}, {count} sources"
            shown[label] = frame
            if slow and count == 1:
                metrics.gather(name, frame)
        if strip is not None and k in chosen:
            regions = None if truth.landmarks is None else FaceRegions.of(truth.landmarks, size)
            strip.add(shown, regions)
        advance()
    few_shot: dict[str, dict[int, Figures]] = {}
    if max(sources) > 1:
        for (name, count), way in ways.items():
            if name not in (STILL, DELAUNAY):
                few_shot.setdefault(name, {})[count] = summarise(_second_half(way.rows, half))
    alone = {name: way.rows for (name, count), way in ways.items() if count == 1}
    return SameIdentity(len(compared), {name: summarise(rows) for name, rows in alone.items()}, few_shot, alone)


class _Motion:
    """The clip's motion as seen from a source: fits of its person, frame after frame."""

    def __init__(self, model: FaceModel, clip: Clip, sources: Sequence[int]) -> None:
        self.source = Source.of(model, [clip.frames[k] for k in sources], [clip.landmarks[k] for k in sources])
        self._model, self._clip = model, clip
        self._at = 0
        self._state = self.source.states[0]

    @property
    def person(self) -> Person:
        return self.source.person

    def state(self, k: int) -> FaceState:
        """Of frame k; to be asked for in order."""
        if k != self._at:
            landmarks = self._clip.landmarks[k]
            self._state = fit_state(self._model, self.person, landmarks, previous=self._state, time=k / FPS)
            self._at = k
        return self._state


def _renderer(contender: Contender, motion: _Motion, clip: Clip) -> Callable[[int], tuple[Frame, float]]:
    follow = contender.follower(motion.source)
    return lambda k: follow(motion.state(k), clip.frames[k])


def _second_half(rows: list[Row], half: int) -> list[Row]:
    """The rows of the second half, as if the comparison had begun there."""
    rows = [row for row in rows if row["frame"] >= half]
    return [{name: value for name, value in row.items() if k > 0 or name != "flicker"} for k, row in enumerate(rows)]
