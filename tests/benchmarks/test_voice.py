"""The measurements of voices: what they say of motion that is known."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks.voice import Truth, lip_error, opening_correlation
from benchmarks.voice_gaps import Gaps, measure_gaps, play
from engine.audio.voice_motion import VoiceModel
from engine.face.model import FaceModel
from engine.face.regions import LIPS
from engine.motion import FaceState
from engine.training.mouth_basis import mouth_opening


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    """Three seconds of a mouth that opens and shuts, and a buzz."""
    path: Path = tmp_path_factory.mktemp("voice") / "a.wav"
    moment = np.arange(3 * 16_000) / 16_000
    buzz = 0.2 * np.sign(np.sin(2 * np.pi * 120 * moment)) * (np.sin(2 * np.pi * 3 * moment) > 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.rint(32767 * buzz).astype("<i2").tobytes())
    model = FaceModel.load()
    person, opening = model.person(), mouth_opening(model)
    states = []
    for number in range(75):
        expression = np.zeros(24, np.float32)
        expression[:2] = 0.02 * np.sin(2 * np.pi * 1.5 * number / 25)
        still = np.zeros(3)
        states.append(FaceState(still, still[:2], 0.25, expression, still[:2], number / 25))
    lips = np.stack(
        [(person.neutral + np.tensordot(s.expression, model.expression, 1))[list(LIPS), :2] for s in states]
    )
    openings = np.array([float(opening @ state.expression) for state in states])
    return Truth("a", path, None, person, tuple(states), lips.astype(float), openings)


def test_the_truth_has_no_error_and_stillness_no_correlation(truth):
    true = np.stack([state.expression for state in truth.states]).astype(float)
    assert lip_error(truth, true, False) < 1e-3
    assert opening_correlation(truth, true) == pytest.approx(1.0, abs=1e-4)
    assert opening_correlation(truth, -true) == pytest.approx(-1.0, abs=1e-4)
    assert opening_correlation(truth, np.zeros_like(true)) == 0.0
    assert lip_error(truth, 0.5 * true, False) == pytest.approx(0.5 * lip_error(truth, 0.0 * true, False), rel=1e-3)
    moved = true + 0.01
    assert lip_error(truth, moved, False) > 0.1
    assert lip_error(truth, moved, True) < 1e-3


def test_a_call_without_loss_shows_what_was_sent(truth):
    opening = mouth_opening(FaceModel.load())
    views = [view for view in play(truth, Gaps(), VoiceModel.load()) if view.media_time > 0.3]
    assert len(views) > 60
    assert not any(view.concealed for view in views)
    times = [state.time for state in truth.states]
    sent = np.interp([view.media_time for view in views], times, truth.opening)
    assert np.abs([float(opening @ view.state.expression) for view in views] - sent).max() < 0.02


def test_outages_are_guessed_over(truth):
    figures = measure_gaps([truth], VoiceModel.load(), Gaps(outage=0.5, every=1.0, voice_too=False))
    for row in figures.values():
        assert 0.2 < row["guessed_share"] < 0.5
        assert np.isfinite(list(row.values())).all()
