"""The motion of a head, made of the voice that it speaks with: mouth, nods and blinks, as `FaceState`s.

The mouth follows the voice through a small causal network; the head and the lids move by themselves, in time with the
voice's accents. Everything is said LOOK_AHEAD after it was heard at the latest, and the same voice with the same seed
gives the same motion however it is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import Mel, MelConfig, MelStream
from engine.audio.sound_file import Wave
from engine.audio.voice_head import POSE, TICK, Blinks, HeadModel, HeadMotion, Prosody
from engine.audio.voice_network import VoiceNetwork
from engine.motion import FaceState
from engine.weights import WeightsError, weights_path
from engine.weights.stored_arrays import read_arrays

Array = NDArray[np.float32]

NAME = "voice"
MEL = MelConfig()
AHEAD = 4
"Columns: the network's answer for a column is read when it has seen so many more."
LOOK_AHEAD = AHEAD * MEL.hop / MEL.rate_hz + MEL.window / 2 / MEL.rate_hz
"Seconds of voice after a moment that its motion needs: 75 ms."
SCALE = 0.25
"Of the head, frame units: any will do, as relative motion takes the source's own."
_KEPT_S = 10.0
"Seconds of motion that can still be asked for."
_ZEROS = np.zeros(3, np.float32)
_STRAIGHT = _ZEROS[:2]
_COLUMNS_A_TICK = TICK * MEL.rate_hz / MEL.hop


@dataclass(frozen=True)
class VoiceMotionConfig:
    """How lively the head is."""

    mouth: float = 1.0
    "Times what the network says. Above 1 the mouth opens wider than is most probable, and looks livelier."
    head: float = 1.0
    "Times the motion of people who talk; 0: the head stands still."
    blinks: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.mouth <= 3 and 0 <= self.head <= 3):
            raise ValueError("mouth and head: expected 0 to 3")


@dataclass(frozen=True, eq=False)
class VoiceModel:
    """What was learned of people who talk."""

    network: VoiceNetwork
    mouth: Array
    "(K, E) expression for each output of the network."
    lids: Array
    "(E,) expression that closes the eyes."
    head: HeadModel

    @classmethod
    def load(cls, path: Path | None = None) -> VoiceModel:
        """The model in a file, or the one that is found as generators' weights are. Raises WeightsError, OSError."""
        return _loaded(path or weights_path(NAME))

    def neutral(self, time: float = 0.0) -> FaceState:
        """What relative motion is measured from: mouth closed, eyes open, head as it usually is."""
        return FaceState(_ZEROS[:3], _ZEROS[:2], SCALE, np.zeros_like(self.lids), _STRAIGHT, time)


@lru_cache(maxsize=2)
def _loaded(path: Path) -> VoiceModel:
    arrays, _ = read_arrays(path)
    try:
        network = VoiceNetwork({name.removeprefix("net."): part for name, part in arrays.items() if "net." in name})
        mouth, lids = arrays["mouth.basis"], arrays["lids.closed"]
    except KeyError as error:
        raise WeightsError(f"{path}: not the weights of `voice`, it lacks {error}") from error
    if network.bands != MEL.bands or mouth.ndim != 2 or mouth.shape != (network.outputs, lids.size):
        raise WeightsError(f"{path}: its parts do not belong together; train it again: visavis train voice")
    return VoiceModel(network, mouth, lids, HeadModel.from_arrays(arrays))


class VoiceMotion:
    """One voice. Push it as it is heard, ask for the motion of any moment up to `reached`."""

    def __init__(
        self, model: VoiceModel, config: VoiceMotionConfig = VoiceMotionConfig(), seed: int = 0, begin: float = 0.0
    ) -> None:
        """seed: two heads with different ones move differently. begin: time of the first sample, seconds."""
        self._model, self._config = model, config
        self._head = HeadMotion(model.head, seed)
        self._blinks = Blinks(seed=seed)
        self.begin(begin)

    def begin(self, begin: float) -> None:
        """The voice goes on elsewhere: its next sample is that of time `begin`. What was heard is forgotten."""
        self._mel = MelStream(MEL)
        self._stream = self._model.network.stream()
        self._prosody = Prosody(MEL.columns_per_second)
        self._begin = begin
        self._mouth = _Track(self._model.network.outputs, 1.0 / MEL.columns_per_second)
        self._pose = _Track(POSE + 1, TICK)
        self._heard = 0
        "Columns that went into the network."

    @property
    def reached(self) -> float | None:
        """Time up to which the motion is known; None before any is."""
        return self._begin + (len(self._mouth) - 1) / MEL.columns_per_second if len(self._mouth) else None

    def push(self, samples: NDArray[np.floating]) -> None:
        """(N,) further samples in [-1, 1], at 16 kHz."""
        self._take(self._mel.push(samples))

    def finish(self) -> None:
        """The voice has ended: the motion up to its last sample can be asked for."""
        silence = np.full((AHEAD + 1, MEL.bands), -MEL.limit, np.float32)
        self._take(np.concatenate((self._mel.finish(), silence)))

    def _take(self, mel: Mel) -> None:
        if not len(mel):
            return
        # What the network says of the first AHEAD columns is of a time before the voice.
        early = max(AHEAD - self._heard, 0)
        self._mouth.extend(self._stream.push(mel)[early:])
        for accents in self._prosody.push(mel):
            self._heard += 1
            if self._heard - 1 >= len(self._pose) * _COLUMNS_A_TICK:
                pose = self._head.step(accents)
                self._pose.extend(np.append(pose, self._blinks.step(accents))[None].astype(np.float32))

    def state(self, time: float, idle: float = 1.0) -> FaceState:
        """The motion at this time; beyond what is known, the nearest that is.

        idle: share of the motion of head and lids.
        """
        pose = idle * self._pose.at(time - self._begin)
        expression: Array = self._config.mouth * (self._mouth.at(time - self._begin) @ self._model.mouth)
        if self._config.blinks:
            expression += pose[POSE] * self._model.lids
        return spoken_state(self._config.head * pose[:POSE], expression, time)


def spoken_state(pose: Array, expression: Array, time: float) -> FaceState:
    """Of a pose (6,) relative to the habit, see `POSE`; to be moved by as `VoiceModel.neutral` says."""
    scale = SCALE * float(np.exp(pose[5]))
    return FaceState(pose[:3], scale * pose[3:5], scale, expression, _STRAIGHT, time)


def spoken_states(sound: Iterable[Wave], motion: VoiceMotion, rate: Fraction | float) -> Iterator[FaceState]:
    """The states at k / rate from time 0 to the sound's end, at least one.

    sound: blocks at 16 kHz, taken as needed. motion: one that begins at time 0.
    """
    samples = frames = 0
    for block in sound:
        motion.push(block)
        samples += len(block)
        while (reached := motion.reached) is not None and frames / rate <= reached:
            yield motion.state(float(frames / rate))
            frames += 1
    motion.finish()
    # In whole numbers and fractions: as floats, 5 / 25 may be less than 0.2.
    while frames == 0 or frames * MEL.rate_hz < samples * Fraction(rate):
        yield motion.state(float(frames / rate))
        frames += 1


class _Track:
    """Rows at equal distances in time from 0 on, of which the last _KEPT_S seconds are kept."""

    def __init__(self, width: int, step: float) -> None:
        self._rows = np.zeros((0, width), np.float32)
        self._step = step
        self._dropped = 0

    def __len__(self) -> int:
        return self._dropped + len(self._rows)

    def extend(self, rows: Array) -> None:
        self._rows = np.concatenate((self._rows, rows))
        # Not at every call: whole files come in long pieces, calls in short ones.
        if len(self._rows) * self._step > 2 * _KEPT_S:
            excess = len(self._rows) - round(_KEPT_S / self._step)
            self._rows, self._dropped = self._rows[excess:].copy(), self._dropped + excess

    def at(self, time: float) -> Array:
        """The row at this time, between two linearly; zeros while there is none."""
        if not len(self._rows):
            return np.zeros(self._rows.shape[1], np.float32)
        place = min(max(time / self._step - self._dropped, 0.0), len(self._rows) - 1.0)
        first = int(place)
        second = min(first + 1, len(self._rows) - 1)
        row: Array = self._rows[first] + np.float32(place - first) * (self._rows[second] - self._rows[first])
        return row
