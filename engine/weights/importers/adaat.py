"""AdaAT's published checkpoints: `epoch`, `state_dict` (`net_g`, `net_d`), `optimizer`; keys begin with `module.`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from engine.nets.adaat import PERSON, AdaATNetwork
from engine.nets.adaat_weights import config_of, network_of, save_network
from engine.nets.stored_weights import LayoutError
from engine.weights.importers.checkpoints import Checkpoint, load_tensors, named_errors, origin, state_dict

GENERATOR = "adaat"
"Which generator the weights are for."
LICENCE = "none is stated, neither for the code (MRzzm/AdaAT) nor for the weights"
PREFIX = "module."
ChannelOrder = Literal["rgb", "bgr"]


def read_checkpoint(checkpoint: Checkpoint, channel_order: ChannelOrder | None = None) -> AdaATNetwork:
    """The generator of a published checkpoint, for RGB pictures; float32, eval mode.

    checkpoint: a file, or an open one; also a bare state dict of the generator. The variant and the widths follow from
    the shapes. channel_order: of the pictures it was trained with; without it, BGR for the person variant (its released
    code reads pictures so) and RGB for faces (none was released: try both). Raises LayoutError for anything else.
    """
    with named_errors(checkpoint):
        state = _generator_state(load_tensors(checkpoint))
        config = config_of(state)
        network = network_of(config, state)
    if channel_order is None:
        channel_order = "bgr" if config.landmarks == PERSON.landmarks else "rgb"
    if channel_order == "bgr":
        _swap_channels(network)
    return network


def import_checkpoint(
    checkpoint: Path,
    weights: Path,
    channel_order: ChannelOrder | None = None,
    half: bool = False,
) -> AdaATNetwork:
    """Write what `read_checkpoint` reads as weights of ours, a .safetensors file; `half` stores float16.

    The file's metadata say where the weights are from.
    """
    network = read_checkpoint(checkpoint, channel_order)
    save_imported(network, checkpoint, weights, half)
    return network


def save_imported(network: AdaATNetwork, checkpoint: Path, weights: Path, half: bool = False) -> None:
    """Write a network that was read from a checkpoint as weights of ours. Raises OSError."""
    save_network(network, weights, half, origin(GENERATOR, [checkpoint], LICENCE))


def _generator_state(content: object) -> dict[str, Tensor]:
    for key in ("state_dict", "net_g"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise LayoutError("not a checkpoint of AdaAT: neither state_dict with net_g in it, nor a state dict itself")
    return state_dict(content, "generator", PREFIX)


def _swap_channels(network: AdaATNetwork) -> None:
    """Turn a network for BGR pictures into its equal for RGB ones, or back."""
    first = network.get_parameter("appearance_encoder.0.in_conv.conv.weight")
    last = network.get_submodule("appearance_decoder.4.out_conv")
    with torch.no_grad():
        first[:, :3] = first[:, :3].flip(1)
        for parameter in last.parameters():
            parameter.copy_(parameter.flip(0))
