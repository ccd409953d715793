"""`visavis train subject` as it is typed: a clip or pictures of one person in, weights that draw that person out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.face.contours68 import contours_68  # noqa: E402
from engine.generators.lsr import LSRGenerator  # noqa: E402
from engine.nets.lsr import LSRConfig, LSRDiscriminator, LSRNetwork  # noqa: E402
from engine.nets.lsr_weights import beside, load_network, save_network  # noqa: E402
from engine.training.lsr_subject import Subject  # noqa: E402
from visavis.__main__ import main  # noqa: E402
from visavis.demo import DRIVING, PORTRAIT  # noqa: E402

CONFIG = LSRConfig(size=64, width=4, limit=16, latent=16, hidden=8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lsr") / "lsr.safetensors"
    save_network(LSRNetwork(CONFIG), path)
    save_network(LSRDiscriminator(CONFIG), beside(path))
    return path


@pytest.fixture(autouse=True)
def no_judges(monkeypatch):
    for name in ("VISAVIS_VGG19", "VISAVIS_VGGFACE"):
        monkeypatch.delenv(name, raising=False)


def in_words(capsys) -> str:
    printed = capsys.readouterr()
    return re.sub(r"\s+", " ", printed.out + printed.err)


def typed(folder, weights, output, *more):
    places = ([str(folder)] if folder else []) + ["-o", str(output), "--weights", str(weights)]
    return main(["train", "subject", *places, "--threads", "1", *more])


def test_pictures_become_weights_that_render(weights, tmp_path, monkeypatch, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(PORTRAIT, pictures / "a.jpg")
    cv2.imwrite(str(pictures / "b.png"), cv2.imread(str(PORTRAIT))[:, ::-1])
    output = tmp_path / "me"
    assert typed(pictures, weights, output, "--steps", "2") == 0
    assert f"VISAVIS_WEIGHTS={output} visavis render --generator lsr" in in_words(capsys)
    subject = Subject.load(output / "subject.npz")
    assert subject.frames.shape == (2, 64, 64, 3)
    assert np.abs(subject.landmarks[..., :2]).max() < 0.5  # of the crop, not of the picture
    assert sorted(path.name for path in (output / "lsr").iterdir()) == ["lsr.safetensors"]
    before, after = (load_network(path).state_dict() for path in (weights, output / "lsr" / "lsr.safetensors"))
    assert any((before[key].half() != after[key].half()).any() for key in before)

    assert typed(pictures, weights, output) == 1
    assert "holds a run already; go on with --resume" in in_words(capsys)

    monkeypatch.setenv("VISAVIS_WEIGHTS", str(output))
    generator = LSRGenerator(256)
    frames = np.repeat(np.repeat(subject.frames, 4, axis=1), 4, axis=2)
    identity = generator.merge([generator.encode(frames[k : k + 1], subject.landmarks[k : k + 1]) for k in range(2)])
    points = contours_68(subject.landmarks[:1])[..., :2]
    assert generator.render(identity, {"landmarks": points}).shape == (1, 256, 256, 3)


def test_a_video_is_looked_at_in_frames_over_its_length(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("visavis.train_subject.FRAMES_AT_MOST", 6)
    assert typed(DRIVING, weights, tmp_path / "me", "--steps", "1") == 0
    subject = Subject.load(tmp_path / "me" / "subject.npz")
    assert len(subject.frames) == 6
    # One crop for all: the background stands still.
    corners = subject.frames[:, :6, :6].astype(float)
    assert np.abs(corners - corners[0]).mean() < 6
    assert (tmp_path / "me" / "source.png").is_file()


class TestBadInput:
    """Nothing is written, and one line says why."""

    def refusal(self, capsys, folder, weights, output) -> str:
        assert typed(folder, weights, output) == 1
        assert not output.exists()
        return in_words(capsys)

    def test_nothing_named(self, weights, tmp_path, capsys):
        assert "name a video of the person" in self.refusal(capsys, None, weights, tmp_path / "me")

    def test_no_face(self, weights, tmp_path, capsys):
        cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200, 3), 90, np.uint8))
        assert "wall.png: no face found" in self.refusal(capsys, tmp_path, weights, tmp_path / "me")

    def test_no_pictures_and_no_video(self, weights, tmp_path, capsys):
        assert "no pictures" in self.refusal(capsys, tmp_path, weights, tmp_path / "me")
        (tmp_path / "noise.mp4").write_bytes(b"noise")
        assert "noise.mp4" in self.refusal(capsys, tmp_path / "noise.mp4", weights, tmp_path / "me")

    @pytest.mark.data
    def test_two_people(self, weights, tmp_path, data_pack, capsys):
        pytest.importorskip("dlib", reason="dlib is part of the optional extra 'bench'")
        import av

        for clip in ("p88_01", "p91_01"):
            with av.open(str(data_pack.clip(clip))) as container:
                frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
            cv2.imwrite(str(tmp_path / f"{clip}.png"), frame)
        said = self.refusal(capsys, tmp_path, weights, tmp_path / "me")
        assert "p91_01.png shows another person than p88_01.png" in said

    def test_weights_of_something_else(self, tmp_path, capsys):
        (tmp_path / "w.safetensors").write_bytes(b"noise")
        assert "not a safetensors file" in self.refusal(
            capsys, PORTRAIT.parent, tmp_path / "w.safetensors", tmp_path / "me"
        )

    def test_no_weights(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
        (tmp_path / "lsr").mkdir()
        assert main(["train", "subject", str(DRIVING), "-o", str(tmp_path / "me")]) == 1
        assert "visavis weights import lsr FILE" in in_words(capsys)
