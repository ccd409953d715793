"""The importer on checkpoints in the published layout, made here of random weights."""

import copy

import pytest
import torch

from engine.nets.adaat import AdaATConfig, AdaATDiscriminator
from engine.nets.adaat_weights import load_network
from engine.nets.stored_weights import LayoutError
from engine.weights.importers.adaat import import_checkpoint, read_checkpoint

FACE = AdaATConfig(divisor=32)
PERSON = AdaATConfig(landmarks=18, transform_blocks=4, divisor=32)


def save_as_published(network, path):
    """What the released training code saves."""

    def prefixed(module):
        return {f"module.{key}": value for key, value in module.state_dict().items()}

    networks = {"net_g": prefixed(network), "net_d": prefixed(AdaATDiscriminator(network.config))}
    optimizers = {name: {"state": {}, "param_groups": [{"lr": 1e-4}]} for name in networks}
    torch.save({"epoch": 30, "state_dict": networks, "optimizer": optimizers}, path)


@torch.no_grad()
def predicted(network, swap=False):
    """What a network makes of one certain picture, in double precision."""
    torch.manual_seed(3)
    network = copy.deepcopy(network).double()
    source = torch.rand(1, 3, 128, 128, dtype=torch.float64)
    landmarks = 2 * torch.rand(2, 1, network.config.landmarks, 2, dtype=torch.float64) - 1
    return network(source.flip(1), *landmarks).flip(1) if swap else network(source, *landmarks)


def test_published_checkpoint_becomes_weights_of_ours(random_adaat, tmp_path):
    network = random_adaat(FACE, 0)
    save_as_published(network, tmp_path / "face_epoch_30.pth")
    import_checkpoint(tmp_path / "face_epoch_30.pth", tmp_path / "adaat.safetensors")
    loaded = load_network(tmp_path / "adaat.safetensors")
    assert loaded.config == FACE
    torch.testing.assert_close(predicted(loaded), predicted(network), atol=0, rtol=0)


def test_person_checkpoints_of_bgr_pictures_come_out_for_rgb(random_adaat, tmp_path):
    network = random_adaat(PERSON, 0)
    save_as_published(network, tmp_path / "person.pth")
    as_rgb = read_checkpoint(tmp_path / "person.pth")
    torch.testing.assert_close(predicted(as_rgb), predicted(network, swap=True), atol=1e-11, rtol=0)
    as_it_is = read_checkpoint(tmp_path / "person.pth", channel_order="rgb")
    torch.testing.assert_close(predicted(as_it_is), predicted(network), atol=0, rtol=0)


def test_open_file_with_a_bare_state_dict_is_read_too(random_adaat, tmp_path):
    network = random_adaat(FACE, 0)
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    with open(tmp_path / "bare.pth", "rb") as file:
        torch.testing.assert_close(predicted(read_checkpoint(file)), predicted(network), atol=0, rtol=0)


def test_checkpoint_without_counters_is_complete(random_adaat, tmp_path):
    state = random_adaat(FACE, 0).state_dict()
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "bare.pth")
    assert read_checkpoint(tmp_path / "bare.pth").config == FACE


class Payload:
    def __reduce__(self):
        return (print, ("code in a checkpoint was executed",))


def test_checkpoint_with_code_in_it_is_refused_unread(tmp_path, capsys):
    torch.save({"state_dict": {"net_g": Payload()}}, tmp_path / "evil.pth")
    with pytest.raises(LayoutError, match=r"evil\.pth: not a checkpoint of tensors alone"):
        read_checkpoint(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


def test_other_files_are_refused(tmp_path, random_adaat):
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(LayoutError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "noise.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(LayoutError, match="neither state_dict"):
        read_checkpoint(tmp_path / "other.pth")
    torch.save({**random_adaat(FACE, 0).state_dict(), "extra": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(LayoutError, match="unknown keys: extra"):
        read_checkpoint(tmp_path / "more.pth")
