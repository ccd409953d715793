"""IP-LAP driven live, by states alone or with a voice: motions in order, of the frames that the weights know."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from engine.audio.landmark_predictor import LandmarkPredictor  # noqa: E402
from engine.audio.voice_landmarks import CAUSAL, EXACT, NEWEST  # noqa: E402
from engine.face.landmarks131 import POSE  # noqa: E402
from engine.generators.base import GeneratorError  # noqa: E402
from engine.generators.iplap import IPLAPGenerator  # noqa: E402
from engine.generators.iplap_voice import StateWindow, VoiceDriver, spoken_motions  # noqa: E402
from engine.nets.iplap import IPLAPRenderer, RendererConfig  # noqa: E402
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator  # noqa: E402
from engine.nets.iplap_weights import renderer_metadata, save_landmarks  # noqa: E402
from engine.nets.stored_weights import save_state  # noqa: E402

CONFIG = RendererConfig(side=32, shallow=2, deep=4, hidden=2, head=2, audio=1, shared=2)
FRAMES = 12


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """By what the weights have seen."""
    network = IPLAPRenderer(CONFIG)
    made = {}
    for seen in ("centred", "causal", "held"):
        path = tmp_path_factory.mktemp(seen) / "iplap.safetensors"
        save_state(network.state_dict(), path, {**renderer_metadata(CONFIG), "seen": seen})
        made[seen] = IPLAPGenerator(256, path)
    return made


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("landmarks") / "iplap-landmarks.safetensors"
    torch.manual_seed(0)
    save_landmarks(LandmarkGenerator(LandmarkConfig(128, 1, feed_forward=16)), path)
    return LandmarkPredictor(path)


@pytest.fixture
def states(model, at_pose):
    return [at_pose(model, rotation=(0.0, 0.02 * k, 0.0)) for k in range(FRAMES)]


def poses(motion):
    """Which poses are drawn, by a number of each."""
    return np.round(motion["points"][0, :, : len(POSE)].sum(axis=(1, 2)), 4).tolist()


@pytest.mark.parametrize(
    ("seen", "exact", "delay", "drawn"),
    [
        ("centred", True, 80, (-2, -1, 0, 1, 2)),
        ("centred", False, 0, (-2, -1, 0, 0, 0)),
        ("causal", True, 0, (-4, -3, -2, -1, 0)),
        ("held", True, 0, (0, 0, 0, 0, 0)),
    ],
)
def test_states_alone(generators, head, states, seen, exact, delay, drawn):
    generator = generators[seen]
    window = StateWindow(generator, head.person, exact)
    assert window.delay_ms == delay
    motions = [window.push(state) for state in states]
    late = delay // 40
    assert [motion is None for motion in motions] == [True] * late + [False] * (FRAMES - late)
    of_state = [poses(generator.motion(head.person, state))[0] for state in states]
    for frame, motion in enumerate(motions[late:]):
        assert poses(motion) == [of_state[max(frame + k, 0)] for k in drawn]
        expected = generator.motion(head.person, states[frame])["landmarks"]
        np.testing.assert_array_equal(motion["landmarks"], expected)
        assert (motion["mel"] == -4).all()


@pytest.mark.parametrize("timing", [EXACT, NEWEST], ids=lambda timing: timing.name)
def test_with_a_voice(generators, predictor, head, states, timing):
    generator = generators["centred"]
    identity = {"points": generator.motion(head.person, head.state)["points"][:, :1]}
    voice = (0.2 * np.random.default_rng(0).standard_normal(FRAMES * 640)).astype(np.float32)
    driver = VoiceDriver(generator, identity, head.person, predictor, timing)
    found = []
    for k, state in enumerate(states):
        driver.add_state(state)
        driver.add_sound(voice[640 * k : 640 * (k + 1)])
        found.extend(driver.take())
    # What has been heard reaches to 40 ms behind the last state.
    assert len(found) == FRAMES - int(np.ceil((timing.delay_ms - 40) / 40))
    driver.finish()
    found.extend(driver.take())
    assert [frame for frame, _ in found] == list(range(FRAMES))
    of_state = [generator.motion(head.person, state) for state in states]
    for frame, motion in found:
        np.testing.assert_array_equal(motion["landmarks"], of_state[frame]["landmarks"])
        assert motion["mel"].max() > -4
        contents = motion["points"][0, :, len(POSE) :]
        assert np.isfinite(contents).all()
        assert (contents != of_state[frame]["points"][0, :, len(POSE) :]).any()
    last_but_two = poses(found[FRAMES - 3][1])
    ahead = (FRAMES - 2, FRAMES - 1) if timing is EXACT else (FRAMES - 3, FRAMES - 3)
    shown = (FRAMES - 5, FRAMES - 4, FRAMES - 3, *ahead)
    assert last_but_two == [poses(of_state[k])[0] for k in shown]


def test_a_recording_gives_a_motion_for_each_state(generators, predictor, head, states):
    generator = generators["held"]
    identity = {"points": generator.motion(head.person, head.state)["points"][:, :1]}
    voice = (0.2 * np.random.default_rng(0).standard_normal(FRAMES * 640)).astype(np.float32)

    def driven(blocks):
        driver = VoiceDriver(generator, identity, head.person, predictor)
        assert driver.timing is EXACT

        def as_heard(sound):
            assert sum(map(len, sound)) == len(voice)
            yield from states

        return [motion["points"] for motion in spoken_motions(blocks, as_heard, driver)]

    whole = driven([voice])
    assert len(whole) == FRAMES
    np.testing.assert_allclose(np.array(whole), driven(np.split(voice, 12)), atol=1e-6)


def test_timings_that_weights_were_not_trained_for_are_refused(generators, predictor, head):
    identity = {"points": np.zeros((1, 1, 131, 2), np.float32)}
    with pytest.raises(GeneratorError, match="timing causal: these weights were trained for any other"):
        VoiceDriver(generators["causal"], identity, head.person, predictor, CAUSAL)
