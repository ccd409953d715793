"""`visavis weights import` as it is typed: published checkpoints in, weights and card out, or one line of why not."""

from __future__ import annotations

import hashlib
import json
import resource
import sys

import pytest

torch = pytest.importorskip("torch", reason="importing weights needs torch (extra: torch)")
pytest.importorskip("safetensors", reason="importing weights needs safetensors (extra: torch)")

from engine.generators.rhythmic import RhythmicGenerator  # noqa: E402
from engine.nets.adaat import AdaATConfig, AdaATNetwork  # noqa: E402
from engine.nets.adaat_weights import load_network  # noqa: E402
from engine.nets.dagan import DaGANConfig, DaGANModel  # noqa: E402
from engine.nets.dagan_weights import load_model as load_dagan  # noqa: E402
from engine.nets.dense_motion import DenseMotionConfig  # noqa: E402
from engine.nets.face_depth import FaceDepthConfig  # noqa: E402
from engine.nets.first_order import FirstOrderConfig, FirstOrderModel  # noqa: E402
from engine.nets.first_order_weights import load_model as load_fomm  # noqa: E402
from engine.nets.hourglass import HourglassConfig  # noqa: E402
from engine.nets.iplap import IPLAPRenderer, RendererConfig  # noqa: E402
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator  # noqa: E402
from engine.nets.iplap_weights import load_renderer  # noqa: E402
from engine.nets.keypoint_detector import KeypointConfig  # noqa: E402
from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork  # noqa: E402
from engine.weights.stored_header import read_header  # noqa: E402
from visavis.__main__ import main  # noqa: E402

MOTION = DenseMotionConfig(hourglass=HourglassConfig(4, 16, 2))
FOMM = FirstOrderConfig(KeypointConfig(10, hourglass=HourglassConfig(4, 16, 2)), MOTION, 8, 32, residual_blocks=1)
WARP = FirstOrderConfig(KeypointConfig(5, 4, HourglassConfig(4, 16, 2)), MOTION, 8, 32, residual_blocks=1)
NARROW = RendererConfig(shallow=2, deep=4, hidden=2, head=2, audio=1, shared=2)
DAGAN = DaGANConfig(WARP, FaceDepthConfig(width=8))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's folder of weights, which nothing has made yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "visavis" / "weights"


@pytest.fixture
def fomm_file(tmp_path):
    return saved(fomm_content(), tmp_path / "vox-cpk.pth.tar")


@pytest.fixture
def dagan_files(tmp_path):
    return save_dagan(DaGANModel(DAGAN), tmp_path)


def saved(content, path):
    torch.save(content, path)
    return path


def fomm_content():
    torch.manual_seed(0)
    model = FirstOrderModel(FOMM)
    return {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict(), "epoch": 99}


def save_dagan(model, folder):
    """The three files in the published layout."""
    states = {
        name: {f"module.{key}": value for key, value in getattr(model, name).state_dict().items()}
        for name in ("generator", "kp_detector")
    }
    return [
        saved({**states, "epoch": 100}, folder / "DaGAN_vox_adv_256.pth.tar"),
        saved({**model.depth.depth_encoder.state_dict(), "height": 256, "use_stereo": False}, folder / "encoder.pth"),
        saved(model.depth.depth_decoder.state_dict(), folder / "depth.pth"),
    ]


def adaat_content(config):
    networks = {"net_g": {f"module.{key}": value for key, value in AdaATNetwork(config).state_dict().items()}}
    return {"epoch": 30, "state_dict": networks}


def typed(*arguments):
    return main(["weights", "import", *map(str, arguments)])


def refusal(capsys, *arguments):
    """The one line that the command says instead of doing it."""
    capsys.readouterr()
    assert typed(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("visavis: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_reference_checkpoint_becomes_weights_of_the_user(parity_folder, home, capsys):
    source = parity_folder / "fomm_a" / "checkpoint.pth.tar"
    assert typed("fomm", source, "--keypoints", 10) == 0
    weights = home / "fomm" / "fomm.safetensors"
    assert sorted(path.name for path in weights.parent.iterdir()) == ["card.md", "fomm.safetensors"]
    model = load_fomm(weights)
    published = torch.load(source, weights_only=True)
    for part in ("generator", "kp_detector"):
        for key, value in model.get_submodule(part).state_dict().items():
            torch.testing.assert_close(value, published[part][key], atol=0, rtol=0)
    # Random weights: nothing speaks for the one or the other.
    assert not model.config.align_corners
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    metadata = read_header(weights).metadata
    assert (metadata["generator"], metadata["size"], metadata["sha256"]) == ("fomm", "256", digest)
    printed, card = capsys.readouterr().out, (weights.parent / "card.md").read_text()
    for text in (printed, card):
        for words in ("10 keypoints", "checkpoint.pth.tar", digest, "MIT licence", "without a licence of their own"):
            assert words in text
        assert "no (L1 0." in text
        assert "so as in the published code" in text
        assert f"{sum(parameter.numel() for parameter in model.parameters()):,}" in text
    assert str(weights) in printed
    assert "visavis render --generator fomm" in printed


def test_dagan_is_three_files_in_any_order_and_not_for_commercial_use(home, dagan_files, capsys, recwarn):
    first, second, third = dagan_files
    assert typed("dagan", third, first, second) == 0
    model = load_dagan(home / "dagan" / "dagan.safetensors")
    assert model.config == DAGAN
    metadata = read_header(home / "dagan" / "dagan.safetensors").metadata
    assert metadata["source"] == "depth.pth, DaGAN_vox_adv_256.pth.tar, encoder.pth"
    assert metadata["size"] == "256"
    printed, card = capsys.readouterr().out, (home / "dagan" / "card.md").read_text()
    for text in (printed, card):
        assert "non-commercial use only" in text
        assert "5 keypoints" in text
        assert "0 in size: near 0, so the depth attention is not used by these weights" in text
        assert all(hashlib.sha256(path.read_bytes()).hexdigest() in text for path in dagan_files)
    assert not recwarn.list


def test_gain_of_the_depth_attention_is_said(home, tmp_path, capsys):
    model = DaGANModel(DAGAN)
    torch.nn.init.constant_(model.generator.AttnModule.gamma, -0.4)
    assert typed("dagan", *save_dagan(model, tmp_path), "--align-corners", "yes") == 0
    printed = capsys.readouterr().out
    assert "0.4 in size\n" in printed
    assert "yes (as told)" in printed
    assert load_dagan(home / "dagan" / "dagan.safetensors").config.warp.align_corners


def test_adaat_of_persons_is_imported_and_said_not_to_fit_the_generator(home, tmp_path, capsys):
    for config, obstacle in ((AdaATConfig(divisor=32), False), (AdaATConfig(18, 4, divisor=32), True)):
        path = saved(adaat_content(config), tmp_path / "adaat.pth")
        assert typed("adaat", path, "--force", "--half") == 0
        weights = home / "adaat" / "adaat.safetensors"
        assert load_network(weights).config == config
        assert "none is stated" in read_header(weights).metadata["licence"]
        assert ("cannot render with them: they want 18 points" in capsys.readouterr().out) == obstacle
    assert "float16" in (home / "adaat" / "card.md").read_text()


def test_rhythmic_is_imported_in_the_variant_that_it_is(home, tmp_path, capsys):
    torch.manual_seed(0)
    network = RhythmicNetwork(RhythmicConfig(width=1, references=2, spectral=True))
    assert typed("rhythmic", saved(network.state_dict(), tmp_path / "21_net_G.pth")) == 0
    printed = capsys.readouterr().out
    assert "hybrid variant, 2 references, non-linear composition" in printed
    assert "may not be used commercially" in printed
    assert "21_net_G.pth, SHA-256" in printed
    assert RhythmicGenerator(256).network_specs()["render"].inputs[5].shape == (2, 4, 64, 64)


def test_other_folder_is_one_for_the_variable(home, tmp_path, fomm_file, capsys):
    assert typed("fomm", fomm_file, "-o", tmp_path / "mine", "--align-corners", "no") == 0
    assert load_fomm(tmp_path / "mine" / "fomm" / "fomm.safetensors").config == FOMM
    assert f"VISAVIS_WEIGHTS={tmp_path / 'mine'}" in capsys.readouterr().out
    assert not home.exists()


def test_weights_that_are_there_stay_unless_forced(home, fomm_file, capsys):
    command = ("fomm", fomm_file, "--align-corners")
    assert typed(*command, "no") == 0
    weights = home / "fomm" / "fomm.safetensors"
    (weights.parent / "render_256.onnx").write_bytes(b"made of the first ones")
    before = weights.read_bytes()
    assert "overwrite it with --force" in refusal(capsys, *command, "yes")
    assert weights.read_bytes() == before
    fomm_file.write_bytes(fomm_file.read_bytes()[:-1000])
    assert "vox-cpk.pth.tar: not a checkpoint" in refusal(capsys, *command, "yes", "--force")
    assert weights.read_bytes() == before
    assert (weights.parent / "render_256.onnx").exists()
    saved(fomm_content(), fomm_file)
    assert typed(*command, "yes", "--force") == 0
    assert load_fomm(weights).config.align_corners
    assert sorted(path.name for path in weights.parent.iterdir()) == ["card.md", "fomm.safetensors"]


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_both_files_of_iplap_are_imported(home, tmp_path, capsys):
    networks = IPLAPRenderer(NARROW), LandmarkGenerator(LandmarkConfig(128, 1, feed_forward=8))
    names = ("renderer_checkpoint.pth", "landmarkgenerator_checkpoint.pth")
    files = [
        saved({"state_dict": {f"module.{key}": value for key, value in one.state_dict().items()}}, tmp_path / name)
        for one, name in zip(networks, names, strict=True)
    ]
    assert typed("iplap", files[0]) == 0
    assert "no landmark generator: add landmarkgenerator_checkpoint.pth" in capsys.readouterr().out
    assert typed("iplap", *files, "--half", "--force") == 0
    folder = home / "iplap"
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md",
        "iplap-landmarks.safetensors",
        "iplap.safetensors",
    ]
    assert load_renderer(folder / "iplap.safetensors").config == NARROW
    card = (folder / "card.md").read_text()
    for words in ("Apache-2.0", "RGB instead of BGR", "a landmark generator of", *names):
        assert words in card


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "2019"])
@pytest.mark.parametrize("name", ["fomm", "dagan", "adaat", "iplap", "rhythmic"])
def test_code_in_a_checkpoint_is_not_executed(home, tmp_path, capsys, name, zipped):
    marker, path = tmp_path / "executed", tmp_path / "evil.pth.tar"
    torch.save({**fomm_content(), "epoch": Payload(marker)}, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)["epoch"].close()
    marker.unlink()  # so it does what it says, where it is let
    line = refusal(capsys, name, path)
    assert "evil.pth.tar: not a checkpoint of tensors alone: it asks for something to be executed" in line
    assert not marker.exists()
    assert not home.exists()


def test_files_that_do_not_fit_are_named_with_the_reason(home, tmp_path, fomm_file, dagan_files, capsys):
    adaat = saved(adaat_content(AdaATConfig(divisor=32)), tmp_path / "adaat.pth")
    cut = tmp_path / "cut.pth.tar"
    cut.write_bytes(fomm_file.read_bytes()[: fomm_file.stat().st_size // 2])
    text, empty, folder = tmp_path / "text.pth", tmp_path / "empty.pth", tmp_path / "folder.pth"
    text.write_text("Too large to show; download it with a browser.\n" * 20)
    empty.touch()
    folder.mkdir()
    stored = tmp_path / "stored.safetensors"
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    stored.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    content = fomm_content()
    content["generator"]["final.bias"][1] = torch.nan
    nan = saved(content, tmp_path / "nan.pth.tar")
    nan_adaat = adaat_content(AdaATConfig(divisor=32))
    nan_adaat["state_dict"]["net_g"]["module.appearance_decoder.4.out_conv.bias"][0] = torch.inf
    cases = {
        ("fomm", cut): "cut.pth.tar: not a checkpoint, or a damaged one",
        ("fomm", text): "text.pth: not a checkpoint, or a damaged one",
        ("fomm", empty): "empty.pth: not a checkpoint, or a damaged one",
        ("fomm", stored): "stored.safetensors: not a checkpoint",
        ("fomm", folder): "folder.pth: Is a directory",
        ("fomm", tmp_path / "nowhere.pth"): "nowhere.pth: No such file or directory",
        ("fomm", dagan_files[0]): "DaGAN_vox_adv_256.pth.tar: a checkpoint of DaGAN",
        ("fomm", dagan_files[1]): "encoder.pth: not a checkpoint of the warping family",
        ("fomm", adaat): "adaat.pth: not a checkpoint of the warping family: generator and kp_detector wanted, found",
        ("fomm", nan): "nan.pth.tar: generator: final.bias holds values that are not finite",
        ("fomm", fomm_file, "--keypoints", 12): "a model of 10 keypoints; 12 were asked for",
        ("fomm", fomm_file, adaat): "fomm is published as one file, 2 were named",
        ("fomm",): "fomm is published as one file, 0 were named",
        ("dagan", fomm_file): "vox-cpk.pth.tar: not a generator of DaGAN: no AttnModule.gamma",
        ("dagan", dagan_files[0]): "three files; add the depth network's encoder.pth and its depth.pth",
        ("dagan", *dagan_files[1:]): "three files; add the generator's checkpoint",
        ("dagan", *dagan_files, adaat): "dagan is published as 3 files, 4 were named",
        ("dagan", *dagan_files[:2], cut): "cut.pth.tar: not a checkpoint, or a damaged one",
        ("dagan", *dagan_files[:2], folder): "folder.pth: Is a directory",
        ("dagan", *dagan_files, "--keypoints", 10): "a model of 5 keypoints; 10 were asked for",
        ("adaat", fomm_file): "vox-cpk.pth.tar: not a checkpoint of AdaAT",
        ("adaat", dagan_files[2]): "depth.pth: not weights of AdaAT",
        ("adaat", saved(nan_adaat, tmp_path / "inf.pth")): "out_conv.bias holds values that are not finite",
        ("adaat", adaat, "--keypoints", 10): "adaat has neither --keypoints nor --align-corners",
        ("iplap", fomm_file): "vox-cpk.pth.tar: not a checkpoint of IP-LAP: neither state_dict",
        ("iplap", fomm_file, "--align-corners", "yes"): "iplap has neither --keypoints nor --align-corners",
        ("iplap", fomm_file, fomm_file, fomm_file): "iplap is published as 2 files, 3 were named",
        ("rhythmic", fomm_file): "vox-cpk.pth.tar: generator: 'generator' is not a named tensor",
        ("rhythmic", dagan_files[2]): "depth.pth: no netG in it, but decoder",
        ("rhythmic", adaat, adaat): "rhythmic is published as one file, 2 were named",
        ("rhythmic", adaat, "--align-corners", "no"): "rhythmic has neither --keypoints nor --align-corners",
    }
    for arguments, reason in cases.items():
        assert reason in refusal(capsys, *arguments), arguments
    assert not home.exists()


def test_weights_whose_frames_are_not_finite_are_refused(home, tmp_path, capsys):
    content = fomm_content()
    content["generator"]["first.conv.weight"] *= 1e38
    content["generator"]["down_blocks.0.conv.weight"] *= 1e38
    path = saved(content, tmp_path / "huge.pth.tar")
    assert "render frames that are not finite" in refusal(capsys, "fomm", path)
    assert not home.exists()


def test_folders_that_cannot_be_written_are_named(home, tmp_path, fomm_file, capsys):
    command = ("fomm", fomm_file, "--align-corners", "no", "-o")
    (tmp_path / "file").write_text("no folder")
    assert f"{tmp_path / 'file'}" in refusal(capsys, *command, tmp_path / "file")
    assert "/proc/" in refusal(capsys, *command, "/proc/visavis")  # where not even root may make a folder
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize("room", [0, 20_000])
def test_nothing_is_left_on_a_disk_that_is_full(home, fomm_file, capsys, room):
    """No file may become larger than `room` bytes: what a full disk is to who writes."""
    home.parent.mkdir(parents=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        line = refusal(capsys, "fomm", fomm_file, "--align-corners", "no")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "fomm.safetensors: not written" in line
    assert list(home.parent.iterdir()) == []


def test_without_a_home_a_folder_must_be_named(monkeypatch, fomm_file, capsys):
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert "name a folder with -o" in refusal(capsys, "fomm", fomm_file)


def test_without_torch_it_says_what_to_install(home, fomm_file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)  # the other half of the extra; tyro looks for torch
    assert "pip install 'visavis[torch]'" in refusal(capsys, "fomm", fomm_file)


def test_unknown_system_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as end:
        typed("mesh", "some.pth")
    assert end.value.code == 2
    assert "fomm" in capsys.readouterr().err
