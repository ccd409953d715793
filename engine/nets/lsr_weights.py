"""Weights of LSR in a file: safetensors, with the configuration in the file's metadata.

The discriminator lies beside them in a file of its own: training goes on against it, rendering has no use for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from torch import nn

from engine.nets.lsr import LSRConfig, LSRDiscriminator, LSRNetwork
from engine.nets.stored_weights import LayoutError, config_from_json, network_with, read_state, save_state

CONFIG_KEY = "lsr_config"
"Of the metadata: the fields of `LSRConfig` as JSON."
DISCRIMINATOR_FILE = "discriminator.safetensors"

NetworkT = TypeVar("NetworkT", LSRNetwork, LSRDiscriminator)


def config_metadata(config: LSRConfig) -> dict[str, str]:
    """The metadata that the configuration is found in."""
    return {CONFIG_KEY: json.dumps(asdict(config))}


def save_network(
    network: LSRNetwork | LSRDiscriminator, path: Path, half: bool = False, about: Mapping[str, str] | None = None
) -> None:
    """Write the file that `load_network` or `load_discriminator` reads; `half` stores matrices and kernels as float16.

    about: further metadata, e.g. where the weights are from.
    """
    save_state(network.state_dict(), path, {**(about or {}), **config_metadata(network.config)}, half)


def load_network(path: Path) -> LSRNetwork:
    """The networks of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return _load(path, LSRNetwork)


def load_discriminator(path: Path) -> LSRDiscriminator:
    """The discriminator of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return _load(path, LSRDiscriminator)


def beside(weights: Path) -> Path:
    """Where the discriminator that belongs to weights is, if it was kept."""
    return weights.with_name(DISCRIMINATOR_FILE)


def _load(path: Path, kind: type[NetworkT]) -> NetworkT:
    state, metadata = read_state(path)
    if CONFIG_KEY not in metadata:
        raise LayoutError(f"{path}: no {CONFIG_KEY} in its metadata, so not weights of LSR")
    try:
        config = config_from_json(LSRConfig, metadata[CONFIG_KEY])
        network: nn.Module = network_with(lambda: kind(config), state)
    except ValueError as error:
        raise LayoutError(f"{path}: {error}") from error
    assert isinstance(network, kind)
    return network
