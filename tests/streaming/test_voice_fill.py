"""The voice stands in for motion, and nothing jumps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from engine.motion import FaceState, Keypoints
from streaming.playout import MotionBuffer, MotionView
from streaming.voice_fill import FillConfig, VoiceFill

SIZE = 4


def driver(time: float) -> FaceState:
    """The voice's mouth, with a smile that is his own."""
    expression = np.array((mouth(time), 0.02, 0.0, 0.01))
    pose = np.array((0.1, 0.2, 0.0))
    return FaceState(pose, np.array((0.05, -0.02)), 0.3, expression, np.array((0.1, 0.0)), time)


def mouth(time: float) -> float:
    return 0.05 + 0.05 * math.sin(2 * math.pi * 2.5 * time)


class Voice:
    """Says how the mouth goes, and nods."""

    def state(self, media_time: float, idle: float = 1.0) -> FaceState | None:
        expression = np.array((mouth(media_time), 0.0, 0.0, 0.0))
        nod = np.array((0.05 * idle * math.sin(media_time), 0.0, 0.0))
        return replace(self.neutral(media_time), rotation=nod, expression=expression)

    def neutral(self, media_time: float) -> FaceState:
        return FaceState(np.zeros(3), np.zeros(2), 0.25, np.zeros(SIZE), np.zeros(2), media_time)


class Mute(Voice):
    def state(self, media_time: float, idle: float = 1.0) -> FaceState | None:
        return None


def shown(present, until: float = 6.0, voice: Voice | None = None) -> list[MotionView]:
    """Views at 50 a second of a driver whose frame at a time is there if `present(time)`, a frame behind."""
    buffer, fill, views = MotionBuffer(), VoiceFill(), []
    for number in range(2, round(until * 50)):
        now = number / 50
        if number % 2 == 0 and present(now):
            buffer.insert(driver(now))
        view = fill.view(buffer.view(now - 0.04), now - 0.04, voice or Voice())
        if view is not None:
            views.append(view)
    return views


def steps(views: list[MotionView]) -> np.ndarray:
    """Largest change of each of pose and expression from view to view."""
    rows = [np.concatenate((v.state.rotation, v.state.translation / v.state.scale, v.state.expression)) for v in views]
    return np.abs(np.diff(rows, axis=0))


def error(views: list[MotionView]) -> float:
    return float(np.mean([abs(view.state.expression[0] - mouth(view.media_time)) for view in views]))


def test_motion_that_is_there_is_shown_as_it_is():
    for view in shown(lambda time: True)[2:]:
        np.testing.assert_allclose(view.state.expression, driver(view.media_time).expression, atol=0.01)
        np.testing.assert_allclose(view.state.rotation, (0.1, 0.2, 0.0), atol=1e-6)
        assert view.origin is None


def test_in_a_gap_the_mouth_goes_on_with_the_voice_and_the_rest_stays_the_drivers():
    def there(time):
        return not 4.0 < time < 4.5

    gap = [view for view in shown(there) if view.concealed and view.age > 0.2]
    without = [view for view in shown(there, voice=Mute()) if view.concealed and view.age > 0.2]
    assert len(gap) == len(without) > 8
    assert error(gap) < 0.01 < 0.03 < error(without)
    for view in gap:
        assert view.state.expression[1] == pytest.approx(0.02, abs=0.003)  # the smile
        np.testing.assert_allclose(view.state.rotation, (0.1, 0.2, 0.0), atol=0.003)


def test_nothing_jumps_where_motion_goes_and_where_it_comes_back():
    usual = steps(shown(lambda time: True)).max(axis=0)
    for length in (0.1, 0.3, 0.5, 2.0):
        gap = steps(shown(lambda time, length=length: not 3.03 < time < 3.03 + length))
        assert (gap.max(axis=0)[5:] < usual[5:] + 0.012).all()
        assert gap.max(axis=0)[:5].max() < 0.01


def test_a_long_gap_brings_nods():
    views = shown(lambda time: time < 2.0)
    turned = {round(view.media_time, 2): float(view.state.rotation[0] - 0.1) for view in views}
    assert abs(turned[2.4]) < 1e-3
    assert turned[5.0] == pytest.approx(0.05 * math.sin(5.0), abs=0.005)


def test_a_voice_without_a_camera_moves_the_face_from_its_own_origin():
    views = shown(lambda time: False)
    assert len({id(view.origin) for view in views}) == 1
    assert not views[0].origin.rotation.any()
    assert not any(view.concealed for view in views)
    assert error(views) < 1e-6


def test_a_camera_that_is_turned_on_takes_over_from_there():
    views = shown(lambda time: time > 3.0)
    later = [view for view in views if view.media_time > 3.05]
    assert later[0].origin is not views[0].origin
    np.testing.assert_allclose(later[0].origin.rotation, (0.1, 0.2, 0.0), atol=1e-6)
    # What is shown is the pose relative to the origin: it goes on where the voice's nod was, and ends in the driver's.
    relative = [view.state.rotation - view.origin.rotation for view in views]
    assert np.abs(np.diff(relative, axis=0)).max() < 0.01
    assert np.abs(np.diff([view.state.expression for view in views], axis=0)).max() < 0.03
    np.testing.assert_allclose(later[-1].state.rotation, (0.1, 0.2, 0.0), atol=1e-6)


def test_a_camera_that_is_turned_off_leaves_the_pose_where_it_was():
    views = shown(lambda time: time < 2.0)
    assert views[-1].origin is None
    np.testing.assert_allclose(views[-1].state.rotation[1:], (0.2, 0.0), atol=1e-3)
    assert error(views[-50:]) < 0.005


def test_without_a_voice_or_with_keypoints_all_stays_as_it_was():
    buffer = MotionBuffer()
    for number in range(3):
        buffer.insert(driver(number / 25))
    view = buffer.view(1.0)
    assert view.concealed
    assert VoiceFill().view(view, 1.0, Mute()).state is view.state
    points = MotionView(1.0, Keypoints(np.zeros((2, 2)), np.zeros((2, 2, 2))), 0.5, concealed=True)
    assert VoiceFill().view(points, 1.0, Voice()) is points
    assert VoiceFill().view(None, 1.0, Mute()) is None


def test_a_driver_with_another_number_of_coefficients_is_left_alone():
    other = replace(driver(1.0), expression=np.zeros(SIZE + 2))
    view = MotionView(1.2, other, 1.0, concealed=True)
    assert VoiceFill().view(view, 1.2, Voice()).state is other


def test_a_motion_stream_that_begins_anew_leaves_the_driver_where_he_was():
    fill, voice = VoiceFill(), Voice()
    first = fill.view(MotionView(2.0, driver(2.0), 2.0, concealed=False), 2.0, voice)
    between = fill.view(None, 2.04, voice)
    assert between.concealed
    assert between.origin is first.origin is None
    np.testing.assert_allclose(between.state.rotation, first.state.rotation, atol=1e-6)


def test_a_new_call_forgets_what_was_shown():
    fill = VoiceFill()
    fill.view(None, 1.0, Voice())
    fill.begin()
    view = MotionView(2.0, driver(2.0), 2.0, concealed=False)
    assert fill.view(view, 2.0, Voice()).origin is None


def test_times_must_be_positive():
    with pytest.raises(ValueError, match="expected positive numbers"):
        FillConfig(settle=0.0)
