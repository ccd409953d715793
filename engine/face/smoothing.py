"""Steadies the motion without delaying it: One-Euro filters on every field of a `FaceState`.

A One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) is a low-pass whose cut-off rises with the speed of the signal:
a resting face stands still, a moving one is followed. Two things are different here. A group of numbers shares one
cut-off, taken from the speed of the whole group in units of its noise, so that an opening mouth takes the whole
expression along. And the result never stays further behind than `reach` units of noise: a blink lasts three to five
frames and is over before a cut-off that waits for a speed estimate has risen, but it is far larger than the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.model import FaceModel
from engine.motion import FaceState, rotation_matrix, rotation_vector

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class OneEuroConfig:
    """One group of numbers."""

    noise: float
    "Deviation of one number from frame to frame while the face rests, in the numbers' own unit."
    rest_hz: float = 2.0
    "Cut-off for a signal that rests."
    speed_hz: float = 2.0
    "Rise of the cut-off for each unit of speed: RMS over the group, in noises per frame of 40 ms."
    dead_speed: float = 1.5
    "Speed that noise alone reaches: it does not raise the cut-off."
    derivative_hz: float = 5.0
    "Cut-off of the low-pass on the speed."
    reach: float = 3.0
    "Noises by which the result may differ from what comes in."

    def __post_init__(self) -> None:
        if min(self.noise, self.rest_hz, self.derivative_hz) <= 0 or min(self.speed_hz, self.reach) < 0:
            raise ValueError(f"expected positive numbers: {self}")


@dataclass(frozen=True)
class SmootherConfig:
    """The noise of each field, measured on faces that rest, with MediaPipe's landmarks and our fit."""

    rotation: OneEuroConfig = OneEuroConfig(noise=0.004)
    "Radians."
    place: OneEuroConfig = OneEuroConfig(noise=0.003)
    "Translation in units of the head's scale, and the logarithm of the scale."
    expression: OneEuroConfig = OneEuroConfig(noise=0.0007, speed_hz=4.0, reach=1.0)
    "The coefficients' own unit. Followed more closely than the pose: lips that come late are seen before a tremble is."
    gaze: OneEuroConfig = OneEuroConfig(noise=0.006)
    "Eye widths."
    gap_seconds: float = 0.5
    "After a longer gap the filter starts anew."


class OneEuroFilter:
    """One group of numbers."""

    def __init__(self, config: OneEuroConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._value: Doubles | None = None

    def step(self, value: Doubles, seconds: float) -> Doubles:
        """The filtered value, `seconds` after the one before."""
        if self._value is None:
            self._value, self._raw, self._speed = value.copy(), value.copy(), np.zeros_like(value)
            return value.copy()
        config = self._config
        speed = (value - self._raw) * (0.04 / seconds / config.noise)
        self._raw = value.copy()
        self._speed += _share(config.derivative_hz, seconds) * (speed - self._speed)
        moving = max(float(np.sqrt(np.square(self._speed).mean())) - config.dead_speed, 0.0)
        share = _share(config.rest_hz + config.speed_hz * moving, seconds)
        behind = (1.0 - share) * (value - self._value)
        limit = config.reach * config.noise
        self._value = value - np.clip(behind, -limit, limit)
        return self._value.copy()


def _share(cutoff_hz: float, seconds: float) -> float:
    """How far a first-order low-pass goes towards its input in `seconds`."""
    return 1.0 - float(np.exp(-2.0 * np.pi * cutoff_hz * seconds))


class FaceStateSmoother:
    """Filters the states of one face, in order of their times."""

    def __init__(self, model: FaceModel, config: SmootherConfig = SmootherConfig()) -> None:
        self._config = config
        self._size = model.expression_size
        self._rotation = OneEuroFilter(config.rotation)
        self._place = OneEuroFilter(config.place)
        self._expression = OneEuroFilter(config.expression)
        self._gaze = OneEuroFilter(config.gaze)
        self.reset()

    def reset(self) -> None:
        """Start anew, for another face or after a loss."""
        for one in (self._rotation, self._place, self._expression, self._gaze):
            one.reset()
        self._time: float | None = None
        self._base = np.eye(3)

    def step(self, state: FaceState) -> FaceState:
        """The filtered state; time and confidence are kept. Raises ValueError for another number of coefficients."""
        if state.expression.size != self._size:
            raise ValueError(f"expression: expected {self._size} coefficients, got {state.expression.size}")
        config = self._config
        seconds = 0.04 if self._time is None else state.time - self._time
        if seconds > config.gap_seconds or seconds < -config.gap_seconds:
            self.reset()
            seconds = 0.04
        # Repeated or slightly disordered times: filter on, without dividing by nothing.
        seconds = max(seconds, 0.002)
        if self._time is None:
            self._base = rotation_matrix(state.rotation)
            self._unit = state.scale
        self._time = state.time
        # Rotation vectors wrap around; relative to the first pose they stay small for any head.
        relative = rotation_vector(self._base.T @ rotation_matrix(state.rotation))
        relative = self._rotation.step(relative, seconds)
        place = np.array((*state.translation / self._unit, np.log(state.scale)), np.float64)
        place = self._place.step(place, seconds)
        expression = self._expression.step(state.expression.astype(np.float64), seconds)
        gaze = self._gaze.step(state.gaze.astype(np.float64), seconds)
        return FaceState(
            rotation=rotation_vector(self._base @ rotation_matrix(relative)).astype(np.float32),
            translation=(place[:2] * self._unit).astype(np.float32),
            scale=float(np.exp(place[2])),
            expression=expression.astype(np.float32),
            gaze=gaze.astype(np.float32),
            time=state.time,
            confidence=state.confidence,
        )
