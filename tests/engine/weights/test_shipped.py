"""What ships: networks are those of the weights, cards say what they were trained on, voices are learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import weights
from engine.audio.sound_file import SoundFile
from engine.audio.voice_motion import VoiceModel
from engine.avatar import Avatar
from engine.face.model import FaceModel
from engine.training.mouth_basis import mouth_opening
from engine.weights import VARIABLE, graph_path, weights_roots
from visavis.demo import DRIVING, PORTRAIT

SHIPPED = Path(weights.__file__).parent
FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/*.safetensors") if path.stem == path.parent.name)


@pytest.fixture(autouse=True)
def nothing_but_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert weights_roots()[-1] == SHIPPED


def test_what_ships() -> None:
    assert [folder.name for folder in FOLDERS] == [
        "iplap", "portrait", "rhythmic-expression", "rhythmic-head-motion", "voice",
    ]  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_card_says_what_it_was_trained_on_and_under_which_rights(folder: Path) -> None:
    card = " ".join((folder / "card.md").read_text().split())
    for words in ("## Trained on", "Treat these weights as research-only", "visavis train", "## How good"):
        assert words in card


@pytest.mark.parametrize(("generator", "size"), [("portrait", 256), ("portrait", 512), ("iplap", 256)])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_networks_render_what_torch_renders_from_the_weights(generator: str, runtime: str, size: int) -> None:
    for package in (runtime, "torch"):
        pytest.importorskip(package, reason=f"needs {package}")
    graph_path(generator, "render", size)  # where weights ship, so do networks
    expected, rendered = (
        Avatar.from_image(PORTRAIT, generator=generator, runtime=name, size=size) for name in ("torch", runtime)
    )
    state = expected.source_state
    for turn in ((0.0, 0.0, 0.0), (0.1, 0.35, 0.0), (-0.2, -0.2, 0.2)):
        moved = replace(state, rotation=state.rotation + np.float32(turn))
        difference = np.abs(rendered.render_state(moved).astype(int) - expected.render_state(moved))
        assert difference.max() <= 2
        assert difference.mean() < 0.02


def heard(rate_hz: int) -> list[np.ndarray]:
    return list(SoundFile(DRIVING).blocks(rate_hz))


def test_the_learners_of_rhythmic_open_the_mouth_as_our_own_network_does() -> None:
    pytest.importorskip("torch", reason="needs torch")
    from engine.audio.rhythmic_voice import EXPRESSION_RATE_HZ, MOTION_RATE_HZ, RhythmicVoice
    from engine.audio.voice_motion import VoiceMotion, spoken_states

    model = VoiceModel.load()
    opening = mouth_opening(FaceModel.load())
    ours = list(spoken_states(heard(16_000), VoiceMotion(model), 25))
    theirs = list(
        RhythmicVoice().states([model.neutral()] * len(ours), heard(MOTION_RATE_HZ), heard(EXPRESSION_RATE_HZ))
    )
    silent = list(RhythmicVoice().states([model.neutral()] * 50, [], []))
    open_ours, open_theirs, open_silent = (
        np.array([state.expression @ opening for state in states]) for states in (ours, theirs, silent)
    )
    assert np.corrcoef(open_ours, open_theirs)[0, 1] > 0.3
    assert open_theirs.std() > 0.3 * open_ours.std()
    assert open_silent.std() < 0.1 * open_theirs.std()
    turns = np.degrees([state.rotation for state in theirs])
    assert 0.2 < turns.std(axis=0).max() < 15


def test_the_landmark_generator_moves_the_lips_with_the_voice() -> None:
    pytest.importorskip("torch", reason="needs torch")
    from engine.audio.landmark_predictor import LandmarkPredictor
    from engine.audio.mel import mel_spectrogram
    from engine.audio.mel_windows import SILENCE, mel_windows
    from engine.face.landmarks131 import CONTENT, LANDMARKS_131, LIP_BOTTOM, LIP_TOP, POSE, face_boxes, in_box

    avatar = Avatar.from_image(PORTRAIT, generator="mesh")
    landmarks = avatar.person.landmarks(avatar.source_state)
    points = in_box(landmarks, face_boxes(landmarks, 256, 256), 256, 256)
    assert points.shape == (len(LANDMARKS_131), 2)
    predictor = LandmarkPredictor()
    tokens = predictor.encode(points[None])
    poses = np.repeat(points[None, : len(POSE)], 5, axis=0)
    mel = mel_spectrogram(np.concatenate(heard(16_000)))
    bottom, top = CONTENT.index(LIP_BOTTOM), CONTENT.index(LIP_TOP)
    spoken, deaf = [], []
    for frame in range(2, 300, 3):
        mels = mel_windows(mel, range(frame - 2, frame + 3))
        for found, cause in ((spoken, mels), (deaf, np.full_like(mels, SILENCE))):
            contents = predictor.predict(tokens, cause, poses)[2]
            found.append(contents[bottom, 1] - contents[top, 1])
            assert np.abs(contents.mean(0) - points[len(POSE) :].mean(0)).max() < 0.1
    assert np.std(deaf) < 1e-5
    assert np.std(spoken) > 0.005
