"""VGGFace of random weights, as narrow as can be."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from safetensors.torch import save_file  # noqa: E402

from engine.training.face_identity import find_vggface, load_vggface  # noqa: E402
from engine.training.perceptual import PerceptualWeightsError  # noqa: E402

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


@pytest.fixture
def state():
    torch.manual_seed(0)
    made, channels = {}, 3
    for number in CONVOLUTIONS:
        made[f"features.{number}.weight"] = torch.randn(2, channels, 3, 3) / (9 * channels) ** 0.5
        made[f"features.{number}.bias"] = torch.zeros(2)
        channels = 2
    for number, (into, out) in zip((0, 3, 6), ((2 * 49, 6), (6, 6), (6, 5)), strict=True):
        made[f"classifier.{number}.weight"], made[f"classifier.{number}.bias"] = (
            torch.randn(out, into),
            torch.zeros(out),
        )
    return made


def test_equal_pictures_are_one_person_and_others_are_told_apart(state, tmp_path, monkeypatch):
    save_file(state, tmp_path / "face.safetensors")
    monkeypatch.setenv("VISAVIS_VGGFACE", str(tmp_path / "face.safetensors"))
    features = load_vggface(find_vggface(), torch.device("cpu"))
    truth, rendered = torch.rand(2, 1, 3, 64, 64)
    assert [term.item() for term in features.distances(truth, truth)] == [0.0, 0.0]
    rendered.requires_grad_()
    taps, logits = features.distances(rendered, truth)
    assert taps > 0
    assert logits > 0
    (taps + logits).backward()
    assert rendered.grad.abs().sum() > 0
    seen, classes = features(truth)
    assert [tap.shape[-1] for tap in seen] == [224, 112, 56, 28, 14]
    assert classes.shape == (1, 5)


def test_files_of_something_else_are_refused(state, tmp_path, monkeypatch):
    monkeypatch.delenv("VISAVIS_VGGFACE", raising=False)
    assert find_vggface() is None
    path = tmp_path / "face.safetensors"
    with pytest.raises(PerceptualWeightsError, match="VISAVIS_VGGFACE"):
        load_vggface(path, torch.device("cpu"))
    del state["classifier.6.bias"]
    save_file(state, path)
    with pytest.raises(PerceptualWeightsError, match=r"face\.safetensors: classifier\.6: missing"):
        load_vggface(path, torch.device("cpu"))
