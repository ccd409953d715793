"""Jaw and lips from a voice and the upper face, frame by frame, as both come in (IP-LAP, CVPR 2023).

How long a frame has to wait for what it needs is the affair of its `Timing`. Frame t stands for the time 40 t ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import MelConfig, MelStream
from engine.audio.mel_windows import (
    COLUMNS,
    FRAMES_PER_SECOND,
    causal_sound_needed,
    causal_window,
    first_column,
    mel_window,
    sound_needed,
)
from engine.face.landmarks131 import CONTENT, POSE

Array = NDArray[np.float32]

Predict = Callable[[Array, Array], Array]
"""(5, 80, 16) mel windows and (5, 74, 2) pose points, from 0 to 1 in their face boxes, to (5, 57, 2) content points."""

WINDOW = 5
FRAME_MS = 1000 / FRAMES_PER_SECOND
AHEAD_S = 30
"Seconds of sound that may wait for poses, or of poses for sound."


@dataclass(frozen=True)
class Timing:
    """Which frames' sound and pose the landmark generator is given for frame t, and which of its frames are drawn."""

    name: str
    mels: tuple[int, ...]
    "Frames whose mel windows are heard, from t."
    poses: tuple[int, ...]
    "Frames whose poses are seen, from t."
    drawn: tuple[int, ...]
    "Which of the five predicted frames the renderer gets, in the order of time."
    causal: bool = False
    "Whether mel windows end with their frame; published weights have them end 120 ms later, and must be retrained."

    @property
    def sound_ms(self) -> float:
        """How much later than a frame's time the last sound is that it waits for."""
        mel = MelConfig()
        column, half_window = 1000 * mel.hop / mel.rate_hz, 500 * mel.window / mel.rate_hz
        beyond = 0.0 if self.causal else (COLUMNS - 1) * column - 2 * FRAME_MS
        return FRAME_MS * max(self.mels) + beyond + half_window

    @property
    def pose_ms(self) -> float:
        """How much later than a frame's time the last pose is that it waits for."""
        return FRAME_MS * max(self.poses)

    @property
    def delay_ms(self) -> float:
        """How far the picture stays behind: by this much the voice has to be held back."""
        return max(self.sound_ms, self.pose_ms)


EXACT = Timing("exact", (-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2), (0, 1, 2, 3, 4))
"As published: 212.5 ms of sound, 80 ms of pose."
HELD_POSE = Timing("held-pose", (-2, -1, 0, 1, 2), (-2, -1, 0, 0, 0), (0, 1, 2, 3, 4))
"The sound as published, the pose's future as its present: 212.5 ms of sound, 0 of pose."
NEWEST = Timing("newest", (-4, -3, -2, -1, 0), (-4, -3, -2, -1, 0), (2, 3, 4, 4, 4))
"The window's last frame, which published weights were not chosen for: 132.5 ms of sound, 0 of pose."
CAUSAL = Timing("causal", (-4, -3, -2, -1, 0), (-4, -3, -2, -1, 0), (0, 1, 2, 3, 4), causal=True)
"For weights trained so: 25 ms of sound, half a window of the Fourier transform, 0 of pose."
TIMINGS = {timing.name: timing for timing in (EXACT, HELD_POSE, NEWEST, CAUSAL)}


@dataclass(frozen=True, eq=False)
class VoicedFrame:
    """What a voice says about the face of one frame."""

    frame: int
    frames: tuple[int, ...]
    "The five whose faces are to be drawn, in the order of time; before the first and after the last, those again."
    contents: Array
    "(5, 57, 2) their jaws and lips, from 0 to 1 in their face boxes."
    mel: Array
    "(80, 16) the frame's own window."


class VoiceLandmarks:
    """Sound and poses in, frames out, as soon as each is possible. Memory does not grow with the time."""

    def __init__(self, predict: Predict, timing: Timing = EXACT) -> None:
        self._predict = predict
        self._timing = timing
        self._stream = MelStream()
        self._mel = np.zeros((0, MelConfig().bands), np.float32)
        self._mel_from = 0
        self._poses: deque[Array] = deque()
        self._poses_from = 0
        self._next = 0
        self._finished = False

    def add_sound(self, samples: NDArray[np.floating]) -> None:
        """More of the voice: (N,) from -1 to 1, 16 000 a second, one channel.

        Raises ValueError for another shape, values that are not finite, and more sound ahead of the poses than 30 s.
        """
        self._mel = np.concatenate((self._mel, self._stream.push(samples)))
        if len(self._mel) > AHEAD_S * MelConfig().columns_per_second:
            raise ValueError(f"more than {AHEAD_S} s of sound wait for poses: add both in turns")

    def add_pose(self, points: Array) -> None:
        """The next frame's pose: (74, 2). Raises ValueError for another shape, or more than 30 s ahead of the sound."""
        if points.shape != (len(POSE), 2) or not np.isfinite(points).all():
            raise ValueError(f"pose: expected ({len(POSE)}, 2) finite numbers, got {points.shape}")
        if len(self._poses) > AHEAD_S * FRAMES_PER_SECOND:
            raise ValueError(f"more than {AHEAD_S} s of poses wait for sound: add both in turns")
        self._poses.append(np.asarray(points, np.float32))

    def finish(self) -> None:
        """No more will come: the last frames need not wait for it. What lacks is silence, or the last pose."""
        if not self._finished:
            self._mel = np.concatenate((self._mel, self._stream.finish()))
            self._finished = True

    def take(self) -> Iterator[VoicedFrame]:
        """The frames that have become possible, in order."""
        while self._possible():
            yield self._frame(self._next)
            self._next += 1
            self._forget()

    def _possible(self) -> bool:
        timing, frame = self._timing, self._next
        poses = self._poses_from + len(self._poses)
        if frame >= poses:
            return False
        if self._finished:
            return True
        last = max(frame + max(timing.mels), 0)
        columns = causal_sound_needed(last) if timing.causal else sound_needed(last)
        return poses > frame + max(timing.poses) and self._mel_from + len(self._mel) >= columns

    def _frame(self, frame: int) -> VoicedFrame:
        timing = self._timing
        last = self._poses_from + len(self._poses) - 1
        mels = np.stack([self._window(max(frame + offset, 0)) for offset in timing.mels])
        numbers = [min(max(frame + offset, 0), last) for offset in timing.poses]
        poses = np.stack([self._poses[number - self._poses_from] for number in numbers])
        contents = self._predict(mels, poses)
        if contents.shape != (WINDOW, len(CONTENT), 2):
            raise ValueError(f"predicted: expected ({WINDOW}, {len(CONTENT)}, 2), got {contents.shape}")
        drawn = list(timing.drawn)
        return VoicedFrame(frame, tuple(numbers[slot] for slot in drawn), contents[drawn], self._window(frame))

    def _window(self, frame: int) -> Array:
        """The mel window of a frame, of what is kept of the columns."""
        window = causal_window if self._timing.causal else mel_window
        return window(self._mel, frame, self._mel_from)

    def _forget(self) -> None:
        """Drop what no later frame looks at."""
        keep = self._next + min(*self._timing.mels, *self._timing.poses)
        while self._poses_from < min(keep, self._poses_from + len(self._poses) - 1):
            self._poses.popleft()
            self._poses_from += 1
        first = max(first_column(keep) - COLUMNS, 0)
        if first - self._mel_from > 4 * COLUMNS:
            self._mel = self._mel[first - self._mel_from :].copy()
            self._mel_from = first


def voiced_frames(
    blocks: Iterable[NDArray[np.floating]],
    poses: Iterable[Array],
    predict: Predict,
    timing: Timing = EXACT,
) -> Iterator[VoicedFrame]:
    """The frames of a recording, block by block, as long as there are poses. blocks: as of `add_sound`.

    However long the recording is, no more than a few seconds of it are held. Where it ends early, silence follows.
    """
    landmarks, sound, moves = VoiceLandmarks(predict, timing), iter(blocks), iter(poses)
    pushed, given = 0, 0
    rate = MelConfig().rate_hz
    while True:
        while pushed * FRAMES_PER_SECOND <= (given + FRAMES_PER_SECOND) * rate:
            block = next(sound, None)
            if block is None:
                block = np.zeros(rate, np.float32)
            landmarks.add_sound(block)
            pushed += len(block)
        pose = next(moves, None)
        if pose is None:
            break
        landmarks.add_pose(pose)
        given += 1
        yield from landmarks.take()
    landmarks.finish()
    yield from landmarks.take()
