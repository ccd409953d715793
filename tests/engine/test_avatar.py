"""A picture becomes an avatar: identity, motion, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.avatar import Avatar
from engine.face.images import load_image
from engine.face.landmarks import NoFaceError, SeveralFacesError
from engine.generators import GeneratorError, generator_names, load_generator
from engine.runtime import RuntimeUnavailableError, load_runtime
from visavis.demo import PORTRAIT


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar.from_image(PORTRAIT)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_its_own_state_gives_the_picture_back(avatar: Avatar) -> None:
    frame = avatar.render_state(avatar.source_state)
    assert frame.shape == (256, 256, 3)
    assert frame.dtype == np.uint8
    assert difference(frame, avatar.source_frame) < 4


def test_first_driving_frame_shows_the_source_pose_with_the_drivers_expression(avatar: Avatar) -> None:
    avatar.reset()
    driving = replace(
        avatar.source_state,
        rotation=avatar.source_state.rotation + np.float32([0.2, -0.3, 0.1]),
        translation=np.zeros(2),
        scale=avatar.source_state.scale / 2,
    )
    state = avatar.transfer(driving)
    np.testing.assert_allclose(state.rotation, avatar.source_state.rotation, atol=1e-5)
    np.testing.assert_allclose(state.translation, avatar.source_state.translation, atol=1e-6)
    assert state.scale == pytest.approx(avatar.source_state.scale)


def test_absolute_motion_takes_pose_and_place_over(avatar: Avatar) -> None:
    driving = replace(avatar.source_state, translation=avatar.source_state.translation + np.float32([0.05, 0.02]))
    np.testing.assert_allclose(avatar.transfer(driving, "absolute").translation, driving.translation)


def test_a_turned_head_changes_the_face_and_leaves_the_background(avatar: Avatar) -> None:
    turned = replace(avatar.source_state, rotation=avatar.source_state.rotation + np.float32([0, 0.25, 0]))
    frame = avatar.render_state(turned)
    assert difference(frame[90:140, 95:160], avatar.source_frame[90:140, 95:160]) > 5
    assert difference(frame[:40, :40], avatar.source_frame[:40, :40]) < 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_frames_of_a_file_come_in_order_and_as_one_by_one(at_once: int) -> None:
    one_by_one, together = (Avatar.from_image(PORTRAIT, generator="mesh", at_once=number) for number in (1, at_once))
    states = [
        replace(one_by_one.source_state, rotation=one_by_one.source_state.rotation + np.float32([0, 0.03 * k, 0]))
        for k in range(7)
    ]
    expected = [one_by_one.render(state) for state in states]
    frames = list(together.render_each([None, *states[:3], None, None, *states[3:]]))
    for frame, wanted in zip(
        frames,
        [together.source_frame, *expected[:3], expected[2], expected[2], *expected[3:]],
        strict=True,
    ):
        np.testing.assert_array_equal(frame, wanted)


def test_what_fails_in_a_frame_reaches_the_caller(avatar: Avatar) -> None:
    damaged = replace(avatar.source_state, expression=np.zeros(3))
    with pytest.raises(ValueError, match="expression"):
        list(avatar.render_each([avatar.source_state, damaged, avatar.source_state]))


def test_512_pixels() -> None:
    large = Avatar.from_image(PORTRAIT, size=512)
    assert large.render_state(large.source_state).shape == (512, 512, 3)


def test_paste_back_keeps_the_rest_of_the_picture() -> None:
    picture = load_image(PORTRAIT)
    wide = np.full((300, 500, 3), 90, np.uint8)
    wide[20 : 20 + picture.shape[0], 130 : 130 + picture.shape[1]] = picture
    avatar = Avatar.from_image(wide)
    full = avatar.paste_back(avatar.render_state(avatar.source_state))
    assert full.shape == wide.shape
    assert np.array_equal(full[:, :60], wide[:, :60])
    assert difference(full, wide) < 4


def test_two_faces_are_refused_with_the_way_out() -> None:
    picture = load_image(PORTRAIT)
    with pytest.raises(SeveralFacesError, match=r"2 faces.*crop"):
        Avatar.from_image(np.hstack([picture, picture[:, ::-1]]))


def test_no_face_is_refused() -> None:
    with pytest.raises(NoFaceError):
        Avatar.from_image(np.full((256, 256, 3), 128, np.uint8))


def test_crop_none_wants_a_square() -> None:
    with pytest.raises(ValueError, match="not square"):
        Avatar.from_image(load_image(PORTRAIT)[:, :200], crop="none")


def test_unknown_generator_runtime_and_size_name_what_there_is() -> None:
    assert "mesh" in generator_names()
    with pytest.raises(GeneratorError, match="mesh"):
        load_generator("nonesuch", 256)
    with pytest.raises(GeneratorError, match="256, 512"):
        load_generator("mesh", 300)
    with pytest.raises(RuntimeUnavailableError, match="numpy"):
        load_runtime("nonesuch")
