"""Rhythmic Head Motion's learners in use: networks of random weights, a voice of tones, and no voice at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from engine.audio import rhythmic_voice  # noqa: E402
from engine.audio.rhythmic_voice import (  # noqa: E402
    EXPRESSION,
    HEAD_MOTION,
    RhythmicVoice,
    installed,
    longest_stretch,
)
from engine.audio.voice_motion import SCALE  # noqa: E402
from engine.face.model import FaceModel  # noqa: E402
from engine.generators.base import GeneratorError  # noqa: E402
from engine.motion import FaceState  # noqa: E402
from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner  # noqa: E402
from engine.nets.head_motion_learner import HeadMotionConfig, HeadMotionLearner  # noqa: E402
from engine.nets.learner_weights import expression_metadata, head_motion_metadata  # noqa: E402
from engine.nets.stored_weights import save_state  # noqa: E402
from engine.weights import WeightsError  # noqa: E402

SIZE = FaceModel.load().expression_size
DEVIATION = np.array((0.1, 0.1, 0.1, 0.05, 0.05, 0.02), np.float32)
ZERO = np.zeros(3, np.float32)


def learners(files: Path) -> tuple[Path, Path]:
    """Files of both, narrow and random, as they are found in a folder of weights."""
    paths = tuple(files / name / f"{name}.safetensors" for name in (EXPRESSION, HEAD_MOTION))
    torch.manual_seed(0)
    face, head = ExpressionLearner(ExpressionConfig(divisor=16)), HeadMotionLearner(HeadMotionConfig(divisor=8))
    save_state(face.state_dict(), paths[0], expression_metadata(face.config))
    facts = head_motion_metadata(head.config, DEVIATION / 7, DEVIATION)
    save_state(head.state_dict(), paths[1], facts)
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return learners(tmp_path_factory.mktemp("learners"))


def voice(seconds: float, rate: int) -> np.ndarray:
    moment = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 150 * moment) * np.sin(2 * np.pi * 1.7 * moment)).astype(np.float32)


def cut(wave: np.ndarray, length: int) -> list[np.ndarray]:
    return [wave[k : k + length] for k in range(0, len(wave), length)]


def bases(count: int, expression: np.ndarray | None = None) -> list[FaceState]:
    expression = np.zeros(SIZE, np.float32) if expression is None else expression
    return [FaceState(ZERO, ZERO[:2], SCALE, expression, ZERO[:2], k / 25) for k in range(count)]


def spoken(learner: RhythmicVoice, seconds: float = 6.0, block: int = 1000, **how) -> list[FaceState]:
    low, high = (cut(voice(seconds, rate), block) for rate in (16_000, 50_000))
    return list(learner.states(bases(round(25 * seconds)), low, high, **how))


def numbers(states: list[FaceState]) -> np.ndarray:
    return np.stack([np.concatenate((s.rotation, s.translation, (s.scale,), s.expression)) for s in states])


def test_every_frame_has_a_state_however_the_voice_is_cut(files, monkeypatch):
    whole = spoken(RhythmicVoice(*files))
    assert [state.time for state in whole] == [k / 25 for k in range(150)]
    assert np.ptp(numbers(whole)[:, :6], axis=0).min() > 1e-7
    assert np.ptp(numbers(whole)[:, 6:], axis=0).max() > 1e-3
    np.testing.assert_array_equal(numbers(whole), numbers(spoken(RhythmicVoice(*files), block=77_777)))
    monkeypatch.setattr(rhythmic_voice, "_STRETCH", 17)
    np.testing.assert_allclose(numbers(spoken(RhythmicVoice(*files))), numbers(whole), atol=1e-5)


def test_a_voice_leaves_nothing_for_the_next_one(files):
    learner = RhythmicVoice(*files)
    list(learner.states(bases(10), [np.ones(16_000, np.float32)], [np.ones(50_000, np.float32)]))
    np.testing.assert_array_equal(numbers(spoken(learner, 2.0)), numbers(spoken(RhythmicVoice(*files), 2.0)))


def test_only_seconds_of_the_voice_are_kept(files, monkeypatch):
    kept = []
    chunks = rhythmic_voice._Heard.chunks

    def watched(self, first, last):
        found = chunks(self, first, last)
        kept.append(len(self._wave) / self._rate)
        return found

    monkeypatch.setattr(rhythmic_voice._Heard, "chunks", watched)
    spoken(RhythmicVoice(*files), 40.0)
    assert max(kept[-10:]) < 8


def test_a_voice_that_ends_early_is_silence_from_then_on(files):
    low, high = (cut(voice(1.0, rate), 1000) for rate in (16_000, 50_000))
    states = numbers(list(RhythmicVoice(*files).states(bases(100), low, high)))
    np.testing.assert_allclose(states[60:, 6:], states[60:61, 6:].repeat(40, 0), atol=1e-6)
    assert list(RhythmicVoice(*files).states(bases(3), [], []))[2].time == 0.08


def test_mouth_and_head_are_multiplied_and_what_the_face_does_besides_is_added(files):
    plain = numbers(spoken(RhythmicVoice(*files), 2.0))
    half = numbers(spoken(RhythmicVoice(*files), 2.0, mouth=0.5, head=0.0))
    np.testing.assert_allclose(half[:, 6:], 0.5 * plain[:, 6:], atol=1e-6)
    np.testing.assert_array_equal(half[:, :5], 0)
    lids = np.full(SIZE, 0.25, np.float32)
    low, high = (cut(voice(2.0, rate), 1000) for rate in (16_000, 50_000))
    added = numbers(list(RhythmicVoice(*files).states(bases(50, lids), low, high)))
    np.testing.assert_allclose(added[:, 6:], plain[:, 6:] + 0.25, atol=1e-5)
    np.testing.assert_array_equal(added[:, :6], plain[:, :6])


def test_the_head_moves_as_the_one_that_was_shown(files):
    """Another enrolment gives another motion, and the same one the same."""
    rng = np.random.default_rng(0)

    def shown(speed: float) -> list[FaceState | None]:
        turns = (0.1 * np.sin(speed * np.arange(90)[:, None] * (1.0, 0.7, 0.4))).astype(np.float32)
        states = [FaceState(turn, ZERO[:2], 0.3, np.zeros(SIZE, np.float32), ZERO[:2], 0.0) for turn in turns]
        return [None, *states, None, states[0]]

    wave = rng.normal(0, 0.1, 4 * 16_000).astype(np.float32)

    def after(speed: float) -> np.ndarray:
        learner = RhythmicVoice(*files)
        learner.enrol(shown(speed), wave)
        return numbers(spoken(learner, 2.0))

    slow = after(0.1)
    np.testing.assert_array_equal(slow, after(0.1))
    assert np.abs(slow[:, :6] - after(1.0)[:, :6]).max() > 1e-4
    np.testing.assert_array_equal(slow[:, 6:], after(1.0)[:, 6:])
    with pytest.raises(GeneratorError, match=r"2.56 s or more .* got 1.20 s"):
        RhythmicVoice(*files).enrol([*shown(1.0)[:31], None], wave)


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("engine.weights._SHIPPED", tmp_path / "nothing")
    assert not installed()
    with pytest.raises(WeightsError, match="visavis train rhythmic-expression"):
        RhythmicVoice()
    face, head = learners(tmp_path)
    assert installed()
    head.write_bytes(face.read_bytes())
    with pytest.raises(WeightsError, match="weights of rhythmic-expression, not of rhythmic-head-motion"):
        RhythmicVoice()
    head.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        RhythmicVoice()
    network = HeadMotionLearner(HeadMotionConfig(divisor=8))
    facts = {**head_motion_metadata(network.config, DEVIATION, DEVIATION), "mean": "[1, 2]"}
    save_state(network.state_dict(), head, facts)
    with pytest.raises(WeightsError, match="mean: expected 6 numbers"):
        RhythmicVoice()


def test_longest_stretch():
    assert longest_stretch(np.array((1, 0, 1, 1, 0, 1), bool)) == slice(2, 4)
    assert longest_stretch(np.array((1, 1), bool)) == slice(0, 2)
    assert longest_stretch(np.zeros(4, bool)) == slice(0, 0)
