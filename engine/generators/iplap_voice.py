"""IP-LAP driven live: a picture of the right frames for what has been heard and seen, without or with a voice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.audio.landmark_predictor import LandmarkPredictor
from engine.audio.voice_landmarks import CAUSAL, EXACT, FRAME_MS, Timing, VoiceLandmarks
from engine.face.landmarks131 import POSE
from engine.face.model import Person
from engine.generators.base import GeneratorError, Identity, Tensors
from engine.generators.iplap import WINDOW, IPLAPGenerator
from engine.motion import FaceState

Array = NDArray[np.float32]


class StateWindow:
    """Face states of a camera in, motions for `render` out: with the frames around each that the weights know.

    exact: weights that have seen two frames ahead wait for them, which takes 80 ms. Otherwise the present stands for
    the future, and nothing waits.
    """

    def __init__(self, generator: IPLAPGenerator, person: Person, exact: bool = False) -> None:
        self._generator = generator
        self._person = person
        self._ahead = WINDOW // 2 if exact and generator.seen == "centred" else 0
        self._states: deque[FaceState] = deque(maxlen=WINDOW)

    @property
    def delay_ms(self) -> float:
        """How far pictures stay behind the states."""
        return FRAME_MS * self._ahead

    def push(self, state: FaceState) -> Tensors | None:
        """The motion of the frame whose turn it is; None while the first one waits."""
        if not self._states:
            self._states.extend([state] * (WINDOW - 1 - self._ahead))
        self._states.append(state)
        known = list(self._states)
        if len(known) < WINDOW:
            return None
        seen = self._generator.seen
        if seen == "held":
            known = [state] * WINDOW
        elif seen == "centred" and not self._ahead:
            known = [known[-3], known[-2], state, state, state]
        return self._generator.motion_of(self._person, known)


class VoiceDriver:
    """Face states and a voice in, motions for `render` out: the states' poses, jaw and lips that the voice moves."""

    def __init__(
        self,
        generator: IPLAPGenerator,
        identity: Identity,
        person: Person,
        predictor: LandmarkPredictor,
        timing: Timing | None = None,
    ) -> None:
        """timing: without, the one that the weights were trained for, as published if they can. Raises GeneratorError
        for one that they were not."""
        timing = timing or (CAUSAL if predictor.causal else EXACT)
        if timing.causal != predictor.causal:
            suited = CAUSAL.name if predictor.causal else "any other"
            raise GeneratorError(f"timing {timing.name}: these weights were trained for {suited}")
        self.timing = timing
        self._generator = generator
        self._person = person
        tokens = predictor.encode(identity["points"][0])
        self._voice = VoiceLandmarks(partial(predictor.predict, tokens), timing)
        self._states: deque[FaceState] = deque()
        self._first = 0

    def add_sound(self, samples: NDArray[np.floating]) -> None:
        """As of `VoiceLandmarks`."""
        self._voice.add_sound(samples)

    def add_state(self, state: FaceState) -> None:
        """The next frame's, 25 a second."""
        points = self._generator.motion_of(self._person, [state] * WINDOW)["points"][0, 0]
        self._voice.add_pose(points[: len(POSE)])
        self._states.append(state)

    def finish(self) -> None:
        """No more will come."""
        self._voice.finish()

    def take(self) -> Iterator[tuple[int, Tensors]]:
        """Number and motion of the frames that have become possible, in order."""
        for heard in self._voice.take():
            states = [self._states[number - self._first] for number in heard.frames]
            yield heard.frame, self._generator.motion_of(self._person, states, heard.mel, heard.contents)
            while self._first < heard.frame - WINDOW:
                self._states.popleft()
                self._first += 1


def spoken_motions(
    sound: Iterable[Array], states: Callable[[Iterable[Array]], Iterable[FaceState]], driver: VoiceDriver
) -> Iterator[Tensors]:
    """The motions of a whole recording, one for each of the `states` that are made of it, 25 a second.

    sound: blocks at 16 kHz, taken as needed.
    """

    def heard() -> Iterator[Array]:
        for block in sound:
            driver.add_sound(block)
            yield block

    for state in states(heard()):
        driver.add_state(state)
        for _, motion in driver.take():
            yield motion
    driver.finish()
    for _, motion in driver.take():
        yield motion
