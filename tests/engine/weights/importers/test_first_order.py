"""The importer on checkpoints in the published layout, made here of random weights, and on files that are none."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors import safe_open

from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.first_order import FirstOrderConfig
from engine.nets.first_order_weights import load_model, model_metadata, save_model
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from engine.nets.patch_discriminator import DiscriminatorConfig, KeypointDiscriminator
from engine.nets.stored_weights import LayoutError, config_from_json, save_state
from engine.weights.importers.first_order import Unsaid, import_checkpoint, read_checkpoint

SMALL = FirstOrderConfig(
    detector=KeypointConfig(keypoints=4, hourglass=HourglassConfig(4, 16, 3)),
    motion=DenseMotionConfig(hourglass=HourglassConfig(6, 24, 2)),
    width=8,
    limit=16,
    residual_blocks=2,
)
OTHER = FirstOrderConfig(
    detector=KeypointConfig(5, hourglass=HourglassConfig(4, 12, 2), downscale=2, jacobians="shared"),
    motion=DenseMotionConfig(HourglassConfig(4, 8, 3), downscale=1, occlusion=False),
    width=4,
    limit=8,
    down_blocks=1,
    residual_blocks=1,
)


def content_of(model, discriminator=None, prefix=""):
    """What the published training code saves."""
    parts = {"generator": model.generator, "kp_detector": model.kp_detector, "discriminator": discriminator}
    states = {
        name: {prefix + key: value for key, value in part.state_dict().items()}
        for name, part in parts.items()
        if part is not None
    }
    optimizers = {f"optimizer_{name}": {"state": {}, "param_groups": [{"lr": 2e-4}]} for name in states}
    return {**states, **optimizers, "epoch": 149}


def same_states(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, atol=0, rtol=0)


@pytest.mark.parametrize("config", [SMALL, OTHER], ids=["small", "other"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "2019"])
def test_published_checkpoint_becomes_weights_of_ours(random_first_order, tmp_path, config, zipped):
    model, path = random_first_order(config, 0), tmp_path / "vox-cpk.pth.tar"
    torch.save(content_of(model), path, _use_new_zipfile_serialization=zipped)
    import_checkpoint(path, tmp_path / "folder" / "fomm.safetensors")
    loaded = load_model(tmp_path / "folder" / "fomm.safetensors")
    assert loaded.config == config
    assert not loaded.training
    same_states(model.state_dict(), loaded.state_dict())
    assert [one.name for one in (tmp_path / "folder").iterdir()] == ["fomm.safetensors"]


def test_file_says_where_its_weights_are_from(random_first_order, tmp_path):
    path = tmp_path / "vox-cpk.pth.tar"
    torch.save(content_of(random_first_order(SMALL, 0)), path)
    import_checkpoint(path, tmp_path / "fomm.safetensors", half=True)
    with safe_open(tmp_path / "fomm.safetensors", framework="pt") as file:
        metadata = file.metadata()
        assert file.get_tensor("generator.final.weight").dtype == torch.float16
    assert metadata["task"] == "first-order"
    assert metadata["source"] == "vox-cpk.pth.tar"
    assert metadata["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "MIT" in metadata["licence"]
    assert config_from_json(FirstOrderConfig, metadata["config"]) == SMALL


def test_what_shapes_do_not_tell_can_be_told(random_first_order, tmp_path):
    path = tmp_path / "vox-cpk.pth.tar"
    torch.save(content_of(random_first_order(SMALL, 0)), path)
    unsaid = Unsaid(temperature=0.2, padding=3, variance=0.02, align_corners=True)
    config = import_checkpoint(path, tmp_path / "fomm.safetensors", unsaid=unsaid).config
    assert (config.detector.temperature, config.detector.padding, config.motion.variance) == (0.2, 3, 0.02)
    assert config.align_corners
    assert load_model(tmp_path / "fomm.safetensors").config == config


def test_networks_saved_from_several_devices_and_the_discriminator_are_read(random_first_order, tmp_path):
    model, path = random_first_order(SMALL, 0), tmp_path / "vox-adv-cpk.pth.tar"
    discriminator = KeypointDiscriminator(DiscriminatorConfig(keypoints=4, width=4, limit=16, blocks=3))
    torch.save(content_of(model, discriminator, prefix="module."), path)
    with open(path, "rb") as file:
        read = read_checkpoint(file, keypoints=4)
    same_states(model.state_dict(), read.model.state_dict())
    assert read.discriminator.config == discriminator.config
    same_states(discriminator.state_dict(), read.discriminator.state_dict())
    assert read.epoch == 149


class Payload:
    def __reduce__(self):
        return (print, ("code in a checkpoint was executed",))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "2019"])
def test_checkpoint_with_code_in_it_is_refused_unread(tmp_path, capsys, random_first_order, zipped):
    content = {**content_of(random_first_order(SMALL, 0)), "epoch": Payload()}
    torch.save(content, tmp_path / "evil.pth.tar", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        LayoutError, match=r"evil\.pth\.tar: .* asks for something to be executed \(Unsupported global: GLOBAL print"
    ):
        import_checkpoint(tmp_path / "evil.pth.tar", tmp_path / "folder" / "fomm.safetensors")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "2019"])
def test_truncated_checkpoint_is_refused_wherever_it_ends(tmp_path, random_first_order, zipped):
    whole, cut = tmp_path / "whole.pth.tar", tmp_path / "cut.pth.tar"
    torch.save(content_of(random_first_order(SMALL, 0)), whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    for share in (0.0, 0.001, 0.01, 0.1, 0.3, 0.6, 0.9, 0.999):
        cut.write_bytes(data[: int(share * len(data))])
        with pytest.raises(
            LayoutError, match=r"cut\.pth\.tar: not a checkpoint, or a damaged one .* compare its size"
        ) as caught:
            import_checkpoint(cut, tmp_path / "folder" / "fomm.safetensors")
        assert "weights_only" not in str(caught.value)  # torch says how to load it all the same: not here
    assert not (tmp_path / "folder").exists()


def test_checkpoint_of_something_else_is_refused(tmp_path, random_first_order):
    path, folder = tmp_path / "other.pth", tmp_path / "folder"
    content = content_of(random_first_order(SMALL, 0))
    generator, detector = content["generator"], content["kp_detector"]
    more = {**generator, "extra.weight": torch.zeros(1)}
    fewer = {key: value for key, value in generator.items() if key != "final.bias"}
    narrower = {**generator, "bottleneck.r0.norm1.weight": torch.zeros(3)}
    broken = {**generator, "final.bias": torch.tensor([0.0, torch.nan, 0.0])}
    depth = {**generator, "AttnModule.gamma": torch.zeros(1)}
    cases = {
        "generator and kp_detector wanted, found epoch": {"epoch": 3},
        "generator and kp_detector wanted, found list": [1, 2],
        "generator: no state dict": {**content, "generator": 3},
        "generator: 'a' is not a named tensor": {**content, "generator": {"a": 1}},
        "not weights of a keypoint detector: no kp.weight": {**content, "kp_detector": generator},
        "not weights of a generator of the warping family: no first.conv.weight": {**content, "generator": detector},
        r"1 unknown keys: generator\.extra\.weight": {**content, "generator": more},
        r"1 missing keys: generator\.final\.bias": {**content, "generator": fewer},
        r"generator\.bottleneck\.r0\.norm1\.weight: expected \(16,\), got \(3,\)": {**content, "generator": narrower},
        r"final\.bias holds values that are not finite": {**content, "generator": broken},
        "a checkpoint of DaGAN": {**content, "generator": depth},
        r"down\.weight: shape \(3, 1, 3, 3\); known are Gaussians of 5, 13, 29 taps": {
            **content,
            "kp_detector": {**detector, "down.weight": torch.zeros(3, 1, 3, 3)},
        },
    }
    for message, case in cases.items():
        torch.save(case, path)
        with pytest.raises(LayoutError, match=message) as caught:
            import_checkpoint(path, folder / "fomm.safetensors")
        assert str(caught.value).startswith(str(path))
    assert not folder.exists()


def test_wrong_number_of_keypoints_is_named(tmp_path, random_first_order):
    path = tmp_path / "vox.pth.tar"
    content, other = content_of(random_first_order(SMALL, 0)), content_of(random_first_order(OTHER, 0))
    torch.save(content, path)
    with pytest.raises(LayoutError, match="a model of 4 keypoints; 15 were asked for"):
        read_checkpoint(path, keypoints=15)
    torch.save({**content, "kp_detector": other["kp_detector"]}, path)
    with pytest.raises(LayoutError, match="the generator is for 4 keypoints, the keypoint detector finds 5"):
        read_checkpoint(path)
    torch.save({**content, "discriminator": KeypointDiscriminator().state_dict()}, path)
    with pytest.raises(LayoutError, match="the discriminator is for 10 keypoints, the keypoint detector finds 4"):
        read_checkpoint(path)
    detector = {**content["kp_detector"], "jacobian.weight": torch.zeros(12, 7, 7, 7)}
    torch.save({**content, "kp_detector": detector}, path)
    with pytest.raises(LayoutError, match=r"12 maps; 4 keypoints .* need 16, or 4 to share"):
        read_checkpoint(path)


def test_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "nowhere.pth.tar")


def test_nothing_is_left_where_writing_failed(tmp_path, random_first_order, monkeypatch):
    path, weights = tmp_path / "vox.pth.tar", tmp_path / "folder" / "fomm.safetensors"
    torch.save(content_of(random_first_order(SMALL, 0)), path)
    import_checkpoint(path, weights)
    before = weights.read_bytes()
    monkeypatch.setattr("engine.nets.stored_weights.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        import_checkpoint(path, weights, half=True)
    assert weights.read_bytes() == before
    assert [one.name for one in weights.parent.iterdir()] == ["fomm.safetensors"]


def full_disk(state, path, metadata):
    path.write_bytes(b"the beginning")
    raise OSError(28, "No space left on device")


def test_weights_of_another_task_are_refused(tmp_path, random_first_order):
    model, path = random_first_order(SMALL, 0), tmp_path / "fomm.safetensors"
    save_model(model, path)
    assert load_model(path).config == SMALL
    save_state(model.state_dict(), path, {"task": "portrait"})
    with pytest.raises(LayoutError, match="weights of portrait, not of first-order"):
        load_model(path)
    save_state(model.state_dict(), path, model_metadata(OTHER))
    with pytest.raises(LayoutError, match=r"fomm\.safetensors: \d+ (missing|unknown) keys"):
        load_model(path)
    damaged = json.dumps({**json.loads(model_metadata(SMALL)["config"]), "colour": 3})
    save_state(model.state_dict(), path, {"task": "first-order", "config": damaged})
    with pytest.raises(LayoutError, match="not a configuration of FirstOrderConfig"):
        load_model(path)
