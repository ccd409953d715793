"""What the published systems' networks that listen to voices make of test clips, beside the one that comes along.

    python -m benchmarks.voice_systems DATA [-o benchmarks/results/voice_systems.json]

DATA is the data pack; the weights are those that are installed for `rhythmic` (both learners) and `iplap` (the landmark
generator). A clip whose sound is late by an amount that is not known is heard with the delay at which our own network
agrees best with the lips.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import write_result
from benchmarks.voice import (
    RATE,
    Doubles,
    Spoken,
    Truth,
    lip_error,
    lip_sync,
    load_truths,
    means,
    opening_correlation,
    turning,
)
from engine.audio.landmark_predictor import REFERENCES, LandmarkPredictor
from engine.audio.mel_windows import SILENCE, mel_windows
from engine.audio.rhythmic_voice import ENROLMENT, EXPRESSION_RATE_HZ, MOTION_RATE_HZ, RhythmicVoice
from engine.audio.sound_file import SoundFile, Wave
from engine.audio.voice_landmarks import WINDOW
from engine.audio.voice_motion import VoiceModel
from engine.face.landmarks131 import CONTENT, JAW, LIP_BOTTOM, LIP_TOP, POSE
from engine.motion import FaceState
from engine.training.clip_sounds import ClipSounds
from engine.training.iplap_landmark_samples import VoicedClip, load_voiced_clips

RESULT = Path(__file__).parent / "results" / "voice_systems.json"

Floats = NDArray[np.float32]


def heard(truth: Truth, rate_hz: int, late_ms: float) -> Wave:
    """The clip's sound, moved so that it is in time with its frames."""
    wave = np.concatenate(list(SoundFile(truth.sound).blocks(rate_hz)))
    samples = round(late_ms / 1000 * rate_hz)
    return wave[samples:] if samples >= 0 else np.pad(wave, (-samples, 0))


def measure_learners(truth: Truth, model: VoiceModel, late_ms: float) -> tuple[dict[str, Any], dict[str, Doubles]]:
    """Mouth: agreement of the expression learner and of our network. Head: (T, 3) rotations after the first frames: the
    person's, and the learner's that was shown how this head moves in those frames, or `still`."""
    low, high = (heard(truth, rate, late_ms) for rate in (MOTION_RATE_HZ, EXPRESSION_RATE_HZ))
    learner, neutral = RhythmicVoice(), [model.neutral()] * len(truth.states)
    still = list(learner.states(neutral, [low], [high]))
    learner.enrol(truth.states[:ENROLMENT], low)
    made = list(learner.states(neutral, [low], [high]))
    contenders = {
        "rhythmic": np.stack([state.expression for state in made]).astype(np.float64),
        "voice": Spoken.of(truth.sound, model).at(truth, late_ms),
    }
    figures = {
        "opening_correlation": {name: opening_correlation(truth, one) for name, one in contenders.items()},
        "lip_movement_error_percent": {name: lip_error(truth, one, True) for name, one in contenders.items()},
    }
    heads = {"people": truth.states, "rhythmic": made, "still": still}
    return figures, {name: _rotations(states[ENROLMENT:]) for name, states in heads.items()}


def _rotations(states: Sequence[FaceState | None]) -> Doubles:
    return np.stack([state.rotation for state in states if state is not None]).astype(np.float64)


def measure_landmarks(clip: VoicedClip, predictor: LandmarkPredictor) -> dict[str, Any]:
    """Thousandths of the face box between jaw and lips and the true ones, and the correlation of the lips' opening.

    For the voice, the same network that hears nothing, and the mean of the references; `_1`: of the first frame alone.
    """
    seen = np.flatnonzero(np.isfinite(clip.points).all(axis=(1, 2)))
    references = clip.points[seen[np.linspace(0, len(seen) - 1, REFERENCES).astype(int)]]
    middle = WINDOW // 2
    frames = clip.starts + middle
    truth = clip.points[frames, len(POSE) :]

    def predicted(references: Floats, deaf: bool = False) -> Floats:
        tokens, rows = predictor.encode(references), []
        for start in clip.starts.tolist():
            mels = mel_windows(clip.mel, range(start, start + WINDOW))
            poses = clip.points[start : start + WINDOW, : len(POSE)]
            rows.append(predictor.predict(tokens, np.full_like(mels, SILENCE) if deaf else mels, poses)[middle])
        return np.stack(rows)

    still, still_1 = (
        np.broadcast_to(some[:, len(POSE) :].mean(axis=0), truth.shape) for some in (references, references[:1])
    )
    contenders = {
        "voice": predicted(references),
        "deaf": predicted(references, deaf=True),
        "still": still,
        "voice_1": predicted(references[:1]),
        "still_1": still_1,
    }
    return {
        "jaw_per_mille": {
            name: _per_mille(one[:, : len(JAW)], truth[:, : len(JAW)]) for name, one in contenders.items()
        },
        "mouth_per_mille": {
            name: _per_mille(one[:, len(JAW) :], truth[:, len(JAW) :]) for name, one in contenders.items()
        },
        "opening_correlation": {name: _agreement(_opening(one), _opening(truth)) for name, one in contenders.items()},
    }


def _per_mille(one: Floats, other: Floats) -> float:
    return float(1000 * np.abs(one - other).mean())


def _opening(contents: Floats) -> Doubles:
    return (contents[:, CONTENT.index(LIP_BOTTOM), 1] - contents[:, CONTENT.index(LIP_TOP), 1]).astype(np.float64)


def _agreement(one: Doubles, other: Doubles) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) > 1e-6 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    options = parser.parse_args()
    model = VoiceModel.load()
    late: dict[str, float] = {}
    learners: dict[str, dict[str, Any]] = {}
    heads: dict[str, list[Doubles]] = {}
    for truth in load_truths(options.data):
        delay_ms = truth.delay_ms
        if delay_ms is None:
            delay_ms, _ = lip_sync(truth, partial(Spoken.of(truth.sound, model).at, truth))
        late[truth.name] = delay_ms
        mouth, turns = measure_learners(truth, model, delay_ms)
        learners[truth.name] = {"seconds": len(truth.states) / RATE, "late_ms": delay_ms, "mouth": mouth}
        for name, one in turns.items():
            heads.setdefault(name, []).append(one)
    predictor = LandmarkPredictor()
    landmarks = {
        clip.name: {"seconds": len(clip.starts) / RATE, "mouth": measure_landmarks(clip, predictor)}
        for clip in load_voiced_clips(options.data, "test", ClipSounds(delays_ms=late))
    }
    figures = {
        "rhythmic": {
            "means": means(learners, list(learners), "mouth"),
            "head_degrees": {name: turning(turns) for name, turns in heads.items()},
            "clips": learners,
        },
        "iplap": {"means": means(landmarks, list(landmarks), "mouth"), "clips": landmarks},
    }
    write_result(options.output, "python -m benchmarks.voice_systems DATA", figures)


if __name__ == "__main__":
    main()
