import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.nets.adaat import AdaATConfig
from engine.nets.adaat_weights import config_metadata, config_of, load_network, network_of, save_network
from engine.nets.stored_weights import LayoutError

SMALL = AdaATConfig(divisor=32, blend=False, variance=0.02)


def test_saved_network_comes_back_with_its_configuration(random_adaat, tmp_path):
    network, path = random_adaat(SMALL, 0), tmp_path / "folder" / "adaat.safetensors"
    save_network(network, path)
    loaded = load_network(path)
    assert loaded.config == SMALL
    assert not loaded.adaAT1.blend
    assert not loaded.training
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=0, rtol=0)


def test_half_stores_matrices_in_float16_and_statistics_in_float32(random_adaat, tmp_path):
    network, path = random_adaat(SMALL, 0), tmp_path / "adaat.safetensors"
    save_network(network, path, half=True)
    stored = load_file(path)
    assert stored["trans_encoder.0.conv.weight"].dtype == torch.float16
    assert stored["trans_encoder.0.norm.running_var"].dtype == torch.float32
    loaded = load_network(path).state_dict()["trans_encoder.0.conv.weight"]
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, network.state_dict()["trans_encoder.0.conv.weight"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("config", [AdaATConfig(divisor=4), AdaATConfig(18, 4, divisor=8)], ids=["face", "person"])
def test_configuration_follows_from_the_shapes(random_adaat, config):
    assert config_of(random_adaat(config, 0).state_dict()) == config


def test_what_does_not_fit_is_named(random_adaat):
    state = dict(random_adaat(SMALL, 0).state_dict())
    state.pop("adaAT2.scale.0.bias")
    with pytest.raises(LayoutError, match=r"1 missing keys: adaAT2\.scale\.0\.bias"):
        network_of(SMALL, state)
    state["adaAT2.scale.0.bias"] = torch.zeros(3)
    with pytest.raises(LayoutError, match=r"adaAT2\.scale\.0\.bias: expected \(16,\), got \(3,\)"):
        network_of(SMALL, state)
    state["adaAT2.scale.0.bias"] = torch.zeros(16)
    with pytest.raises(LayoutError, match="1 unknown keys: adaAT4"):
        network_of(SMALL, {**state, "adaAT4.weight": torch.zeros(3)})
    with pytest.raises(LayoutError, match="not weights of AdaAT"):
        config_of({"conv.weight": torch.zeros(3)})


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "adaat.safetensors"
    path.write_bytes(b"not tensors")
    with pytest.raises(LayoutError, match="not a safetensors file"):
        load_network(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(LayoutError, match="no adaat_config"):
        load_network(path)
    save_file({"weight": torch.zeros(1)}, path, metadata=config_metadata(SMALL))
    with pytest.raises(LayoutError, match="missing keys"):
        load_network(path)
