"""What is compared: generators on a runtime, each with an identity of one or several source frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.clips import Array, EvaluationError, Frame
from engine.face.fit import fit_person, fit_source, fit_state
from engine.face.model import FaceModel, Person
from engine.generators import FaceGenerator, Generator, Identity, Tensors, load_generator
from engine.generators.keypoint_generator import Detector, KeypointGenerator
from engine.keypoint_motion import KeypointTransfer, TransferConfig
from engine.motion import FaceState
from engine.runtime import Compiled, load_runtime

STILL, DELAUNAY = "still", "delaunay"
"The baselines: the source frame shown all the time, and a flat warp of it by the true landmarks."


Follower = Callable[[FaceState, Frame], tuple[Frame, float]]
"A state and the driver's frame, to the rendered frame and the milliseconds that it took."


@dataclass(frozen=True)
class Contender:
    """A generator, ready to render."""

    name: str
    generator: Generator
    compiled: Compiled
    detector: Detector | None = None
    "Of a generator that is driven by keypoints."

    @property
    def takes_several_sources(self) -> bool:
        return type(self.generator).merge is not Generator.merge

    def encode(self, source: Source) -> Identity:
        """The identity of all of the source's frames, merged."""
        identities = [
            self.compiled.encode(frame[None], source.person.landmarks(state)[None].astype(np.float32))
            for frame, state in zip(source.frames, source.states, strict=True)
        ]
        return self.generator.merge(identities)

    def follower(self, source: Source, initial: Frame | None = None) -> Follower:
        """Renders the source in motions that are given twice: as the state that is meant, and as the driver's frame,
        which is what a generator with a detector of its own looks at.

        initial: the driver's frame from which such a generator measures motion; without, it takes it over as it is.
        """
        generator, identity = self.generator, self.encode(source)
        if isinstance(generator, FaceGenerator):
            face = generator

            def tensors(state: FaceState, frame: Frame) -> Tensors:
                return face.motion(source.person, state)

        elif isinstance(generator, KeypointGenerator) and self.detector is not None:
            keypoints, detector = generator, self.detector
            first = None if initial is None else detector(initial[None])[0]
            config = TransferConfig("absolute" if initial is None else "relative")
            transfer = KeypointTransfer(keypoints.source_keypoints(identity), config, first)

            def tensors(state: FaceState, frame: Frame) -> Tensors:
                return keypoints.motion(transfer.transfer(detector(frame[None])[0]))

        else:
            raise EvaluationError(f"generator {self.name} is driven neither by face states nor by keypoints")

        def follow(state: FaceState, frame: Frame) -> tuple[Frame, float]:
            motion = tensors(state, frame)
            begin = time.perf_counter()
            rendered: Frame = self.compiled.render(identity, motion)[0]
            return rendered, (time.perf_counter() - begin) * 1000

        return follow


@dataclass(frozen=True, eq=False)
class Source:
    """One or several frames of a person, the principal one first."""

    person: Person
    frames: list[Frame]
    states: list[FaceState]

    @classmethod
    def of(cls, model: FaceModel, frames: Sequence[Frame], landmarks: Sequence[Array]) -> Source:
        """A single frame keeps its landmarks exactly; over several, one person is fitted."""
        if len(frames) == 1:
            person, state = fit_source(model, landmarks[0])
            return cls(person, list(frames), [state])
        person = fit_person(model, landmarks)
        return cls(person, list(frames), [fit_state(model, person, points) for points in landmarks])


def load_contenders(generators: Sequence[str], runtime: str, size: int, sources: Sequence[int]) -> list[Contender]:
    """Compile the generators. Raises GeneratorError, RuntimeUnavailableError, and EvaluationError where several source
    frames are asked for and no generator takes them."""
    executor = load_runtime(runtime)
    contenders = []
    for name in dict.fromkeys(generators):
        generator = load_generator(name, size)
        detector = executor.detector(generator) if isinstance(generator, KeypointGenerator) else None
        contenders.append(Contender(name, generator, executor.compile(generator), detector))
    if max(sources) > 1 and not any(contender.takes_several_sources for contender in contenders):
        names = ", ".join(contender.name for contender in contenders)
        raise EvaluationError(f"{names}: takes one source frame only; leave --sources at 1")
    return contenders
