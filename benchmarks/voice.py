"""How well a voice moves a mouth, on clips of people it was not learned from, and what it is worth in a call's gaps.

    python -m benchmarks.voice DATA [-o benchmarks/results/voice.json]

DATA is the data pack; the fits of its clips are kept in the cache. The mouth made of the voice is compared with a
closed one, with one that opens as the voice is loud (the best linear map of loudness that the training clips have), and
with the training clips' mean.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import write_result
from benchmarks.voice_gaps import GAPS, measure_gaps
from engine.audio.sound_file import SoundFile
from engine.audio.voice_head import TICK
from engine.audio.voice_motion import LOOK_AHEAD, MEL, VoiceModel, VoiceMotion, VoiceMotionConfig, spoken_states
from engine.face.fit import fit_person, fit_state, pose_of
from engine.face.model import FaceModel, Person, turning_features
from engine.face.regions import LIPS, MOUTH_BOTTOM, MOUTH_TOP
from engine.motion import FaceState
from engine.training.clip_cache import cache_folder, frame_coordinates
from engine.training.mouth_basis import mouth_coefficients, mouth_opening
from engine.training.recipe import load_recipe
from engine.training.voice_clips import VoiceClip, voice_clips

Doubles = NDArray[np.float64]

RESULT = Path(__file__).parent / "results" / "voice.json"
RATE = 25.0
SHIFTS_MS = np.arange(-400, 401, 20)
IN_SYNC = "rizkiarm/LipNet"
"Source of clips that are in sync by their origin: the GRID corpus, recorded in a studio."
USUAL_DELAY_MS = 20.0
"What the manifest's measure of the delay says of clips in sync (GRID): a mouth opens before it is loud."


@dataclass(frozen=True, eq=False)
class Truth:
    """A clip of the test split with sound, as its landmarks show it."""

    name: str
    sound: Path
    delay_ms: float | None
    "By which the sound is late, where the manifest has a clear answer or the clip's origin tells."
    person: Person
    states: tuple[FaceState | None, ...]
    lips: Doubles
    "(T, 40, 2) seen in head coordinates; NaN without a face."
    opening: Doubles
    "(T,) between the inner lips, head units."

    @property
    def seen(self) -> NDArray[np.bool_]:
        return np.isfinite(self.opening)


def load_truths(data: Path, names: Sequence[str] = ()) -> list[Truth]:
    """The test clips with sound."""
    model = FaceModel.load()
    with open(data / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["audio"] == "yes"]
    return [_truth(data, row, model) for row in rows if not names or row["id"] in names]


def _truth(data: Path, row: Mapping[str, str], model: FaceModel) -> Truth:
    with np.load(data / row["landmarks"]) as stored:
        landmarks = frame_coordinates(np.ascontiguousarray(stored["lm"]), 256, 256)
        seen = np.flatnonzero(stored["valid"])
    person = fit_person(model, list(landmarks[seen[:: max(1, len(seen) // 60)]]))
    states: list[FaceState | None] = [None] * len(landmarks)
    lips = np.full((len(landmarks), len(LIPS), 2), np.nan)
    opening = np.full(len(landmarks), np.nan)
    previous = None
    for number in seen.tolist():
        state = previous = states[number] = fit_state(model, person, landmarks[number], previous, number / RATE)
        pose = pose_of(state)
        turned = (turning_features(pose.rotation) @ model.turning_rows).reshape(-1, 3)
        points = landmarks[number].astype(np.float64)
        # The landmarks' own depth is not to be trusted: the fitted face's is taken.
        points[:, 2] = pose.project(person.shape(state))[:, 2]
        face = pose.unproject(points) - turned
        lips[number] = face[list(LIPS), :2]
        opening[number] = face[MOUTH_BOTTOM, 1] - face[MOUTH_TOP, 1]
    measured = row["audio_delay_ms"]
    in_sync = 0.0 if row["source_repo"] == IN_SYNC else None
    delay_ms = float(measured) - USUAL_DELAY_MS if measured else in_sync
    return Truth(row["id"], data / row["file"], delay_ms, person, tuple(states), lips, opening)


@dataclass(frozen=True, eq=False)
class Spoken:
    """What the voice of a clip says, for every mel column."""

    expressions: Doubles
    "(C, E)"

    @classmethod
    def of(cls, sound: Path, model: VoiceModel) -> Spoken:
        rate = MEL.columns_per_second
        motion = VoiceMotion(model, VoiceMotionConfig(head=0.0, blinks=False))
        states = spoken_states(SoundFile(sound).blocks(), motion, rate)
        return cls(np.stack([state.expression for state in states]).astype(np.float64))

    def at(self, truth: Truth, shift_ms: float) -> Doubles:
        """(T, E) at each frame, `shift_ms` later in the sound."""
        columns = (np.arange(len(truth.states)) / RATE + shift_ms / 1000) * MEL.columns_per_second
        places = np.arange(len(self.expressions))
        return np.stack([np.interp(columns, places, row) for row in self.expressions.T], axis=1)


class Loudness:
    """Mouth coefficients as a linear map of the loudness, fitted to clips."""

    def __init__(self, clips: Sequence[VoiceClip], model: VoiceModel) -> None:
        face = FaceModel.load()
        self._mouth = model.mouth
        causes = np.concatenate([self._causes(clip.mel, clip.columns)[clip.seen] for clip in clips])
        targets = np.concatenate([mouth_coefficients(face, model.mouth, clip.expression[clip.seen]) for clip in clips])
        self._map = np.linalg.lstsq(causes, targets, rcond=None)[0]
        self.mean = targets.mean(0) @ model.mouth

    def expressions(self, mel: NDArray[np.float32], columns: NDArray[np.floating]) -> Doubles:
        """(T, E) at (T,) places in the mel columns."""
        return np.asarray(self._causes(mel, columns) @ self._map @ self._mouth, np.float64)

    @staticmethod
    def _causes(mel: NDArray[np.float32], columns: NDArray[np.floating]) -> Doubles:
        """(T, 2): loudness over 60 ms around each moment, and 1."""
        loudness = np.convolve(mel[:, 10:45].mean(1), np.full(5, 0.2), "same")
        at = np.interp(columns, np.arange(len(loudness)), loudness)
        return np.stack((at, np.ones_like(at)), axis=1)


def lip_error(truth: Truth, expressions: Doubles, centred: bool) -> float:
    """Mean distance of the lips' points in percent of the distance between the eyes' outer corners.

    centred: without what is wrong for the whole clip: of the movement alone.
    """
    basis = truth.person.model.expression[:, list(LIPS), :2].astype(np.float64)
    made = truth.person.neutral[list(LIPS), :2] + np.tensordot(expressions, basis, 1)
    miss = (made - truth.lips)[truth.seen]
    if centred:
        miss = miss - miss.mean(0)
    return float(100 * np.linalg.norm(miss, axis=2).mean())


def opening_correlation(truth: Truth, expressions: Doubles) -> float:
    """Of the mouth's opening with the truth; 0 for a mouth that does not move."""
    made = (expressions @ mouth_opening(truth.person.model))[truth.seen]
    return float(np.corrcoef(made, truth.opening[truth.seen])[0, 1]) if np.ptp(made) > 1e-6 else 0.0


def lip_sync(truth: Truth, hearing: Callable[[float], Doubles]) -> tuple[float, float]:
    """Milliseconds by which the clip's sound is late, where what is made of it agrees best with the lips; and how well.

    hearing: the expressions of all frames, made of the sound so many milliseconds later.
    """
    correlations = [opening_correlation(truth, hearing(float(shift))) for shift in SHIFTS_MS]
    best = int(np.argmax(correlations))
    peak = float(SHIFTS_MS[best])
    if 0 < best < len(SHIFTS_MS) - 1:
        left, middle, right = correlations[best - 1 : best + 2]
        peak += 20.0 * 0.5 * (left - right) / (left - 2 * middle + right)
    return peak, correlations[best]


def measure_clip(truth: Truth, model: VoiceModel, loudness: Loudness, mel: NDArray[np.float32]) -> dict[str, Any]:
    """Contenders on one clip: with its sound moved by the delay that is known of it, and with each moved to where it
    agrees best with the lips."""
    frames = len(truth.states)
    spoken = Spoken.of(truth.sound, model)
    times_ms = 1000 * np.arange(frames) / RATE

    def by_voice(shift_ms: float) -> Doubles:
        return spoken.at(truth, shift_ms)

    def by_loudness(shift_ms: float) -> Doubles:
        return loudness.expressions(mel, (times_ms + shift_ms) / 1000 * MEL.columns_per_second)

    deaf = {
        "closed": np.zeros((frames, truth.person.model.expression_size)),
        "mean": np.tile(loudness.mean, (frames, 1)),
    }
    known = truth.delay_ms or 0.0
    late, agreement = lip_sync(truth, by_voice)
    late_by_loudness, _ = lip_sync(truth, by_loudness)
    return {
        "seconds": frames / RATE,
        "sound_late_ms": {"known": truth.delay_ms, "by_voice": late, "by_loudness": late_by_loudness},
        "opening_correlation_at_best_delay": agreement,
        "as_known": _figures(truth, {"voice": by_voice(known), "loudness": by_loudness(known), **deaf}),
        "each_at_best_delay": _figures(
            truth, {"voice": by_voice(late), "loudness": by_loudness(late_by_loudness), **deaf}
        ),
    }


def _figures(truth: Truth, contenders: Mapping[str, Doubles]) -> dict[str, dict[str, float]]:
    return {
        "opening_correlation": {name: opening_correlation(truth, made) for name, made in contenders.items()},
        "lip_error_percent": {name: lip_error(truth, made, False) for name, made in contenders.items()},
        "lip_movement_error_percent": {name: lip_error(truth, made, True) for name, made in contenders.items()},
    }


def measure_speed(model: VoiceModel, seconds: float = 10.0) -> dict[str, float]:
    """Processor milliseconds for a frame of 40 ms, from samples to a state."""
    random = np.random.default_rng(0)
    motion, took = VoiceMotion(model), []
    for _ in range(round(seconds / TICK)):
        samples = random.normal(0, 0.1, round(TICK * MEL.rate_hz)).clip(-1, 1)
        begin = time.process_time()
        motion.push(samples)
        if motion.reached is not None:
            motion.state(motion.reached)
        took.append(1000 * (time.process_time() - begin))
    return {"median": float(np.median(took)), "p95": float(np.quantile(took, 0.95))}


def measure_head(model: VoiceModel, truths: Sequence[Truth]) -> dict[str, Any]:
    """People who talk, and heads made of their voices, see `turning`."""
    smooth = np.array((1.0, 2.0, 3.0, 2.0, 1.0)) / 9
    true, made = [], []
    for truth in truths:
        turns = np.stack([state.rotation for state in truth.states if state is not None]).astype(np.float64)
        true.append(np.stack([np.convolve(axis, smooth, "valid") for axis in turns.T], axis=1))
        states = spoken_states(SoundFile(truth.sound).blocks(), VoiceMotion(model), RATE)
        made.append(np.stack([state.rotation for state in states]).astype(np.float64))
    return {"people": turning(true), "voice": turning(made)}


def turning(turns: Sequence[Doubles]) -> dict[str, list[float]]:
    """Degrees of deviation of (T, 3) rotations, and of their change a frame; means over clips."""
    deviations = [np.degrees(turn.std(0)) for turn in turns]
    speeds = [np.degrees(np.diff(turn, axis=0).std(0)) for turn in turns]
    return {
        "pitch_yaw_roll": np.mean(deviations, axis=0).round(3).tolist(),
        "change_a_frame": np.mean(speeds, axis=0).round(3).tolist(),
    }


def means(clips: Mapping[str, dict[str, Any]], names: Sequence[str], delay: str) -> dict[str, Any]:
    """Means over clips of the contenders' figures, weighted by the clips' lengths. delay: a key of `measure_clip`."""
    weights = np.array([clips[name]["seconds"] for name in names])
    found: dict[str, Any] = {"clips": len(names), "seconds": float(weights.sum())}
    for figure, contenders in clips[names[0]][delay].items():
        found[figure] = {
            contender: float(np.average([clips[name][delay][figure][contender] for name in names], weights=weights))
            for contender in contenders
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    options = parser.parse_args()
    model = VoiceModel.load()
    table = load_recipe("voice").options
    folder = cache_folder(options.data, 0, 1)
    delays, exclude = table["delays_ms"], table["exclude"]
    loudness = Loudness(voice_clips(options.data, folder, exclude=exclude, delays_ms=delays), model)
    mels = {clip.name: clip.mel for clip in voice_clips(options.data, folder, splits=("test",))}
    truths = load_truths(options.data)
    clips = {truth.name: measure_clip(truth, model, loudness, mels[truth.name]) for truth in truths}
    known = [truth.name for truth in truths if truth.delay_ms is not None]
    calls = [truth for truth in truths if truth.name in known]
    figures = {
        "sync_known": means(clips, known, "as_known"),
        "all_as_they_are": means(clips, list(clips), "as_known"),
        "all_each_at_best_delay": means(clips, list(clips), "each_at_best_delay"),
        "clips": clips,
        "look_ahead_ms": 1000 * LOOK_AHEAD,
        "ms_a_frame": measure_speed(model),
        "head_degrees": measure_head(model, truths),
        "gaps": {name: measure_gaps(calls, model, gaps) for name, gaps in GAPS.items()},
    }
    write_result(options.output, "python -m benchmarks.voice DATA", figures)


if __name__ == "__main__":
    main()
