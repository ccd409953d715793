"""Cross identity: the first frame of one person's clip, driven by another person's, by relative motion.

There is no true frame: the rendered one is measured against the pose and expression that were intended, and against
the source for the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.delaunay_warp import DelaunayWarp
from benchmarks.evaluation.clips import FPS, Clip, ClipFile, EvaluationError
from benchmarks.evaluation.contenders import DELAUNAY, STILL, Contender, Source
from benchmarks.evaluation.figures import Figures, summarise
from benchmarks.evaluation.metrics import SLOW_EVERY, Metrics, Row, View
from benchmarks.evaluation.sheets import Strip
from engine.face.fit import fit_person, fit_state
from engine.face.model import FaceModel
from engine.keypoint_motion import closest_frame
from engine.motion import FaceState, HeadPose, relative_motion

PERSON_FRAMES = 30
"Frames of a clip that a driver's neutral face is estimated from."


def choose_pairs(clips: Sequence[ClipFile], count: int) -> list[tuple[ClipFile, ClipFile]]:
    """Source and driver: each person's first clip is driven by the next person's, then by the one after, and so on.

    The same clips give the same pairs. Raises EvaluationError below two people, or for more pairs than there are.
    """
    first: dict[str, ClipFile] = {}
    for clip in sorted(clips, key=lambda clip: clip.name):
        first.setdefault(clip.identity, clip)
    people = list(first.values())
    pairs = [
        (people[k], people[(k + apart) % len(people)]) for apart in range(1, len(people)) for k in range(len(people))
    ]
    if not 1 <= count <= len(pairs):
        raise EvaluationError(f"{count} pairs: {len(people)} people make {len(pairs)}; choose --pairs accordingly")
    return pairs[:count]


def measure_cross_identity(
    source: Clip,
    driver: Clip,
    contenders: Sequence[Contender],
    metrics: Metrics,
    model: FaceModel,
    step: int = 2,
    strip: Strip | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Figures]:
    """The figures by contender and baseline. source: its first frame is animated. Every `step`-th frame drives."""
    shown = Source.of(model, source.frames[:1], source.landmarks[:1])
    person, start = shown.person, shown.states[0]
    warp = DelaunayWarp(source.frames[0], source.landmarks[0])
    alike = driver.frames[closest_frame(source.landmarks[0], driver.landmarks)]
    followers = {contender.name: contender.follower(shown, alike) for contender in contenders}
    still = metrics.look(source.frames[0], person)
    numbers = list(range(0, len(driver.frames), step))
    driving = _states(model, driver, numbers)
    habit = HeadPose.from_states(driving)
    rows: dict[str, list[Row]] = {name: [] for name in (*followers, STILL, DELAUNAY)}
    chosen = strip.choose(numbers) if strip is not None else set()
    for number, (k, state) in enumerate(zip(numbers, driving, strict=True)):
        intended = relative_motion(start, habit, state)
        pictures = {"driver": driver.frames[k]}
        for name, follow in followers.items():
            pictures[name], _ = follow(intended, driver.frames[k])
        pictures[STILL] = still.frame
        pictures[DELAUNAY] = warp.render(person.landmarks(intended))
        for name, of_frame in rows.items():
            seen: View = still if name == STILL else metrics.look(pictures[name], person)
            of_frame.append(metrics.against_intention(seen, person, intended, still, slow=number % SLOW_EVERY == 0))
        if strip is not None and k in chosen:
            strip.add(pictures, None)
        advance()
    return {name: summarise(of_frame) for name, of_frame in rows.items()}


def _states(model: FaceModel, clip: Clip, numbers: Sequence[int]) -> list[FaceState]:
    spread = np.unique(np.linspace(0, len(clip.frames) - 1, min(PERSON_FRAMES, len(clip.frames))).astype(int))
    person = fit_person(model, [clip.landmarks[k] for k in spread])
    states: list[FaceState] = []
    for k in numbers:
        previous = states[-1] if states else None
        states.append(fit_state(model, person, clip.landmarks[k], previous=previous, time=k / FPS))
    return states
