"""LSR's weights in a file."""

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch (extra: torch)")

from safetensors.torch import save_file  # noqa: E402

from engine.nets.lsr import LSRConfig, LSRDiscriminator, LSRNetwork  # noqa: E402
from engine.nets.lsr_weights import beside, load_discriminator, load_network, save_network  # noqa: E402
from engine.nets.stored_weights import LayoutError  # noqa: E402

CONFIG = LSRConfig(size=64, width=2, limit=8, latent=6, hidden=4, encoder_blocks=5)


def test_what_is_written_is_read_again(tmp_path):
    torch.manual_seed(0)
    network, discriminator = LSRNetwork(CONFIG), LSRDiscriminator(CONFIG)
    path = tmp_path / "lsr.safetensors"
    save_network(network, path)
    save_network(discriminator, beside(path), half=True)
    loaded, opponent = load_network(path), load_discriminator(beside(path))
    assert loaded.config == opponent.config == CONFIG
    assert not loaded.training
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)
    for key, value in discriminator.state_dict().items():
        torch.testing.assert_close(opponent.state_dict()[key], value, rtol=1e-3, atol=1e-3)


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "lsr.safetensors"
    save_network(LSRDiscriminator(CONFIG), path)
    with pytest.raises(LayoutError, match=r"lsr\.safetensors: .* missing keys"):
        load_network(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(LayoutError, match="no lsr_config in its metadata"):
        load_network(path)
    save_file({"weight": torch.zeros(1)}, path, metadata={"lsr_config": '{"size": 100}'})
    with pytest.raises(LayoutError, match="multiple of 32"):
        load_network(path)
