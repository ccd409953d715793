"""Motion of a voice: in time, the same however it comes, shut for silence, open for speech."""

from __future__ import annotations

import time

import numpy as np
import pytest

from engine.audio.voice_motion import LOOK_AHEAD, VoiceModel, VoiceMotion, VoiceMotionConfig, spoken_states
from engine.face.model import FaceModel
from engine.training.mouth_basis import mouth_opening
from engine.weights import WeightsError
from engine.weights.stored_arrays import read_arrays

LIVELY, MOUTH_ONLY = VoiceMotionConfig(), VoiceMotionConfig(head=0.0, blinks=False)


@pytest.fixture(scope="module")
def model() -> VoiceModel:
    return VoiceModel.load()


def babble(seconds: float) -> np.ndarray:
    """Syllables of a buzz with formants that change, four a second, with pauses."""
    moment = np.arange(round(seconds * 16_000)) / 16_000
    rng = np.random.default_rng(0)
    source = np.sign(np.sin(2 * np.pi * 120 * moment)) + 0.1 * rng.normal(size=moment.size)
    formant = 700 + 300 * np.sin(2 * np.pi * 2 * moment)
    loud = np.clip(np.sin(2 * np.pi * 4 * moment), 0, 1) * (moment % 2 < 1.4)
    return 0.15 * loud * source * (1 + np.sin(2 * np.pi * np.cumsum(formant) / 16_000)) / 2


def states(model: VoiceModel, sound: np.ndarray, size: int = 4000, config=LIVELY, seed=0):
    blocks = [sound[begin : begin + size] for begin in range(0, len(sound), size)]
    return list(spoken_states(blocks, VoiceMotion(model, config, seed), 25))


def numbers(found) -> np.ndarray:
    return np.stack([np.concatenate((s.rotation, s.translation, [s.scale], s.expression)) for s in found])


@pytest.mark.parametrize("size", [37, 640, 48_000])
def test_the_same_motion_however_the_voice_is_cut(model, size):
    sound = babble(2.0)
    np.testing.assert_allclose(numbers(states(model, sound, size)), numbers(states(model, sound, 2000)), atol=1e-5)


def test_nothing_waits_longer_than_the_look_ahead(model):
    assert LOOK_AHEAD <= 0.08
    motion, sound = VoiceMotion(model), babble(1.0)
    for end in range(160, len(sound) + 1, 160):
        motion.push(sound[end - 160 : end])
        heard = end / 16_000
        if heard > LOOK_AHEAD:
            assert motion.reached is not None
            assert motion.reached > heard - LOOK_AHEAD - 0.0125
            assert motion.reached <= heard


def test_what_comes_later_than_the_look_ahead_changes_nothing(model):
    sound, other = babble(2.0), babble(2.0)
    changed = 1.2
    other[round(changed * 16_000) :] = 0.3 * np.random.default_rng(1).normal(size=len(other) - round(changed * 16_000))
    one, two = numbers(states(model, sound, config=MOUTH_ONLY)), numbers(states(model, other, config=MOUTH_ONLY))
    same = int((changed - LOOK_AHEAD) * 25)
    np.testing.assert_allclose(one[: same + 1], two[: same + 1], atol=1e-5)
    assert np.abs(one[same + 4 :] - two[same + 4 :]).max() > 1e-3


def test_one_state_a_frame_to_the_end_of_the_sound(model):
    assert len(states(model, babble(2.0))) == 50
    assert [round(state.time, 3) for state in states(model, babble(0.1))] == [0.0, 0.04, 0.08]
    assert len(states(model, babble(0.001))) == 1
    assert len(states(model, np.zeros(0))) == 1


def test_silence_keeps_the_mouth_shut_and_speech_opens_it(model):
    opening = mouth_opening(FaceModel.load())
    silent = numbers(states(model, np.zeros(32_000), config=MOUTH_ONLY))[:, 6:] @ opening
    spoken = numbers(states(model, babble(2.0), config=MOUTH_ONLY))[:, 6:] @ opening
    assert np.abs(silent[10:]).max() < 0.05  # of the distance between the eyes' outer corners
    assert spoken.max() > silent.max() + 0.03


def test_loud_quiet_and_clipped_voices_give_sound_motion(model):
    sound = babble(1.0)
    for voice in (0.01 * sound, np.clip(50 * sound, -1, 1), np.ones(16_000), np.zeros(16_000)):
        found = numbers(states(model, voice))
        assert np.isfinite(found).all()
        assert np.abs(found[:, 6:]).max() < 0.3


def test_a_seed_decides_head_and_lids_and_leaves_the_mouth_alone(model):
    sound = babble(3.0)
    one, same, other = (numbers(states(model, sound, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one[:, :3] - other[:, :3]).max() > 0.01
    quiet = [numbers(states(model, sound, seed=seed, config=MOUTH_ONLY)) for seed in (0, 1)]
    np.testing.assert_array_equal(quiet[0], quiet[1])
    assert not quiet[0][:, :3].any()


def test_a_voice_can_go_on_elsewhere(model):
    motion = VoiceMotion(model, begin=5.0)
    assert motion.reached is None
    motion.push(babble(1.0))
    assert 5.9 < motion.reached < 6.0
    motion.begin(100.0)
    assert motion.reached is None
    assert np.isfinite(motion.state(100.0).expression).all()
    motion.push(babble(0.5))
    assert 100.4 < motion.reached < 100.5


def test_a_frame_takes_less_than_five_milliseconds(model):
    motion, sound, took = VoiceMotion(model), babble(2.0), []
    for begin in range(0, len(sound), 640):
        start = time.process_time()
        motion.push(sound[begin : begin + 640])
        motion.state(motion.reached or 0.0)
        took.append(time.process_time() - start)
    assert np.median(took) < 0.005


def test_a_minute_of_voice_leaves_some_seconds_behind(model):
    motion = VoiceMotion(model)
    for _ in range(60):
        motion.push(np.zeros(16_000))
    assert len(motion._mouth._rows) <= 20 * 80 + 80


def test_weights_that_do_not_belong_together_are_refused(tmp_path, model):
    torch = pytest.importorskip("safetensors.numpy", reason="writes weights")
    from engine.weights import weights_path

    arrays, _ = read_arrays(weights_path("voice"))
    torch.save_file({**arrays, "mouth.basis": np.zeros((3, 24), np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="do not belong together"):
        VoiceModel.load(tmp_path / "a.safetensors")
    torch.save_file({"mouth.basis": arrays["mouth.basis"].copy()}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"b\.safetensors|voice"):
        VoiceModel.load(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="expected 0 to 3"):
        VoiceMotionConfig(mouth=-1)
