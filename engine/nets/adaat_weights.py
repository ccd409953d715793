"""Weights of AdaAT in a file: safetensors, the published keys, and the configuration in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.nets.adaat import IMAGE_CHANNELS, AdaATConfig, AdaATNetwork

CONFIG_KEY = "adaat_config"
"Of the metadata: the fields of `AdaATConfig` as JSON."
COUNTER = "num_batches_tracked"
"Of batch norm in training; no state of the network."


class LayoutError(ValueError):
    """Weights that are not what the network wants; the message names the first keys that differ."""


def config_metadata(config: AdaATConfig) -> dict[str, str]:
    """The metadata that `load_network` finds the configuration in."""
    return {CONFIG_KEY: json.dumps(asdict(config))}


def save_network(network: AdaATNetwork, path: Path, half: bool = False) -> None:
    """Write the file that `load_network` reads; `half` stores the convolutions and matrices as float16."""
    state = {
        key: (value.half() if half and value.ndim > 1 else value).contiguous().cpu()
        for key, value in network.state_dict().items()
        if not key.endswith(COUNTER)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    save_file(state, unfinished, metadata=config_metadata(network.config))
    unfinished.replace(path)


def load_network(path: Path) -> AdaATNetwork:
    """The network of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is not a mapping)
    except SafetensorError as error:
        raise LayoutError(f"{path}: not a safetensors file ({error})") from error
    if CONFIG_KEY not in metadata:
        raise LayoutError(f"{path}: no {CONFIG_KEY} in its metadata, so not weights of AdaAT")
    try:
        config = AdaATConfig(**json.loads(metadata[CONFIG_KEY]))
        return network_of(config, state)
    except (TypeError, ValueError) as error:
        raise LayoutError(f"{path}: {error}") from error


def network_of(config: AdaATConfig, state: Mapping[str, Tensor]) -> AdaATNetwork:
    """A network with these weights, in float32 and eval mode.

    Raises LayoutError if a key is missing, unknown or of another shape; only batch norm's counters may be absent.
    """
    with torch.device("meta"):
        network = AdaATNetwork(config)
    wanted = {key: value.shape for key, value in network.state_dict().items() if not key.endswith(COUNTER)}
    given = {key: value for key, value in state.items() if not key.endswith(COUNTER)}
    for kind, keys in (("missing", wanted.keys() - given.keys()), ("unknown", given.keys() - wanted.keys())):
        if keys:
            raise LayoutError(f"{len(keys)} {kind} keys: {', '.join(sorted(keys)[:4])}")
    for key, shape in wanted.items():
        if given[key].shape != shape:
            raise LayoutError(f"{key}: expected {tuple(shape)}, got {tuple(given[key].shape)}")
    network = network.to_empty(device="cpu")
    counters = {key: torch.zeros_like(value) for key, value in network.state_dict().items() if key.endswith(COUNTER)}
    network.load_state_dict({**counters, **{key: value.to(torch.float32) for key, value in given.items()}})
    return network.eval()


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
