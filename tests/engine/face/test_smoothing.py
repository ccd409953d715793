from dataclasses import replace

import numpy as np
import pytest

from engine.face.fit import fit_person, fit_state, lid_gaps
from engine.face.smoothing import FaceStateSmoother, OneEuroConfig, OneEuroFilter, SmootherConfig
from engine.motion import rotation_matrix

FRAME = 0.04


def filtered(values, config, seconds=FRAME):
    one = OneEuroFilter(config)
    return np.array([one.step(np.atleast_1d(np.asarray(value, float)), seconds) for value in values])[:, 0]


def test_first_value_is_taken_as_it_is():
    assert filtered([3.5], OneEuroConfig(noise=0.1))[0] == 3.5


def test_resting_signal_is_steadied():
    noise = np.random.default_rng(0).normal(0, 1.0, 2000)
    config = OneEuroConfig(noise=1.0)
    assert np.diff(filtered(noise, config)).std() < 0.5 * np.diff(noise).std()


def test_result_never_stays_behind_by_more_than_its_reach():
    config = OneEuroConfig(noise=0.01, reach=2.0)
    random = np.random.default_rng(1)
    values = np.cumsum(random.normal(0, 0.05, 500))
    assert np.abs(filtered(values, config) - values).max() <= 0.02 + 1e-12


def test_fast_movement_is_followed_within_a_few_milliseconds():
    config = OneEuroConfig(noise=0.01)
    times = np.arange(100) * FRAME
    values = np.clip((times - 2.0) / 0.2, 0, 1)  # a unit in 200 ms, a hundred times the noise
    late = (values - filtered(values, config)).sum() * FRAME  # area between the two, seconds for a unit step
    assert late < 0.015


def test_speed_counts_by_time_and_not_by_frames():
    """The same movement at twice the frame rate comes out alike."""
    config = OneEuroConfig(noise=0.01)
    fine_times = np.arange(0, 4, 0.02)
    fine = filtered(np.sin(fine_times), config, 0.02)[::2]
    coarse = filtered(np.sin(fine_times[::2]), config, 0.04)
    np.testing.assert_allclose(fine, coarse, atol=0.01)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="expected positive numbers"):
        OneEuroConfig(noise=0.0)


def test_state_that_does_not_change_comes_out_unchanged(model, make_state):
    smoother = FaceStateSmoother(model)
    state = make_state((0.2, -0.3, 0.1), gaze=(0.1, 0), translation=(0.1, 0.2))
    for number in range(5):
        out = smoother.step(replace(state, time=number * FRAME))
    np.testing.assert_allclose(out.rotation, state.rotation, atol=1e-6)
    np.testing.assert_allclose(out.translation, state.translation, atol=1e-6)
    assert out.scale == pytest.approx(state.scale)
    assert out.time == pytest.approx(4 * FRAME)


def test_head_upside_down_is_no_special_case(model, make_state):
    """Rotation vectors jump from pi to -pi there; the head does not."""
    smoother = FaceStateSmoother(model)
    for number in range(100):
        angle = np.pi - 0.05 + 0.001 * number
        wrapped = angle if angle <= np.pi else angle - 2 * np.pi
        out = smoother.step(make_state((0, 0, wrapped), time=number * FRAME))
        expected = rotation_matrix(np.array((0, 0, angle)))
        assert np.abs(rotation_matrix(out.rotation) - expected).max() < 0.03


def test_filter_starts_anew_after_a_gap(model, make_state):
    smoother = FaceStateSmoother(model)
    smoother.step(make_state((0, 0.5, 0), time=0.0))
    out = smoother.step(make_state((0, -0.5, 0), time=3.0))
    np.testing.assert_allclose(out.rotation, (0, -0.5, 0), atol=1e-6)


def test_repeated_times_do_no_harm(model, make_state):
    smoother = FaceStateSmoother(model)
    for yaw in (0.0, 0.1, 0.2):
        out = smoother.step(make_state((0, yaw, 0), time=1.0))
    assert np.isfinite(out.rotation).all()


def test_state_of_another_model_is_refused(model, make_state):
    with pytest.raises(ValueError, match=f"expected {model.expression_size} coefficients, got 2"):
        FaceStateSmoother(model).step(make_state(expression=np.zeros(2)))


@pytest.mark.data
def test_blinks_are_kept_and_calm_faces_steadied(model, data_pack):
    """On a person who talks and blinks: lag and steadiness as benchmarks/face_model.py measures them, loosely."""
    frames = data_pack.landmarks("p87_01")
    frames[..., :2] -= 0.5
    person = fit_person(model, frames[::10])
    states = []
    for number, points in enumerate(frames):
        states.append(fit_state(model, person, points, states[-1] if states else None, number * FRAME))
    smoother = FaceStateSmoother(model, SmootherConfig())
    smoothed = [smoother.step(state) for state in states]
    raw_lids, lids = (
        np.array([lid_gaps(person.shape(state)).mean() for state in track]) for track in (states, smoothed)
    )
    deepest = int(raw_lids.argmin())
    depth = np.median(raw_lids) - raw_lids[deepest]
    assert np.median(raw_lids) - lids[deepest : deepest + 2].min() > 0.9 * depth

    raw, smooth = (np.array([state.rotation for state in track], float) for track in (states, smoothed))
    speed = np.gradient(raw, FRAME, axis=0)
    lag_ms = 1e3 * (speed * (raw - smooth)).sum() / np.square(speed).sum()
    assert 0 < lag_ms < 15
    slow = np.linalg.norm(speed, axis=1)[1:-1] < np.quantile(np.linalg.norm(speed, axis=1), 0.3)
    trembles = [np.linalg.norm(np.diff(track, 2, axis=0), axis=1)[slow].mean() for track in (raw, smooth)]
    assert trembles[1] < 0.75 * trembles[0]
