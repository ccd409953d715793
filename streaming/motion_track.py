"""A recorded motion track: the motion of a performance and its voice, in one .npz file.

The file holds plain arrays only (no pickle): `format` and `version`, `rate`, then per frame `time`, `confidence` and
what its kind of motion consists of (of a face `rotation`, `translation`, `scale`, `expression` and `gaze`, of keypoints
`points` and `jacobians`), and `audio` if there is a voice. Everything is checked on loading, sizes before anything is
unpacked, so that a track from a stranger is safe to open.
"""

from __future__ import annotations

import math
import os
import threading
import time as clocks
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.motion import Motion
from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ, InputError, Samples, check_samples
from streaming.motion_kind import FACE, KINDS, MotionKind, alike, kind_of

FORMAT = "visavis-motion"
VERSION = 1
STATES_LIMIT = 2 * 3600 * 60
"Two hours at 60 states a second."
AUDIO_LIMIT = 2 * 3600 * AUDIO_RATE_HZ
_NUMBER_BYTES = 8
_COMMON = {"format", "version", "rate", "audio"}


@dataclass(frozen=True, eq=False)
class MotionTrack:
    """States in order of time, at a nominal rate, with an optional voice that starts at time 0."""

    states: tuple[Motion, ...]
    rate: float
    "States a second; frames without a face are missing, their time is not."
    audio: Samples | None = None
    "(N,) int16 mono 48 kHz from time 0 on."

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", tuple(self.states))
        if not self.states:
            raise ValueError("states: a motion track needs at least one")
        if len(self.states) > STATES_LIMIT:
            raise ValueError(f"states: {len(self.states)}, at most {STATES_LIMIT} are stored")
        if not all(alike(self.states[0], state) for state in self.states):
            raise ValueError("states: differ in their kind, or in the number of expression coefficients or keypoints")
        times = np.array([state.time for state in self.states])
        if (np.diff(times) <= 0).any():
            raise ValueError("states: times must increase")
        if not (np.isfinite(self.rate) and 0 < self.rate <= 1000):
            raise ValueError(f"rate: expected 0 to 1000 states a second, got {self.rate}")
        if self.audio is not None and check_samples(self.audio).size > AUDIO_LIMIT:
            raise ValueError(f"audio: {self.audio.size} samples, at most {AUDIO_LIMIT} are stored")

    @property
    def duration(self) -> float:
        """Seconds from 0 to the end of the last state or of the voice, whichever is later."""
        voice = self.audio.size / AUDIO_RATE_HZ if self.audio is not None else 0.0
        return max(self.states[-1].time + 1.0 / self.rate, voice)

    def save(self, path: str | Path) -> None:
        """Write the track, or leave what was there before: the file appears under its name only when it is whole.

        Raises OSError if the folder cannot be written.
        """
        path = Path(path)
        arrays: dict[str, Any] = {
            name: np.array(
                [getattr(state, name) for state in self.states], np.float64 if name == "time" else np.float32
            )
            for name in _columns(kind_of(self.states[0]))
        }
        if self.audio is not None:
            arrays["audio"] = self.audio
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with open(partial, "wb") as file:
                np.savez_compressed(
                    file, format=np.array(FORMAT), version=np.array(VERSION), rate=np.array(float(self.rate)), **arrays
                )
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> MotionTrack:
        """Read a track. Raises InputError if it does not exist, has another version, or is not plausible."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            _check_sizes(path)
            with np.load(path, allow_pickle=False) as archive:
                return cls._from_arrays({name: archive[name] for name in archive.files})
        except Exception as error:  # NumPy, zipfile and zlib raise a dozen types for what is not theirs
            raise InputError(
                f"{path}: is not a motion track that can be read ({_reason(error)}); record it again"
            ) from error

    @classmethod
    def _from_arrays(cls, arrays: dict[str, Any]) -> MotionTrack:
        if str(arrays["format"]) != FORMAT:
            raise ValueError("another kind of .npz file")
        if int(arrays["version"]) != VERSION:
            raise ValueError(f"version {int(arrays['version'])}, this release reads version {VERSION}")
        count = arrays["time"].shape[0] if arrays["time"].ndim == 1 else -1
        # A face's arrays are asked for where there are none of any kind.
        kind = next((kind for kind in KINDS if any(name in arrays for name in kind.columns)), FACE)
        columns = _columns(kind)
        for name in arrays.keys() - columns.keys() - _COMMON:
            raise ValueError(f"unexpected part {name!r} beside {kind.noun}")
        for name, shape in columns.items():
            array = arrays[name]
            if array.dtype.kind != "f" or array.ndim != 1 + len(shape) or array.shape[0] != count:
                raise ValueError(f"{name}: unexpected {array.dtype} {array.shape}")
        states = tuple(
            kind.from_columns(
                {name: arrays[name][frame] for name in kind.columns},
                float(arrays["time"][frame]),
                float(arrays["confidence"][frame]),
            )
            for frame in range(count)
        )
        return cls(states, float(arrays["rate"]), check_samples(arrays["audio"]) if "audio" in arrays else None)


def _columns(kind: MotionKind[Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of one frame's part of each array; -1: the count of the track's coefficients or keypoints."""
    return {"time": (), **kind.columns, "confidence": ()}


def _check_sizes(path: Path) -> None:
    """Refuse an archive whose parts claim to be larger than any track's, before a byte is unpacked."""
    numbers = {
        name: math.prod(kind.count_limit if length < 0 else length for length in shape) * STATES_LIMIT
        for kind in KINDS
        for name, shape in _columns(kind).items()
    }
    limits = {f"{name}.npy": count * _NUMBER_BYTES + 4096 for name, count in numbers.items()}
    limits |= {"audio.npy": 2 * AUDIO_LIMIT + 4096, "format.npy": 4096, "version.npy": 4096, "rate.npy": 4096}
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.file_size > limits.get(part.filename, -1):
                raise ValueError(f"unexpected part {part.filename[:40]!r} of {part.file_size} bytes")


def _reason(error: BaseException) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) and error.args else str(error)


class MotionTrackPlayer:
    """A motion track in real time: states and voice become due at their times after the first read."""

    has_picture = True
    "There is something to `read`, as with a `LiveInput`."

    def __init__(
        self,
        track: MotionTrack,
        loop: bool = False,
        clock: Callable[[], float] = clocks.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """loop: start again at the end, times go on. clock and wait: for tests."""
        self.has_audio = track.audio is not None
        self._track = track
        self._loop = loop
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._start_lock = threading.Lock()
        self.epoch: float | None = None
        self._state_number = 0
        self._block_number = 0

    def read(self) -> Motion | None:
        """The next state when it is due, with its time in this playing; None at the end or after `close`."""
        turn, index = divmod(self._state_number, len(self._track.states))
        if turn and not self._loop:
            return None
        self._state_number += 1
        state = self._track.states[index]
        time = state.time + turn * self._track.duration
        self._sleep_until(time)
        if self._closed.is_set():
            return None
        return replace(state, time=time)

    def read_audio(self) -> tuple[float, Samples] | None:
        """The next 20 ms of the voice when they are due, and the time of the first sample; None at the end."""
        audio = self._track.audio
        if audio is None:
            return None
        period = round(self._track.duration * AUDIO_RATE_HZ) if self._loop else audio.size
        begin = self._block_number * AUDIO_BLOCK
        if begin >= period and not self._loop:
            return None
        self._block_number += 1
        samples = np.zeros(AUDIO_BLOCK, np.int16)
        positions = (begin + np.arange(AUDIO_BLOCK)) % period if self._loop else begin + np.arange(AUDIO_BLOCK)
        spoken = positions < audio.size
        samples[spoken] = audio[positions[spoken]]
        self._sleep_until((begin + AUDIO_BLOCK) / AUDIO_RATE_HZ)
        return None if self._closed.is_set() else (begin / AUDIO_RATE_HZ, samples)

    def close(self) -> None:
        """Wake the readers; a second call does nothing."""
        self._closed.set()

    def _sleep_until(self, time: float) -> None:
        with self._start_lock:
            if self.epoch is None:
                self.epoch = self._clock()
        delay = time - (self._clock() - self.epoch)
        if delay > 0:
            self._wait(delay)
