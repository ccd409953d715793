"""Motion on its way to the display: decoded motions at irregular times in, the motion at any media time out.

Between two states it interpolates; beyond the newest it goes on with a velocity that decays, and holds; when motion
comes back after that, it eases over from what was shown. Pure functions and a bounded buffer; time is an argument.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from engine.motion import Array, FaceState, Keypoints, Motion
from streaming.motion_kind import alike

CAPACITY = 100
"States that are kept: four seconds at 25 a second."
DECAY = 0.05
"Seconds in which the velocity of extrapolated motion falls to a third: speech does not keep its direction longer."
EASE = 0.08
"Seconds over which motion that comes back is blended in."
HELD_AFTER = 0.04
"Seconds beyond the newest state after which the motion counts as concealed."
RESTART = 5.0
"A state that is this many seconds older than the newest one is a new beginning of the media clock, not a late packet."


def quaternion(rotation: Array) -> NDArray[np.float64]:
    """(3,) rotation vector to a unit quaternion (w, x, y, z)."""
    vector = rotation.astype(np.float64)
    angle = float(np.linalg.norm(vector))
    factor = 0.5 - angle**2 / 48 if angle < 1e-4 else math.sin(angle / 2) / angle
    return np.concatenate(([math.cos(angle / 2)], factor * vector))


def rotation_vector(unit: NDArray[np.float64]) -> Array:
    """Unit quaternion (w, x, y, z) to the rotation vector of at most half a turn."""
    w, vector = float(unit[0]), unit[1:]
    if w < 0:
        w, vector = -w, -vector
    sine = float(np.linalg.norm(vector))
    factor = 2.0 if sine < 1e-6 else 2 * math.atan2(sine, w) / sine
    return np.asarray(factor * vector, np.float32)


def slerp(first: Array, second: Array, fraction: float) -> Array:
    """The rotation vector `fraction` of the shortest way from the first to the second; beyond 1 it turns on."""
    a, b = quaternion(first), quaternion(second)
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = math.acos(min(cosine, 1.0))
    if angle < 1e-4:
        mixed = a + fraction * (b - a)
    else:
        mixed = (math.sin((1 - fraction) * angle) * a + math.sin(fraction * angle) * b) / math.sin(angle)
    return rotation_vector(mixed / np.linalg.norm(mixed))


@singledispatch
def interpolate(first: Motion, second: Motion, fraction: float) -> Motion:
    """The motion `fraction` of the way from the first to the second. Beyond 1 it extrapolates. Both are alike."""
    raise TypeError(f"no way to interpolate {type(first).__name__}")


@interpolate.register
def interpolate_faces(first: FaceState, second: FaceState, fraction: float) -> FaceState:
    """The rotation along the shortest turn, the scale geometrically, all else (and the time) linearly."""
    return FaceState(
        rotation=slerp(first.rotation, second.rotation, fraction),
        translation=_mix(first.translation, second.translation, fraction),
        scale=first.scale * (second.scale / first.scale) ** fraction,
        expression=_mix(first.expression, second.expression, fraction),
        gaze=_mix(first.gaze, second.gaze, fraction),
        time=first.time + fraction * (second.time - first.time),
        confidence=_mixed_confidence(first, second, fraction),
    )


@interpolate.register
def interpolate_keypoints(first: Keypoints, second: Keypoints, fraction: float) -> Keypoints:
    """Everything linearly.

    Of Jacobians too: between frames they differ by a few percent, where turning and stretching add up and a detour
    over angles would change nothing (half way across 0.1 radians, the length is off by 0.1 %); and they come from a
    network, so that nothing says they are a turn and a stretch at all.
    """
    return Keypoints(
        points=_mix(first.points, second.points, fraction),
        jacobians=_mix(first.jacobians, second.jacobians, fraction),
        time=first.time + fraction * (second.time - first.time),
        confidence=_mixed_confidence(first, second, fraction),
    )


def _mix(first: Array, second: Array, fraction: float) -> Array:
    return np.asarray(first + fraction * (second - first), np.float32)


def _mixed_confidence(first: Motion, second: Motion, fraction: float) -> float:
    return min(max(first.confidence + fraction * (second.confidence - first.confidence), 0.0), 1.0)


def continued(previous: Motion, newest: Motion, ahead: float) -> Motion:
    """The newest state moved on by `ahead` seconds with the velocity since the previous one, decaying."""
    step = newest.time - previous.time
    if not 0.01 <= step <= 0.2 or ahead <= 0:
        return newest
    travelled = DECAY * (1 - math.exp(-ahead / DECAY))
    return replace(interpolate(previous, newest, 1 + travelled / step), time=newest.time + ahead)


@dataclass(frozen=True, eq=False)
class MotionView:
    """What to show at one moment."""

    media_time: float
    "The media time that the playout clock asked for, in seconds."
    state: Motion
    "The motion at that time."
    shown_time: float
    "Media time of the newest motion that went into the state, at most `media_time`: older if packets are missing."
    concealed: bool
    "True if motion is missing at this time and the state is a guess."
    origin: Motion | None = None
    "What relative motion is to be measured from, where that is known; another one when another driver takes over."

    @property
    def age(self) -> float:
        """Seconds by which the motion lags behind the media time: 0 unless packets are missing or late."""
        return self.media_time - self.shown_time


class MotionBuffer:
    """Keeps the newest states in the order of their times."""

    def __init__(self, eases: bool = True) -> None:
        """eases: whether motion that comes back is blended in here, and not by who shows something else meanwhile."""
        self._eases = eases
        self._states: list[Motion] = []
        self._times: list[float] = []
        self._shown = -math.inf
        self._last: MotionView | None = None
        self._ease: Callable[[Motion, float], Motion] | None = None
        self.received = 0
        "States that were put in."
        self.late = 0
        "States that came after a later one was already shown."

    def __len__(self) -> int:
        return len(self._states)

    @property
    def newest(self) -> Motion | None:
        return self._states[-1] if self._states else None

    def insert(self, state: Motion) -> None:
        """Put in a state, in any order. One that comes after its time is counted and still used if it is the newest."""
        if self._times and (state.time < self._times[-1] - RESTART or not alike(state, self._states[-1])):
            self.clear()
        self.received += 1
        if state.time < self._shown:
            self.late += 1
        index = bisect_right(self._times, state.time)
        if index and self._times[index - 1] == state.time:
            return
        self._times.insert(index, state.time)
        self._states.insert(index, state)
        if len(self._states) > CAPACITY:
            del self._states[0], self._times[0]

    def view(self, media_time: float) -> MotionView | None:
        """The motion at this media time; None before the first state is due."""
        if not self._states:
            return None
        view = self._at(media_time)
        last = self._last
        back = last is not None and last.concealed and last.age > EASE and view.shown_time > last.shown_time
        if last is not None and back and self._eases:
            self._ease = _eased_from(last, media_time)
        if self._ease is not None:
            view = replace(view, state=self._ease(view.state, media_time))
        self._last = view
        self._shown = max(self._shown, view.shown_time)
        # The state before the one that is shown gives the velocity; older ones are done with.
        done = bisect_right(self._times, media_time) - 2
        if done > 0:
            del self._states[:done], self._times[:done]
        return view

    def _at(self, media_time: float) -> MotionView:
        index = bisect_right(self._times, media_time)
        if index == 0:
            return MotionView(media_time, self._states[0], media_time, concealed=False)
        before = self._states[index - 1]
        if index < len(self._states):
            after = self._states[index]
            fraction = (media_time - before.time) / (after.time - before.time)
            return MotionView(media_time, interpolate(before, after, fraction), media_time, concealed=False)
        ahead = media_time - before.time
        state = continued(self._states[index - 2], before, ahead) if index >= 2 else before
        return MotionView(media_time, state, before.time, concealed=ahead > HELD_AFTER)

    def clear(self) -> None:
        self._states.clear()
        self._times.clear()
        self._shown = -math.inf
        self._last = None
        self._ease = None


def _eased_from(last: MotionView, begin: float) -> Callable[[Motion, float], Motion]:
    """Blends from a view that was concealed to the motion that came back, from media time `begin` on."""

    def eased(state: Motion, media_time: float) -> Motion:
        share = (media_time - begin) / EASE
        if share >= 1 or share < 0 or not alike(last.state, state):
            return state
        weight = share * share * (3 - 2 * share)
        return replace(interpolate(last.state, state, weight), time=state.time)

    return eased
