"""Weights of AdaAT in a file: safetensors, the published keys, and the configuration in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from engine.nets.adaat import IMAGE_CHANNELS, AdaATConfig, AdaATNetwork
from engine.nets.stored_weights import LayoutError, config_from_json, network_with, read_state, save_state

CONFIG_KEY = "adaat_config"
"Of the metadata: the fields of `AdaATConfig` as JSON."


def config_metadata(config: AdaATConfig) -> dict[str, str]:
    """The metadata that `load_network` finds the configuration in."""
    return {CONFIG_KEY: json.dumps(asdict(config))}


def save_network(network: AdaATNetwork, path: Path, half: bool = False, about: Mapping[str, str] | None = None) -> None:
    """Write the file that `load_network` reads; `half` stores the convolutions and matrices as float16.

    about: further metadata, e.g. where the weights are from.
    """
    save_state(network.state_dict(), path, {**(about or {}), **config_metadata(network.config)}, half)


def load_network(path: Path) -> AdaATNetwork:
    """The network of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    state, metadata = read_state(path)
    if CONFIG_KEY not in metadata:
        raise LayoutError(f"{path}: no {CONFIG_KEY} in its metadata, so not weights of AdaAT")
    try:
        return network_of(config_from_json(AdaATConfig, metadata[CONFIG_KEY]), state)
    except ValueError as error:
        raise LayoutError(f"{path}: {error}") from error


def network_of(config: AdaATConfig, state: Mapping[str, Tensor]) -> AdaATNetwork:
    """A network with these weights, in float32 and eval mode.

    Raises LayoutError if a key is missing, unknown or of another shape; only batch norm's counters may be absent.
    """
    return network_with(lambda: AdaATNetwork(config), state)


def config_of(state: Mapping[str, Tensor]) -> AdaATConfig:
    """The configuration that a state dict in the published layout was made with, as far as shapes tell it.

    What they do not tell (variance, blend) is taken as published. Raises LayoutError for another layout.
    """
    first = state.get("appearance_encoder.0.in_conv.conv.weight")
    if first is None or first.ndim != 4 or (first.shape[1] - IMAGE_CHANNELS) % 2 or 64 % first.shape[0]:
        raise LayoutError("not weights of AdaAT: no appearance_encoder.0.in_conv.conv.weight of a known shape")
    blocks = {key.split(".")[1] for key in state if key.startswith("trans_encoder.")}
    return AdaATConfig(
        landmarks=(first.shape[1] - IMAGE_CHANNELS) // 2,
        transform_blocks=len(blocks),
        divisor=64 // first.shape[0],
    )
