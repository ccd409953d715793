"""The importer on DaGAN's three files in the published layout, of random weights, and on files that are none."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.dagan_weights import load_model
from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.face_depth import FaceDepthConfig
from engine.nets.first_order import FirstOrderConfig
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from engine.nets.patch_discriminator import DiscriminatorConfig, KeypointDiscriminator
from engine.nets.stored_weights import LayoutError
from engine.weights.importers.dagan import NonCommercialWarning, import_checkpoints, read_checkpoints

WARP = FirstOrderConfig(
    detector=KeypointConfig(keypoints=5, channels=4, hourglass=HourglassConfig(4, 16, 2)),
    motion=DenseMotionConfig(hourglass=HourglassConfig(4, 16, 2)),
    width=8,
    limit=32,
    residual_blocks=1,
)
SMALL = DaGANConfig(WARP, FaceDepthConfig(width=8))
# A decoder that has no residual blocks to count them of.
SPADE = DaGANConfig(replace(WARP, residual_blocks=0), FaceDepthConfig(50, width=8), decoder="spade")


def save_as_published(model, folder, discriminator=None):
    """What the published training code saves. Returns the three paths."""

    def prefixed(module):
        return {f"module.{key}": value for key, value in module.state_dict().items()}

    parts = {"generator": model.generator, "kp_detector": model.kp_detector, "discriminator": discriminator}
    states = {name: prefixed(part) for name, part in parts.items() if part is not None}
    torch.save({**states, "optimizer_generator": {"state": {}}, "epoch": 100}, folder / "DaGAN_vox_adv_256.pth.tar")
    classifier = {"encoder.fc.weight": torch.zeros(10, 64), "encoder.fc.bias": torch.zeros(10)}
    options = {"height": 256, "width": 256, "use_stereo": False}
    torch.save({**model.depth.depth_encoder.state_dict(), **classifier, **options}, folder / "encoder.pth")
    torch.save(model.depth.depth_decoder.state_dict(), folder / "depth.pth")
    return [folder / name for name in ("DaGAN_vox_adv_256.pth.tar", "encoder.pth", "depth.pth")]


@pytest.mark.parametrize("config", [SMALL, SPADE], ids=["residual", "spade"])
def test_published_checkpoints_become_weights_of_ours_and_are_non_commercial(random_network, tmp_path, config):
    model = random_network(lambda: DaGANModel(config), 0)
    files = save_as_published(model, tmp_path)
    weights = tmp_path / "folder" / "dagan.safetensors"
    with pytest.warns(NonCommercialWarning, match=r"dagan\.safetensors: .*non-commercial"):
        import_checkpoints(files[::-1], weights)
    loaded = load_model(weights)
    assert loaded.config == config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=0, rtol=0)
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["task"] == "dagan"
    assert metadata["source"] == "depth.pth, encoder.pth, DaGAN_vox_adv_256.pth.tar"
    assert metadata["sha256"].split(", ")[1] == hashlib.sha256(files[1].read_bytes()).hexdigest()
    assert "non-commercial" in metadata["licence"]


def test_discriminator_is_read(random_network, tmp_path):
    model = random_network(lambda: DaGANModel(SMALL), 0)
    discriminator = KeypointDiscriminator(DiscriminatorConfig(keypoints=5, width=4, limit=16))
    read = read_checkpoints(save_as_published(model, tmp_path, discriminator), keypoints=5)
    assert read.discriminator.config == discriminator.config
    assert read.epoch == 100


class Payload:
    def __reduce__(self):
        return (print, ("code in a checkpoint was executed",))


@pytest.mark.filterwarnings("error")  # nothing is said of the licence of what was not imported
def test_files_that_do_not_fit_are_refused_and_nothing_is_written(random_network, tmp_path, capsys):
    model = random_network(lambda: DaGANModel(SMALL), 0)
    files = save_as_published(model, tmp_path)
    generator, encoder, depth = (torch.load(path, weights_only=True) for path in files)
    fomm = {key: value for key, value in generator["generator"].items() if "AttnModule" not in key}
    bad = tmp_path / "bad.pth"
    cases = {
        "add the depth network's encoder.pth and its depth.pth": files[:1],
        "add the generator's checkpoint": files[1:],
        "the second one of its kind; found": [*files, files[1]],
        r"bad\.pth: neither a checkpoint of DaGAN": ([1, 2], *files[1:]),
        r"bad\.pth: not a checkpoint of DaGAN, .* found epoch": ({"epoch": 3}, *files[1:]),
        r"bad\.pth: .* asks for something to be executed": ({**generator, "epoch": Payload()}, *files[1:]),
        r"bad\.pth: not a generator of DaGAN: no AttnModule\.gamma": ({**generator, "generator": fomm}, *files[1:]),
        r"1 unknown keys: depth\.depth_decoder\.extra": ({**depth, "extra": torch.zeros(1)}, *files[:2]),
        r"bad\.pth: depth encoder: 'colour' is not a named tensor": ({**encoder, "colour": 3}, files[0], files[2]),
        r"depth_decoder\.decoder\.0\.conv\.conv\.weight: expected \(32, 64": (
            {**depth, "decoder.0.conv.conv.weight": torch.zeros(32, 256, 3, 3)},
            *files[:2],
        ),
    }
    for message, (first, *others) in cases.items():
        if not hasattr(first, "name"):
            torch.save(first, bad)
            first = bad
        with pytest.raises(LayoutError, match=message):
            import_checkpoints([first, *others], tmp_path / "folder" / "dagan.safetensors")
    bad.write_bytes(files[2].read_bytes()[:5000])
    with pytest.raises(LayoutError, match=r"bad\.pth: not a checkpoint, or a damaged one"):
        import_checkpoints([*files[:2], bad], tmp_path / "folder" / "dagan.safetensors")
    with pytest.raises(LayoutError, match="a model of 5 keypoints; 10 were asked for"):
        import_checkpoints(files, tmp_path / "folder" / "dagan.safetensors", keypoints=10)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "folder").exists()
