"""Motion at any media time: interpolation, what fills gaps, and what is dropped."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from engine.motion import FaceState
from streaming.playout import (
    CAPACITY,
    DECAY,
    MotionBuffer,
    continued,
    interpolate,
    quaternion,
    rotation_vector,
    slerp,
)


def state(time: float, value: float | None = None, rotation=(0.0, 0.0, 0.0), size: int = 4) -> FaceState:
    """A state whose every number follows `value`, by default the time itself."""
    value = time if value is None else value
    return FaceState(rotation, (value, -value), 0.2 + 0.01 * value, np.full(size, value), (0.0, value), time=time)


def filled(times) -> MotionBuffer:
    buffer = MotionBuffer()
    for time in times:
        buffer.insert(state(time))
    return buffer


@pytest.mark.parametrize("seed", range(20))
def test_quaternions_and_rotation_vectors_are_inverse(seed):
    generator = np.random.default_rng(seed)
    axis = generator.standard_normal(3)
    vector = (axis / np.linalg.norm(axis) * generator.choice([0.0, 1e-7, 0.01, 1.0, 3.0])).astype(np.float32)
    assert np.linalg.norm(quaternion(vector)) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation_vector(quaternion(vector)), vector, atol=1e-6)


@pytest.mark.parametrize("fraction", [-0.5, 0.0, 0.25, 0.5, 1.0, 1.5], ids=str)
def test_slerp_turns_about_the_axis_evenly(fraction):
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    first, second = (axis * 0.2).astype(np.float32), (axis * 0.8).astype(np.float32)
    np.testing.assert_allclose(slerp(first, second, fraction), axis * (0.2 + 0.6 * fraction), atol=1e-5)


def test_slerp_takes_the_short_way_past_half_a_turn():
    halfway = slerp(np.float32([0, 3.1, 0]), np.float32([0, -3.1, 0]), 0.5)
    assert abs(halfway[1]) == pytest.approx(np.pi, abs=1e-3)


def test_interpolation_is_linear_and_exact_at_the_ends():
    first, second = state(1.0, 0.0, (0.1, 0.0, 0.0)), state(1.04, 1.0, (0.3, 0.0, 0.0))
    middle = interpolate(first, second, 0.25)
    assert middle.time == pytest.approx(1.01)
    np.testing.assert_allclose(middle.expression, 0.25)
    np.testing.assert_allclose(middle.translation, (0.25, -0.25))
    np.testing.assert_allclose(middle.rotation, (0.15, 0.0, 0.0), atol=1e-6)
    for fraction, end in ((0.0, first), (1.0, second)):
        same = interpolate(first, second, fraction)
        for name in ("rotation", "translation", "scale", "expression", "gaze", "confidence"):
            np.testing.assert_allclose(getattr(same, name), getattr(end, name), atol=1e-6)


def test_continued_motion_slows_down_and_stops():
    first, second = state(0.0), state(0.04)
    ahead = [float(continued(first, second, seconds).expression[0]) for seconds in (0.0, 0.02, 0.1, 1.0, 100.0)]
    assert ahead == sorted(ahead)
    assert ahead[0] == pytest.approx(0.04)
    assert ahead[1] == pytest.approx(0.04 + DECAY * (1 - np.exp(-0.02 / DECAY)), abs=1e-6)
    assert ahead[-1] == pytest.approx(0.04 + DECAY, abs=1e-6)


@pytest.mark.parametrize("step", [0.0, 0.001, 0.5, -1.0], ids=str)
def test_velocity_over_a_useless_interval_is_not_used(step):
    second = state(1.0)
    assert continued(state(1.0 - step), second, 0.1) is second


def test_nothing_is_shown_before_the_first_state():
    assert MotionBuffer().view(0.0) is None


def test_view_lies_between_its_neighbours_whatever_order_they_came_in():
    times = [k * 0.04 for k in range(50)]
    random.Random(0).shuffle(times)
    buffer = filled(times)
    for media_time in np.arange(0.0, 1.9, 0.017):
        view = buffer.view(float(media_time))
        assert view.state.expression[0] == pytest.approx(media_time, abs=1e-5)
        assert view.shown_time == media_time
        assert not view.concealed
        assert view.age == 0


def test_first_state_is_shown_until_it_is_due():
    view = filled([1.0]).view(0.5)
    assert view.state.time == 1.0
    assert not view.concealed


def test_one_lost_frame_is_bridged_by_its_neighbours():
    buffer = filled([0.0, 0.04, 0.12, 0.16])
    view = buffer.view(0.08)
    assert view.state.expression[0] == pytest.approx(0.08, abs=1e-6)
    assert not view.concealed


def test_missing_motion_is_guessed_then_held_and_marked():
    buffer = filled([0.0, 0.04])
    guess, held, later = buffer.view(0.06), buffer.view(0.5), buffer.view(5.0)
    assert (guess.concealed, held.concealed, later.concealed) == (False, True, True)
    assert (guess.shown_time, held.shown_time) == (0.04, 0.04)
    assert guess.state.expression[0] == pytest.approx(0.0565, abs=1e-3)
    np.testing.assert_allclose(held.state.expression, later.state.expression, atol=1e-4)
    assert held.age == pytest.approx(0.46)


def test_motion_that_comes_back_is_eased_in_and_then_followed():
    buffer = filled([0.0, 0.04])
    held = buffer.view(0.5).state.expression[0]
    for time in (0.52, 0.56, 0.60, 0.64, 0.68):
        buffer.insert(state(time))
    values = [float(buffer.view(time).state.expression[0]) for time in np.arange(0.52, 0.65, 0.02)]
    assert values[0] == pytest.approx(held, abs=1e-3)
    assert max(np.diff(values)) < 0.25
    assert values[-1] == pytest.approx(0.64, abs=1e-3)


def test_motion_without_gaps_is_never_eased():
    buffer = MotionBuffer()
    for k in range(100):
        buffer.insert(state(k * 0.04))
        assert buffer.view(k * 0.04 + 0.03).shown_time == pytest.approx(k * 0.04)
    np.testing.assert_allclose(buffer.view(99 * 0.04).state.expression, 99 * 0.04, rtol=1e-5)


def test_state_that_comes_after_a_later_one_was_shown_is_counted_late():
    buffer = filled([0.0, 0.04, 0.08, 0.12])
    buffer.view(0.11)
    buffer.insert(state(0.06))
    assert (buffer.received, buffer.late) == (5, 1)
    assert buffer.view(0.12).state.expression[0] == pytest.approx(0.12)


def test_duplicates_change_nothing():
    buffer = filled([0.0, 0.04, 0.04, 0.04])
    assert len(buffer) == 2


def test_buffer_is_bounded():
    buffer = filled(k * 0.001 for k in range(10_000))
    assert len(buffer) == CAPACITY
    buffer.view(9.999)
    assert len(buffer) <= 2


@pytest.mark.parametrize(
    "changed", [state(0.0, size=4), state(20.0, size=7)], ids=["clock set back", "another face model"]
)
def test_new_beginning_replaces_what_was_there(changed):
    buffer = filled([10.0, 10.04])
    buffer.view(10.02)
    buffer.insert(changed)
    assert len(buffer) == 1
    assert buffer.view(changed.time).state is changed


def test_any_order_and_gaps_give_finite_states():
    generator = random.Random(0)
    buffer = MotionBuffer()
    now = 0.0
    for _ in range(5000):
        now += generator.random() * 0.05
        if generator.random() < 0.6:
            rotation = [generator.uniform(-4, 4) for _ in range(3)]
            buffer.insert(
                state(now - generator.random() * generator.choice([0.01, 0.3, 6.0]), generator.random(), rotation)
            )
        view = buffer.view(now - 0.06)
        if view is not None:
            assert np.isfinite(view.state.rotation).all()
            assert np.abs(view.state.expression).max() < 10
            assert view.shown_time <= view.media_time


# Keypoints


def test_keypoints_are_interpolated_linearly_and_exact_at_the_ends(moving_keypoints):
    first, second = moving_keypoints(10, 2)
    for fraction in (0.0, 0.25, 1.0, 1.5):
        middle = interpolate(first, second, fraction)
        np.testing.assert_allclose(middle.points, first.points + fraction * (second.points - first.points), atol=1e-6)
        np.testing.assert_allclose(
            middle.jacobians, first.jacobians + fraction * (second.jacobians - first.jacobians), atol=1e-6
        )
        assert middle.time == pytest.approx(first.time + fraction * 0.04)
    assert 0.0 <= interpolate(replace(first, confidence=0.1), second, -5.0).confidence <= 1.0


def test_what_is_no_motion_is_not_interpolated():
    with pytest.raises(TypeError, match="no way to interpolate str"):
        interpolate("a", "b", 0.5)


def test_keypoints_are_played_continued_and_eased_in_like_faces(moving_keypoints):
    motions = moving_keypoints(10, 60)
    buffer = MotionBuffer()
    for motion in motions[:20]:
        buffer.insert(motion)
    between = buffer.view(0.1 + 0.02)
    np.testing.assert_allclose(between.state.points, motions[3].points, atol=1e-5)
    guess = buffer.view(motions[19].time + 0.3)
    assert guess.concealed
    assert np.abs(guess.state.points - motions[19].points).max() < 0.1
    for motion in motions[28:]:
        buffer.insert(motion)
    resumed = buffer.view(motions[30].time)
    settled = buffer.view(motions[40].time)
    assert np.abs(resumed.state.points - guess.state.points).max() < 0.02  # no jump
    np.testing.assert_allclose(settled.state.points, motions[40].points, atol=1e-5)


@pytest.mark.parametrize("other", ["a face", "more keypoints"])
def test_another_kind_of_motion_replaces_what_was_there(moving_keypoints, other):
    buffer = MotionBuffer()
    for motion in moving_keypoints(10, 5):
        buffer.insert(motion)
    changed = state(0.2) if other == "a face" else replace(moving_keypoints(15, 1)[0], time=0.2)
    buffer.insert(changed)
    assert len(buffer) == 1
    assert buffer.view(0.2).state is changed
