"""Lets the voice stand in for motion: for all of it while no camera is on, for the mouth where packets are missing.

Where motion breaks off, the face goes on from what was last shown: the difference between that and what the voice says
melts into what it usually is. A longer gap brings nods and blinks. Where motion comes back, the difference between what
was shown and what has come melts away. So nothing jumps. Time is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from engine.motion import Array, FaceState
from streaming.motion_kind import alike
from streaming.playout import MotionView

_POSE = 8
"Numbers of pose and gaze, before the expression."


class Spoken(Protocol):
    """What says how the voice moves the face: `streaming.voice_animation.VoiceAnimation`."""

    def state(self, media_time: float, idle: float = 1.0) -> FaceState | None: ...

    def neutral(self, media_time: float) -> FaceState: ...


@dataclass(frozen=True)
class FillConfig:
    """How fast one motion gives way to the other; seconds."""

    settle: float = 0.08
    "Time constant with which the face goes from where motion broke off to what the voice says: lips forget fast."
    usual: float = 4.0
    "Time constant with which the usual difference between the driver's expression and his voice's is learned."
    idle_after: float = 0.6
    "Gaps that are longer than this bring nods and blinks,"
    idle_within: float = 1.2
    "which are all there so much later."
    mouth_back: float = 0.08
    "In which the expression melts into motion that has come back,"
    head_back: float = 0.25
    "and in which pose and gaze do."

    def __post_init__(self) -> None:
        if min(self.settle, self.usual, self.idle_within, self.mouth_back, self.head_back) <= 0 or self.idle_after < 0:
            raise ValueError(f"expected positive numbers: {self}")


class VoiceFill:
    """Makes one view of the motion's and the voice's."""

    def __init__(self, config: FillConfig = FillConfig()) -> None:
        self._config = config
        self.begin()

    def begin(self) -> None:
        """Another call: forget what was shown."""
        self._usual: Array | None = None
        self._learned = 0.0
        self._time = -math.inf
        self._gap: tuple[float, Array] | None = None
        "When the voice began to fill a gap, and the expression's difference to the voice's then."
        self._driver: MotionView | None = None
        self._concealed = False
        self._melting: tuple[float, Array] | None = None
        "Since when the shown differs from the motion, and by what then."
        self._last: FaceState | None = None
        self._alone: FaceState | None = None
        "What the voice's motion is measured from, since it drives alone."
        self._origin: FaceState | None = None

    def view(self, motion: MotionView | None, media_time: float, spoken: Spoken) -> MotionView | None:
        """What to show. motion: what there is of the driver's; None while there is none at all."""
        elapsed = min(max(media_time - self._time, 0.0), 0.2)
        self._time = media_time
        if motion is None and self._driver is not None:  # a stream that begins anew
            motion = replace(self._driver, media_time=media_time, concealed=True)
        if motion is None:
            return self._only_voice(media_time, spoken)
        if not isinstance(motion.state, FaceState):
            return motion
        self._driver = motion
        if self._alone is not None:
            self._hand_over(motion.state, media_time)
        voice = spoken.state(media_time, 0.0)
        if voice is not None and voice.expression.size != motion.state.expression.size:
            voice = None  # of another face model
        if not motion.concealed:
            if self._concealed and self._last is not None and alike(self._last, motion.state):
                self._melting = media_time, _numbers(self._last) - _numbers(motion.state)
            self._gap = None
            if voice is not None:
                self._learn(motion.state, voice, elapsed)
        self._concealed = motion.concealed
        state = self._melted(motion.state, media_time)
        if motion.concealed and voice is not None:
            state = self._filled(motion, state, voice, spoken)
        self._last = state
        return replace(motion, state=state, origin=self._origin)

    def _only_voice(self, media_time: float, spoken: Spoken) -> MotionView | None:
        state = spoken.state(media_time)
        if state is None:
            return None
        if self._alone is None:
            self._alone = self._origin = spoken.neutral(media_time)
        self._last = state
        return MotionView(media_time, state, media_time, concealed=False, origin=self._origin)

    def _hand_over(self, state: FaceState, media_time: float) -> None:
        """A camera was turned on: its pose is another one's, of which the first is taken for the usual one."""
        assert self._alone is not None
        assert self._last is not None
        difference = _numbers(self._last) - _numbers(self._alone)
        if self._last.expression.size == state.expression.size:
            difference[_POSE:] = self._last.expression - state.expression
            self._melting = media_time, difference
        self._alone, self._origin = None, state

    def _filled(self, view: MotionView, held: FaceState, voice: FaceState, spoken: Spoken) -> FaceState:
        config, now = self._config, view.media_time
        if self._gap is None:
            self._gap = now, held.expression - voice.expression
        begin, difference = self._gap
        usual = np.zeros_like(difference) if self._usual is None else self._usual
        left = math.exp(-max(now - begin, 0.0) / config.settle)
        idle = _smooth((view.age - config.idle_after) / config.idle_within)
        lively = spoken.state(now, idle) or voice
        moved = _numbers(lively) - _numbers(spoken.neutral(now))
        expression = lively.expression + usual + left * (difference - usual)
        return replace(_moved(held, moved), expression=expression)

    def _melted(self, state: FaceState, now: float) -> FaceState:
        """The motion's state with what is left of the difference to what was shown before."""
        if self._melting is None:
            return state
        since, difference = self._melting
        config = self._config
        if not 0 <= now - since < max(config.mouth_back, config.head_back):
            self._melting = None
            return state
        left = np.full(len(difference), 1.0 - _smooth((now - since) / config.head_back), np.float32)
        left[_POSE:] = 1.0 - _smooth((now - since) / config.mouth_back)
        return _moved(state, left * difference)

    def _learn(self, state: FaceState, voice: FaceState, elapsed: float) -> None:
        """The driver's usual expression beside his voice's: a running mean, of little weight at first."""
        difference = state.expression - voice.expression
        self._learned += elapsed * state.confidence
        if self._usual is None or self._usual.shape != difference.shape:
            self._usual, self._learned = difference, 0.0
        share = elapsed * state.confidence / min(max(self._learned, 0.04), self._config.usual)
        self._usual = self._usual + np.float32(min(share, 1.0)) * (difference - self._usual)


def _numbers(state: FaceState) -> Array:
    """(8 + E,) rotation vector, place in head units, logarithm of the scale, gaze, expression."""
    place = state.translation / state.scale
    parts = (state.rotation, place, (math.log(state.scale),), state.gaze, state.expression)
    return np.concatenate(parts, dtype=np.float32)


def _moved(state: FaceState, by: Array) -> FaceState:
    """The state moved by a difference of `_numbers`; for small turns their vectors add up."""
    numbers = _numbers(state) + by
    scale = math.exp(float(numbers[5]))
    return replace(
        state,
        rotation=numbers[:3],
        translation=scale * numbers[3:5],
        scale=scale,
        gaze=numbers[6:_POSE],
        expression=numbers[_POSE:],
    )


def _smooth(share: float) -> float:
    """From 0 to 1 without a corner."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)
