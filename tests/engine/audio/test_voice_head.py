"""Nods and blinks: drawn with a seed, bounded for ever, of the size of people's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.audio.mel import mel_spectrogram
from engine.audio.voice_head import Blinks, HeadModel, HeadMotion, Prosody
from engine.audio.voice_motion import VoiceModel
from engine.weights import WeightsError

TALK, REST = np.array((0.0, 0.0, 1.0)), np.array((-1.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return VoiceModel.load().head


def poses(model: HeadModel, seed: int, ticks: int = 250, accents: np.ndarray = TALK) -> np.ndarray:
    head = HeadMotion(model, seed)
    return np.stack([head.step(accents) for _ in range(ticks)])


def test_a_seed_decides_the_motion(model):
    np.testing.assert_array_equal(poses(model, 3), poses(model, 3))
    assert np.abs(poses(model, 3) - poses(model, 4)).max() > 0.02


def test_a_head_moves_as_much_as_people_do_and_stays_about_its_usual_pose(model):
    long = poses(model, 0, 25 * 240)
    degrees = np.degrees(long[:, :3])
    assert (degrees.std(0) > 1.0).all()
    assert (degrees.std(0) < 8.0).all()
    assert np.abs(degrees.mean(0)).max() < 3.0
    assert (np.abs(long) <= model.limit + 1e-6).all()
    assert np.degrees(np.abs(np.diff(long[:, :3], axis=0))).max() < 4.0


def test_accents_move_the_head(model):
    nodding = np.array((1.0, 0.5, 1.0))
    plain, accented = poses(model, 0, 5), poses(model, 0, 5, nodding)
    assert np.abs(accented - plain).max() > 1e-4


def test_a_model_that_would_run_away_is_refused(model):
    names = [field.name for field in dataclasses.fields(model)]
    arrays = {f"head.{name}": getattr(model, name) for name in names}
    assert HeadModel.from_arrays(arrays).memory() < 1
    with pytest.raises(WeightsError, match="not stable"):
        HeadModel.from_arrays({**arrays, "head.spring": -model.spring})
    with pytest.raises(WeightsError, match=r"head\.accent is missing"):
        HeadModel.from_arrays({name: value for name, value in arrays.items() if name != "head.accent"})


def test_eyes_blink_some_times_a_minute_and_more_in_pauses():
    def begun(accents: np.ndarray, minutes: int = 5) -> float:
        blinks = Blinks(seed=1)
        closed = np.array([blinks.step(accents) for _ in range(1500 * minutes)])
        assert closed.min() == 0.0
        assert 0.9 < closed.max() <= 1.0
        return float(np.sum((closed[1:] > 0) & (closed[:-1] == 0))) / minutes

    talking, pausing = begun(TALK), begun(REST)
    assert 8 < talking < 20
    assert talking < pausing < 36


def test_a_blink_closes_faster_than_it_opens_and_is_over_soon():
    blinks = Blinks(seed=0)
    closed = np.array([blinks.step(TALK) for _ in range(5000)])
    starts = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0)) + 1
    one = closed[starts[0] : starts[0] + 10]
    assert one.argmax() <= 2
    assert (one[6:] == 0).all()


def test_prosody_hears_accents_and_pauses():
    time = np.arange(32_000) / 16_000
    voice = 0.2 * np.sin(2 * np.pi * 500 * time) * (time > 1.0)
    mel = mel_spectrogram(voice)
    whole = Prosody(80).push(mel)
    assert whole.shape == (len(mel), 3)
    assert np.abs(whole[:79]).max() < 0.1  # silence
    assert whole[85, 0] > 0.5  # the voice begins: louder than the phrase so far
    assert whole[78:84, 1].max() > 0.3  # and rising
    halves = Prosody(80)
    np.testing.assert_array_equal(np.concatenate((halves.push(mel[:70]), halves.push(mel[70:]))), whole)
