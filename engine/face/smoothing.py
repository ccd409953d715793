"""Steadies the motion without delaying it: One-Euro filters on every field of a `FaceState`.

A One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) is a low-pass whose cut-off rises with the speed of the signal: a
resting face stands still, a moving one is followed at once. Here a group of numbers shares one cut-off, taken from the
fastest of them in units of their noise, so that a blink or an opening mouth takes the whole expression along and is not
rounded off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.face.model import FaceModel
from engine.motion import FaceState, rotation_matrix, rotation_vector

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class OneEuroConfig:
    """One group of numbers."""

    rest_hz: float
    "Cut-off for a signal that rests."
    speed_hz: float
    "Rise of the cut-off for each unit of speed, a unit being the noise per frame of 40 ms."
    dead_speed: float = 1.0
    "Speed, in the same unit, that noise alone reaches: it does not raise the cut-off."
    derivative_hz: float = 12.0
    "Cut-off of the low-pass on the speed: high, or the filter notices the start of a movement late."


@dataclass(frozen=True)
class SmootherConfig:
    """Noise levels of MediaPipe's landmarks after the fit, and how each field is filtered."""

    rotation: OneEuroConfig = field(default_factory=lambda: OneEuroConfig(2.5, 3.0))
    rotation_noise: float = 0.004
    "Radians."
    place: OneEuroConfig = field(default_factory=lambda: OneEuroConfig(2.5, 3.0))
    place_noise: float = 0.004
    "Of translation and scale in units of the head's scale."
    expression: OneEuroConfig = field(default_factory=lambda: OneEuroConfig(5.0, 4.0))
    expression_noise: float = 0.0006
    "Head units, weighted RMS: the coefficients' own unit."
    gaze: OneEuroConfig = field(default_factory=lambda: OneEuroConfig(3.0, 3.0))
    gaze_noise: float = 0.01
    "Eye widths."
    gap_seconds: float = 0.5
    "After a longer gap the filter starts anew."


class OneEuroFilter:
    """One group of numbers, already in units of their noise."""

    def __init__(self, config: OneEuroConfig) -> None:
        self._config = config
        self._value: Doubles | None = None
        self._speed = np.zeros(0)
        self._raw = np.zeros(0)

    def reset(self) -> None:
        """Forget the past."""
        self._value = None

    def step(self, value: Doubles, seconds: float) -> Doubles:
        """The filtered value, `seconds` after the one before."""
        if self._value is None or self._value.shape != value.shape:
            self._value, self._raw, self._speed = value.copy(), value.copy(), np.zeros_like(value)
            return self._value.copy()
        config = self._config
        speed = (value - self._raw) * (0.04 / seconds)
        self._speed += _share(config.derivative_hz, seconds) * (speed - self._speed)
        fastest = max(float(np.abs(self._speed).max()) - config.dead_speed, 0.0)
        cutoff = config.rest_hz + config.speed_hz * fastest
        self._value = self._value + _share(cutoff, seconds) * (value - self._value)
        self._raw = value.copy()
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
        relative = self._rotation.step(relative / config.rotation_noise, seconds) * config.rotation_noise
        place = np.array((*state.translation / self._unit, np.log(state.scale)))
        place = self._place.step(place / config.place_noise, seconds) * config.place_noise
        expression = self._expression.step(state.expression / config.expression_noise, seconds)
        gaze = self._gaze.step(state.gaze / config.gaze_noise, seconds) * config.gaze_noise
        return FaceState(
            rotation=rotation_vector(self._base @ rotation_matrix(relative.astype(np.float32))).astype(np.float32),
            translation=(place[:2] * self._unit).astype(np.float32),
            scale=float(np.exp(place[2])),
            expression=(expression * config.expression_noise).astype(np.float32),
            gaze=gaze.astype(np.float32),
            time=state.time,
            confidence=state.confidence,
        )
