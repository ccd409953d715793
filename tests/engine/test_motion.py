import numpy as np
import pytest

from engine.motion import (
    FaceState,
    HeadPose,
    ReferencePose,
    absolute_motion,
    from_pixels,
    relative_motion,
    rotation_matrix,
    rotation_vector,
    to_pixels,
)


def state(
    rotation=(0, 0, 0), translation=(0, 0), scale=0.3, expression=(0, 0, 0), gaze=(0, 0), time=0.0, confidence=1.0
):
    return FaceState(
        np.asarray(rotation, np.float32),
        np.asarray(translation, np.float32),
        scale,
        np.asarray(expression, np.float32),
        np.asarray(gaze, np.float32),
        time,
        confidence,
    )


def assert_same_motion(a, b, tolerance=1e-6):
    for field in ("rotation", "translation", "scale", "expression", "gaze"):
        np.testing.assert_allclose(getattr(a, field), getattr(b, field), atol=tolerance, err_msg=field)


def angle_between(a, b):
    turn = rotation_matrix(a.rotation).T @ rotation_matrix(b.rotation)
    return float(np.linalg.norm(rotation_vector(turn)))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("rotation", (0, 0), "rotation: expected 3"),
        ("translation", (np.nan, 0), "translation: holds values that are not finite"),
        ("expression", np.zeros(129), "at most 128"),
        ("scale", 0.0, "scale: expected a positive number"),
        ("confidence", 1.5, "confidence: expected 0 to 1"),
        ("time", np.inf, "time: not finite"),
    ],
)
def test_state_says_which_field_is_wrong(field, value, words):
    with pytest.raises(ValueError, match=words):
        state(**{field: value})


def test_pixels_and_frame_coordinates_are_inverse_and_centred():
    points = np.array([[0, 0, 0], [640, 480, 10], [320, 240, -5]], np.float32)
    frame = from_pixels(points, 640, 480)
    np.testing.assert_allclose(frame[2], (0, 0, -5 / 480), atol=1e-7)
    np.testing.assert_allclose(frame[1, :2], (320 / 480, 0.5), atol=1e-6)
    np.testing.assert_allclose(to_pixels(frame, 640, 480), points, atol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-4, 0.7, 2.0, 3.0, np.pi - 1e-7, np.pi])
def test_rotation_vector_and_matrix_are_inverse(angle):
    for axis in np.vstack((np.eye(3), np.random.default_rng(0).normal(size=(5, 3)))):
        vector = angle * axis / np.linalg.norm(axis)
        matrix = rotation_matrix(vector)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1.0)
        back = rotation_vector(matrix)
        np.testing.assert_allclose(rotation_matrix(back), matrix, atol=1e-7)
        assert np.linalg.norm(back) == pytest.approx(angle, abs=1e-6)


def test_rotation_follows_the_right_hand_in_frame_axes():
    # y is down: a positive turn about it takes the nose, which looks along -z, to the image's left.
    np.testing.assert_allclose(rotation_matrix(np.array((0, np.pi / 2, 0))) @ (0, 0, -1), (-1, 0, 0), atol=1e-12)


def test_picture_driven_by_itself_stays_exactly_as_it_is():
    source = state((0.3, -0.4, 0.2), (0.1, -0.05), 0.35, (1, -2, 3), (0.1, -0.1))
    reference = ReferencePose().update(source)
    assert_same_motion(relative_motion(source, reference, source), source)
    assert_same_motion(absolute_motion(source, source), source, 0.0)


def test_expression_is_the_drivers_and_not_added_to_the_sources():
    smiling = state(expression=(1.0, 0.5, 0.0))
    driving = state(expression=(1.0, 0.0, 0.2))
    moved = relative_motion(smiling, HeadPose.of(driving), driving)
    np.testing.assert_array_equal(moved.expression, driving.expression)


def test_head_turns_about_its_own_axes_by_what_the_driver_turned():
    source = state(rotation=(0.0, 0.5, 0.0))
    habit = state(rotation=(0.1, -0.3, 0.05))
    nod = rotation_vector(rotation_matrix(habit.rotation) @ rotation_matrix(np.array((0.2, 0, 0))))
    moved = relative_motion(source, HeadPose.of(habit), state(rotation=nod))
    expected = rotation_matrix(source.rotation) @ rotation_matrix(np.array((0.2, 0, 0)))
    np.testing.assert_allclose(rotation_matrix(moved.rotation), expected, atol=1e-6)


def test_shift_is_in_proportion_to_the_faces_and_size_changes_by_the_ratio():
    source = state(translation=(0.1, 0.2), scale=0.4, gaze=(0.05, 0))
    habit = state(translation=(-0.1, 0.0), scale=0.2, gaze=(0.1, 0.1))
    driving = state(translation=(-0.05, 0.02), scale=0.22, gaze=(0.2, 0.1))
    moved = relative_motion(source, HeadPose.of(habit), driving)
    np.testing.assert_allclose(moved.translation, (0.2, 0.24), atol=1e-6)
    assert moved.scale == pytest.approx(0.44)
    np.testing.assert_allclose(moved.gaze, (0.15, 0.0), atol=1e-6)


def test_time_and_confidence_are_the_drivers():
    driving = state(time=7.5, confidence=0.4)
    moved = relative_motion(state(), HeadPose.of(driving), driving)
    assert (moved.time, moved.confidence) == (7.5, 0.4)


def test_motion_of_another_model_is_refused():
    with pytest.raises(ValueError, match="same face model"):
        relative_motion(state(), HeadPose.of(state()), state(expression=(0, 0)))
    with pytest.raises(ValueError, match="same face model"):
        absolute_motion(state(), state(expression=(0, 0)))


def test_habit_is_found_although_the_first_frame_looked_aside():
    estimator = ReferencePose()
    random = np.random.default_rng(0)
    estimator.update(state(rotation=(0, 0.4, 0)))
    for number in range(1, 40 * 25):
        turn = random.normal(0, 0.03, 3)
        reference = estimator.update(state(rotation=turn, translation=(0.1, 0), time=number / 25))
    assert np.linalg.norm(reference.rotation) < np.radians(2)
    np.testing.assert_allclose(reference.translation, (0.1, 0), atol=0.01)


def test_habit_does_not_follow_a_look_aside():
    estimator = ReferencePose()
    for number in range(60 * 25):
        aside = 40 <= number / 25 < 45
        reference = estimator.update(state(rotation=(0, 0.6 if aside else 0.0, 0), time=number / 25))
        assert abs(float(reference.rotation[1])) < np.radians(1.0)


def test_habit_never_jumps():
    estimator = ReferencePose()
    random = np.random.default_rng(1)
    last = estimator.update(state(rotation=(0.5, 0.5, 0)))
    for number in range(1, 500):
        pose = state(rotation=random.normal(0, 0.5, 3), translation=random.normal(0, 0.2, 2), time=number / 25)
        reference = estimator.update(pose)
        assert angle_between(reference, last) < np.radians(0.1)  # a frame
        assert np.abs(reference.translation - last.translation).max() < 0.001
        last = reference


def test_frames_that_were_guessed_do_not_shape_the_habit():
    estimator = ReferencePose()
    estimator.update(state())
    for number in range(1, 100):
        reference = estimator.update(state(rotation=(0, 0.3, 0), time=number / 25, confidence=0.0))
    assert_same_motion(reference_as_state(reference), state())


def reference_as_state(reference):
    return state(reference.rotation, reference.translation, reference.scale, gaze=reference.gaze)


def test_median_of_a_recording_ignores_outliers():
    usual = [state(rotation=(0, 0.1, 0), translation=(0.1, 0), scale=0.3)] * 10
    odd = [state(rotation=(0, 1.2, 0), translation=(0.4, 0.4), scale=0.6)] * 4
    median = HeadPose.from_states(odd + usual)
    np.testing.assert_allclose(median.rotation, (0, 0.1, 0), atol=1e-5)
    np.testing.assert_allclose(median.translation, (0.1, 0), atol=1e-6)
    assert median.scale == pytest.approx(0.3)
    with pytest.raises(ValueError, match="empty"):
        HeadPose.from_states([])
