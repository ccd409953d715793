"""How a head moves by itself while its voice is heard: nods and sways, and blinks; both drawn with a seed.

In the spirit of the head motion learner of Rhythmic Head Motion (ECCV 2020), which maps voice features linearly to
motion and judges it by its mean and deviation and those of its differences: a linear model with the voice's accents as
its input, and noise of the kind that is left over, so that its statistics are those of people who talk. It sees the
past alone and can go on for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import Mel
from engine.weights import WeightsError

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

TICK = 0.04
"Seconds between the poses that are drawn."
POSE = 6
"Numbers of a pose: rotation vector (radians), place (head units), logarithm of the scale; relative to the habit."
ACCENTS = 3
"Numbers that `Prosody` says of a moment."
_BANDS = slice(10, 45)
"Of the mel columns: 300 Hz to 2.4 kHz, where vowels are loud."
_FAST, _SLOW = 0.06, 1.2
"Seconds: of a syllable, and of a phrase."


class Prosody:
    """Accents of a voice: (3,) how much louder the syllable is than the phrase, how fast it rises, whether one talks.

    Levels are in the mel's unit, 12.5 dB.
    """

    def __init__(self, columns_per_second: float) -> None:
        self._shares = tuple(1.0 - np.exp(-1.0 / (seconds * columns_per_second)) for seconds in (_FAST, _SLOW))
        self._fast = self._slow = -4.0

    def push(self, mel: Mel) -> Doubles:
        """(n, bands) columns to (n, 3)."""
        loudness = mel[:, _BANDS].mean(axis=1).astype(np.float64)
        found = np.empty((len(mel), ACCENTS))
        for number, level in enumerate(loudness):
            before = self._fast
            self._fast += self._shares[0] * (level - self._fast)
            self._slow += self._shares[1] * (level - self._slow)
            rise = max(self._fast - before, 0.0) / self._shares[0]
            found[number] = self._fast - self._slow, rise, 1.0 / (1.0 + np.exp(-2.0 * (self._slow + 2.5)))
        return found


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A damped spring: from tick to tick

    velocity = damping @ velocity - spring @ pose + accent @ accents + (still or talking noise) @ normal
    pose = pose + velocity
    """

    damping: Array
    "(6, 6)"
    spring: Array
    "(6, 6)"
    accent: Array
    "(6, 3)"
    accent_mean: Array
    "(3,) taken off the accents, so that the pose's mean is 0."
    still: Array
    "(6, 6) lower triangle: noise while nobody talks."
    talking: Array
    "(6, 6) lower triangle: noise while somebody does."
    limit: Array
    "(6,) poses stay within this, positive; a drawn one may come near it once in minutes."

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> HeadModel:
        """Of `head.*` of the voice's weights. Raises WeightsError where they are missing or would run away."""
        square, wide = (POSE, POSE), (POSE, ACCENTS)
        shapes: dict[str, tuple[int, ...]] = {"damping": square, "spring": square, "still": square, "talking": square}
        shapes |= {"accent": wide, "accent_mean": (ACCENTS,), "limit": (POSE,)}
        for name, shape in shapes.items():
            if f"head.{name}" not in arrays or arrays[f"head.{name}"].shape != shape:
                raise WeightsError(f"voice: head.{name} is missing or of another shape; train it again")
        model = cls(**{name: arrays[f"head.{name}"] for name in shapes})
        if model.memory() >= 1.0:
            raise WeightsError("voice: the head model is not stable; train it again")
        return model

    def memory(self) -> float:
        """The share of a displacement that is left after a tick at the slowest; below 1 for what stays bounded."""
        return float(np.abs(np.linalg.eigvals(self.transition())).max())

    def transition(self) -> Doubles:
        """(12, 12) pose and velocity of a tick to those of the next, without accents and noise."""
        pull = np.vstack((np.eye(POSE) - self.spring, -self.spring))
        return np.hstack((pull, np.vstack((self.damping, self.damping)))).astype(np.float64)


class HeadMotion:
    """One head: ask for a pose every TICK."""

    def __init__(self, model: HeadModel, seed: int = 0) -> None:
        self._model = model
        self._random = np.random.default_rng((seed, 0))
        self._pose = self._velocity = np.zeros(POSE)

    def step(self, accents: Doubles) -> Doubles:
        """The next pose, (6,). accents: of `Prosody`."""
        model = self._model
        talks = float(accents[2])
        velocity = model.damping @ self._velocity - model.spring @ self._pose
        velocity += model.accent @ (accents - model.accent_mean)
        velocity += ((1.0 - talks) * model.still + talks * model.talking) @ self._random.standard_normal(POSE)
        pose = np.clip(self._pose + velocity, -model.limit, model.limit)
        self._velocity, self._pose = pose - self._pose, pose
        return pose.copy()


@dataclass(frozen=True)
class BlinkConfig:
    """When and how the eyes close. Rates as of people in conversation (Bentivoglio and others, 1997)."""

    per_minute_talking: float = 18.0
    per_minute_pausing: float = 36.0
    "Pauses of speech attract blinks."
    rest: float = 0.5
    "Seconds between the end of one and the beginning of the next, at least."
    closing: float = 0.08
    "Seconds."
    opening: float = 0.16

    def __post_init__(self) -> None:
        if min(self.per_minute_talking, self.per_minute_pausing, self.closing, self.opening) <= 0 or self.rest < 0:
            raise ValueError(f"expected positive numbers: {self}")


class Blinks:
    """The lids of one face: ask for their closure every TICK."""

    def __init__(self, config: BlinkConfig = BlinkConfig(), seed: int = 0) -> None:
        self._config = config
        self._random = np.random.default_rng((seed, 1))
        self._begun = -(config.closing + config.opening)
        self._time = 0.0

    def step(self, accents: Doubles) -> float:
        """The closure at the next tick, from 0 (open) to 1. accents: of `Prosody`."""
        config = self._config
        self._time += TICK
        since = self._time - self._begun
        if since > config.closing + config.opening + config.rest:
            pausing = min(max(-float(accents[0]), 0.0), 1.0)
            a_minute = config.per_minute_talking + pausing * (config.per_minute_pausing - config.per_minute_talking)
            if self._random.random() < a_minute / 60.0 * TICK:
                self._begun, since = self._time, 0.0
        if since < config.closing:
            return float(0.5 - 0.5 * np.cos(np.pi * since / config.closing))
        opened = min((since - config.closing) / config.opening, 1.0)
        return float(0.5 + 0.5 * np.cos(np.pi * opened))
