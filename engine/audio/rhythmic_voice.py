"""Rhythmic Head Motion's learners of the voice (ECCV 2020) in use: a voice in, the motion of face and head out.

One learner says what the voice does to the face. The other one is shown how a head moves to a voice, and moves as that
one does to what is said from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.audio.sound_file import Wave
from engine.audio.voice_chunks import AFTER, BEFORE, CHUNK_S, hann_smoothed, voice_chunks
from engine.audio.voice_motion import spoken_state
from engine.face.model import FaceModel
from engine.generators.base import GeneratorError
from engine.motion import FaceState, HeadPose, relative_pose
from engine.weights import WeightsError, weights_folder, weights_name, weights_path

if TYPE_CHECKING:
    from engine.nets.expression_learner import ExpressionLearner
    from engine.nets.head_motion_learner import Extrapolator
    from engine.nets.learner_weights import StoredHeadMotion

Array = NDArray[np.float32]

EXPRESSION, HEAD_MOTION = "rhythmic-expression", "rhythmic-head-motion"
"The folders of weights that the learners are looked for in."
EXPRESSION_RATE_HZ, MOTION_RATE_HZ = 50_000, 16_000
"Of the sound that each learner hears."
FULL_SCALE = 32768.0
"The expression learner hears samples of 16 bits as they are."
FACE_SMOOTHING, MOTION_SMOOTHING, VOICE_SMOOTHING = 5, 11, 21
"Frames of the Hann windows; the last of the voice that the head motion learner hears, sample by sample of a chunk."
ENROLMENT = 64
"Frames from which it is learned how a head moves, as published."
_STRETCH = 50
"Frames that go through the networks at a time."
_SEEN = 2
"Frames on either side that the head motion learner's convolutions see."
_CONTEXT = _SEEN + VOICE_SMOOTHING // 2


def installed() -> bool:
    """Whether weights of both learners are there."""
    return all((weights_folder(name) / weights_name(name)).is_file() for name in (EXPRESSION, HEAD_MOTION))


class RhythmicVoice:
    """Both learners. Raises WeightsError where their weights are not, GeneratorError without torch."""

    def __init__(self, expression: Path | None = None, head_motion: Path | None = None) -> None:
        """The weights' files; without, those that are found as generators' are."""
        self._expression, self._head = _loaded(
            expression or weights_path(EXPRESSION), head_motion or weights_path(HEAD_MOTION)
        )
        model = FaceModel.load()
        self._expression_deviation = model.expression_deviation[: self._expression.fc2.out_features]
        self._expression_size = model.expression_size
        self._manner: Extrapolator | None = None

    def enrol(self, states: Sequence[FaceState | None], wave: Wave) -> None:
        """Move the head from now on as these states do, 25 a second, to the voice (N,) with them, at 16 kHz.

        states: None where no face was seen. Raises GeneratorError for fewer than `ENROLMENT` in a row.
        """
        seen = longest_stretch(np.array([state is not None for state in states], bool))
        known = [state for state in states[seen] if state is not None]
        if len(known) < ENROLMENT:
            raise GeneratorError(
                f"how a head moves is learned from {ENROLMENT * CHUNK_S:.2f} s or more in which a face is seen "
                f"throughout, got {len(known) * CHUNK_S:.2f} s"
            )
        usual = HeadPose.from_states(known)
        motion = np.stack([relative_pose(usual, state) for state in known])
        chunks = voice_chunks(wave, MOTION_RATE_HZ, CHUNK_S * np.arange(seen.start, seen.stop))
        self._manner = self._extrapolator(
            hann_smoothed(motion, MOTION_SMOOTHING)[-ENROLMENT:], hann_smoothed(chunks, VOICE_SMOOTHING)[-ENROLMENT:]
        )

    def states(
        self,
        base: Iterable[FaceState],
        at_16_khz: Iterable[Wave],
        at_50_khz: Iterable[Wave],
        mouth: float = 1.0,
        head: float = 1.0,
    ) -> Iterator[FaceState]:
        """A state for each of `base`, 25 a second: what its expression does, e.g. blinking, is added to.

        The same voice comes twice, in blocks that are taken as needed. mouth, head: what is said of them is multiplied
        by this. Without `enrol` the head moves as one that was still at the voice's beginning.
        """
        low, high = _Heard(at_16_khz, MOTION_RATE_HZ), _Heard(at_50_khz, EXPRESSION_RATE_HZ)
        manner = self._manner or self._still(low)
        remaining, first = iter(base), 0
        while stretch := list(islice(remaining, _STRETCH)):
            last = first + len(stretch)
            expressions = mouth * self._expressions(high.chunks(first, last))
            poses = self._poses(manner, low, first, last)
            for state, expression, pose in zip(stretch, expressions, poses, strict=True):
                yield spoken_state(head * pose, state.expression + expression, state.time)
            first = last

    def _expressions(self, chunks: Array) -> Array:
        """(T, E) of (T, 7, 2000) chunks, for a face whose rest is the neutral one."""
        import torch

        rest = torch.zeros(len(chunks), len(self._expression_deviation))
        with torch.inference_mode():
            said = self._expression(
                torch.from_numpy(np.float32(FULL_SCALE) * chunks.reshape(len(chunks), -1)), rest
            ).numpy()
        expressions = np.zeros((len(chunks), self._expression_size), np.float32)
        expressions[:, : said.shape[1]] = said * self._expression_deviation
        return expressions

    def _still(self, heard: _Heard) -> Extrapolator:
        """How a head moves that did not while the voice began."""
        chunks = hann_smoothed(heard.chunks(0, ENROLMENT + _CONTEXT), VOICE_SMOOTHING)[:ENROLMENT]
        return self._extrapolator(np.zeros((ENROLMENT, len(self._head.mean)), np.float32), chunks)

    def _poses(self, manner: Extrapolator, heard: _Heard, first: int, last: int) -> Array:
        """(T, 6) of the frames from `first` to before `last`."""
        import torch

        # At the ends of what is smoothed at once there is less to average: they are left out.
        chunks = hann_smoothed(heard.chunks(first - _CONTEXT, last + _CONTEXT), VOICE_SMOOTHING)
        chunks = chunks[_CONTEXT - _SEEN : len(chunks) - _CONTEXT + _SEEN]
        with torch.inference_mode():
            features = self._head.network.mid_net(torch.from_numpy(chunks)[None])[:, _SEEN:-_SEEN]
            motion = manner(features)[0].numpy()
        poses: Array = self._head.mean + self._head.deviation * motion
        return poses

    def _extrapolator(self, motion: Array, chunks: Array) -> Extrapolator:
        """Of (T, 6) motion and the chunks (T, 7, S) beside it, both smoothed."""
        import torch

        normalised = ((motion - self._head.mean) / self._head.deviation).astype(np.float32)
        with torch.inference_mode():
            return self._head.network.enrol(torch.from_numpy(normalised)[None], torch.from_numpy(chunks)[None])


def _loaded(expression: Path, head_motion: Path) -> tuple[ExpressionLearner, StoredHeadMotion]:
    try:
        from engine.nets.learner_weights import load_expression_learner, load_head_motion_learner
        from engine.nets.stored_weights import LayoutError
    except ImportError as error:
        raise GeneratorError("torch is not installed: pip install 'visavis[torch]'") from error
    try:
        return load_expression_learner(expression), load_head_motion_learner(head_motion)
    except LayoutError as error:
        raise WeightsError(f"learner of the voice: {error}") from error


def longest_stretch(seen: NDArray[np.bool_]) -> slice:
    """Of the frames (T,) of a clip, those of the longest row that are true; empty where none is."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], seen, [False])).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    if not len(begins):
        return slice(0, 0)
    longest = int(np.argmax(ends - begins))
    return slice(int(begins[longest]), int(ends[longest]))


class _Heard:
    """Sound that is read as it is needed, of which the last seconds are kept."""

    def __init__(self, blocks: Iterable[Wave], rate_hz: int) -> None:
        self._blocks = iter(blocks)
        self._rate = rate_hz
        self._wave = np.zeros(0, np.float32)
        self._begin = 0
        "Number of the chunk with which the wave begins."

    def chunks(self, first: int, last: int) -> Array:
        """(last - first, 7, S) of the frames from `first` to before `last`; silence beyond the sound's ends.

        What is asked for next begins at most so much before this end as `states` looks back.
        """
        length = round(CHUNK_S * self._rate)
        wanted = (last + AFTER - self._begin) * length
        parts, count = [self._wave], len(self._wave)
        while count < wanted and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            count += len(block)
        self._wave = np.concatenate(parts)
        times = CHUNK_S * (np.arange(first, last) - self._begin)
        found = voice_chunks(self._wave, self._rate, times)
        kept = last - BEFORE - 2 * _CONTEXT - ENROLMENT
        if (unused := kept - self._begin) > 0:
            self._wave = self._wave[unused * length :]
            self._begin = kept
        return found
