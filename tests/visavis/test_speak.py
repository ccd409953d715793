"""`visavis speak`: a voice in, a talking head out; and voices that are odd."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streaming.outputs import FileOutput
from visavis.__main__ import main
from visavis.demo import DRIVING, PORTRAIT


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(32767 * samples).astype("<i2").tobytes())
    return path


def buzz(seconds: float, rate: int = 16_000, level: float = 0.3) -> np.ndarray:
    moment = np.arange(round(seconds * rate)) / rate
    return level * np.sign(np.sin(2 * np.pi * 130 * moment)) * (np.sin(2 * np.pi * 4 * moment) > 0)


def speak(audio: Path, output: Path, *options: str) -> int:
    files = ["--source", str(PORTRAIT), "--audio", str(audio), "-o", str(output), "--generator", "mesh"]
    return main(["speak", *files, "--size", "256", *options])


def frames_and_sound(path: Path) -> tuple[list[np.ndarray], float]:
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        return frames, sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))


def test_a_frame_for_every_forty_milliseconds_of_sound(tmp_path):
    assert speak(write_wav(tmp_path / "a.wav", buzz(0.6)), tmp_path / "a.mp4", "--quiet") == 0
    frames, seconds = frames_and_sound(tmp_path / "a.mp4")
    assert len(frames) == 15
    assert frames[0].shape == (256, 256, 3)
    assert seconds == pytest.approx(0.6, abs=0.05)
    assert max(np.abs(one.astype(int) - frames[0]).mean() for one in frames) > 0.3


def test_the_seed_decides(tmp_path):
    audio = write_wav(tmp_path / "a.wav", buzz(0.4))
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert speak(audio, tmp_path / f"{name}.mp4", "--seed", seed, "--quiet") == 0
    one, same, other = (frames_and_sound(tmp_path / f"{name}.mp4")[0] for name in "abc")
    np.testing.assert_array_equal(one, same)
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("samples", "rate", "frames"),
    [
        (np.stack((buzz(0.2, 44_100), np.zeros(8820)), axis=1), 44_100, 5),
        (buzz(0.2, 8_000), 8_000, 5),
        (np.clip(100 * buzz(0.2), -1, 1), 16_000, 5),
        (buzz(0.001, 48_000), 48_000, 1),
    ],
    ids=["stereo", "8 kHz", "clipped", "1 ms"],
)
def test_odd_voices_are_spoken(tmp_path, samples, rate, frames):
    assert speak(write_wav(tmp_path / "a.wav", samples, rate), tmp_path / "a.mp4", "--quiet") == 0
    assert len(frames_and_sound(tmp_path / "a.mp4")[0]) == frames


@pytest.fixture
def iplap_weights(tmp_path, monkeypatch):
    """Of both networks, narrow and random."""
    torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")
    from engine.nets.iplap import IPLAPRenderer, RendererConfig
    from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator
    from engine.nets.iplap_weights import save_landmarks, save_renderer

    folder = tmp_path / "weights" / "iplap"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_renderer(IPLAPRenderer(RendererConfig(32, 2, 4, 2, 2, 1, 2)), folder / "iplap.safetensors")
    save_landmarks(LandmarkGenerator(LandmarkConfig(128, 1, feed_forward=16)), folder / "iplap-landmarks.safetensors")
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(folder.parent))
    return folder


def test_lips_of_iplap_where_its_landmark_generator_is_installed(tmp_path, iplap_weights, capsys):
    audio = write_wav(tmp_path / "a.wav", buzz(0.4))
    options = ("--generator", "iplap", "--runtime", "torch", "--quiet")
    for name, lips in (("auto", "auto"), ("iplap", "iplap"), ("voice", "voice")):
        assert speak(audio, tmp_path / f"{name}.mp4", "--lips", lips, *options) == 0
    auto, iplap, voice = (frames_and_sound(tmp_path / f"{name}.mp4")[0] for name in ("auto", "iplap", "voice"))
    assert len(auto) == len(voice) == 10
    np.testing.assert_array_equal(auto, iplap)
    assert (np.array(auto) != np.array(voice)).any()
    (iplap_weights / "iplap-landmarks.safetensors").unlink()
    assert speak(audio, tmp_path / "without.mp4", *options) == 0
    np.testing.assert_array_equal(frames_and_sound(tmp_path / "without.mp4")[0], voice)
    capsys.readouterr()
    assert speak(audio, tmp_path / "none.mp4", "--lips", "iplap", *options) == 1
    assert "visavis train iplap-landmarks" in capsys.readouterr().err
    assert speak(audio, tmp_path / "none.mp4", "--lips", "iplap") == 1
    assert "use generator iplap" in capsys.readouterr().err
    assert not (tmp_path / "none.mp4").exists()


def test_lips_that_ship_are_taken_where_they_are_asked_for(tmp_path):
    pytest.importorskip("torch", reason="networks need torch (extra: torch)")
    audio = write_wav(tmp_path / "a.wav", buzz(0.4))
    for lips in ("auto", "voice", "iplap"):
        assert speak(audio, tmp_path / f"{lips}.mp4", "--lips", lips, "--generator", "iplap", "--quiet") == 0
    auto, voice, iplap = (frames_and_sound(tmp_path / f"{name}.mp4")[0] for name in ("auto", "voice", "iplap"))
    np.testing.assert_array_equal(auto, voice)
    assert (np.array(iplap) != np.array(voice)).any()


@pytest.fixture
def learners(tmp_path, monkeypatch):
    """Of Rhythmic Head Motion, narrow and random."""
    torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")
    from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner
    from engine.nets.head_motion_learner import HeadMotionConfig, HeadMotionLearner
    from engine.nets.learner_weights import expression_metadata, head_motion_metadata
    from engine.nets.stored_weights import save_state

    face_path, head_path = (
        tmp_path / "weights" / name / f"{name}.safetensors" for name in ("rhythmic-expression", "rhythmic-head-motion")
    )
    torch.manual_seed(0)
    face, head = ExpressionLearner(ExpressionConfig(divisor=16)), HeadMotionLearner(HeadMotionConfig(divisor=8))
    save_state(face.state_dict(), face_path, expression_metadata(face.config))
    facts = head_motion_metadata(head.config, np.zeros(6), np.full(6, 0.1))
    save_state(head.state_dict(), head_path, facts)
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path / "weights"))
    return face_path


def test_lips_and_head_of_rhythmic(tmp_path, learners, capsys):
    audio = write_wav(tmp_path / "a.wav", buzz(0.4))
    assert speak(audio, tmp_path / "one.mp4", "--lips", "rhythmic", "--quiet") == 0
    assert speak(audio, tmp_path / "auto.mp4", "--quiet") == 0  # the generator is mesh
    assert speak(audio, tmp_path / "still.mp4", "--lips", "rhythmic", "--mouth", "0", "--head", "0", "--quiet") == 0
    assert speak(audio, tmp_path / "like.mp4", "--like", str(DRIVING), "--quiet") == 0
    one, auto, still, like = (
        np.array(frames_and_sound(tmp_path / f"{name}.mp4")[0]) for name in ("one", "auto", "still", "like")
    )
    assert len(one) == 10
    for other in (auto, still, like):
        assert (one != other).any()
    capsys.readouterr()
    assert speak(audio, tmp_path / "no.mp4", "--like", str(DRIVING), "--lips", "voice") == 1
    assert "--like is for lips rhythmic" in capsys.readouterr().err
    assert speak(audio, tmp_path / "no.mp4", "--like", str(audio)) == 1
    assert "a.wav" in capsys.readouterr().err
    with FileOutput(tmp_path / "grey.mp4", 128, 128, Fraction(25)) as grey:
        for number in range(80):
            grey.write(np.full((128, 128, 3), 120, np.uint8), number / 25)
        grey.write_audio(np.zeros(3 * 48_000, np.int16), 0.0)
    assert speak(audio, tmp_path / "no.mp4", "--like", str(tmp_path / "grey.mp4")) == 1
    assert "grey.mp4: how a head moves is learned from 2.56 s" in " ".join(capsys.readouterr().err.split())
    learners.unlink()
    assert speak(audio, tmp_path / "no.mp4", "--lips", "rhythmic") == 1
    assert "visavis train rhythmic-expression" in capsys.readouterr().err
    assert not (tmp_path / "no.mp4").exists()


def test_silence_is_said(tmp_path, capsys):
    assert speak(write_wav(tmp_path / "a.wav", np.zeros(3200)), tmp_path / "a.mp4") == 0
    assert "is silent" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_spoken_is_one_clear_line_and_writes_nothing(tmp_path, capsys):
    def error(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["speak", "-o", str(tmp_path / "out.mp4"), *arguments]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    source, mesh = ("--source", str(PORTRAIT)), ("--generator", "mesh", "--size", "256")
    voice = str(write_wav(tmp_path / "a.wav", buzz(0.2)))
    (tmp_path / "text.wav").write_bytes(b"no sound at all, only words" * 30)
    empty = str(write_wav(tmp_path / "empty.wav", np.zeros(0)))
    assert "no such file" in error(*source, "--audio", str(tmp_path / "none.wav"), *mesh)
    assert "not a sound file" in error(*source, "--audio", str(tmp_path / "text.wav"), *mesh)
    assert "holds no sound" in error(*source, "--audio", empty, *mesh)
    assert "has no sound" in error(*source, "--audio", str(PORTRAIT), *mesh)
    assert "expected 0 to 3" in error(*source, "--audio", voice, "--mouth", "9", *mesh)
    assert "generator fomm" in error(*source, "--audio", voice, "--generator", "fomm")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((256, 256, 3), 128, np.uint8))
    assert "face" in error("--source", str(tmp_path / "grey.png"), "--audio", voice, *mesh)
    assert not list(tmp_path.glob("*.mp4"))
    assert not list(tmp_path.glob(".*.part"))
