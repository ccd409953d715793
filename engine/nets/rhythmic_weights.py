"""Weights of Rhythmic Head Motion's generator: what a state dict says of it, and the file they are kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.spectral_norm import SpectralNorm

from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork
from engine.nets.spade import bake_spectral_norm
from engine.nets.stored_weights import LayoutError, load_configured, network_with, save_state, task_metadata

TASK = "rhythmic"
"What the file's metadata calls the weights."
SPECTRUM_STEPS = 30
"Power iterations that find a weight's largest singular value."


def network_metadata(config: RhythmicConfig) -> dict[str, str]:
    """The metadata that `load_network` finds the configuration in."""
    return task_metadata(TASK, config)


def save_network(
    network: RhythmicNetwork, path: Path, about: Mapping[str, str] | None = None, half: bool = False
) -> None:
    """Write the file that `load_network` reads; `half` stores matrices and kernels as float16.

    about: further metadata, e.g. where the weights are from.
    """
    network = normalised(network)
    save_state(network.state_dict(), path, {**(about or {}), **network_metadata(network.config)}, half)


def load_network(path: Path) -> RhythmicNetwork:
    """The network of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return load_configured(path, TASK, RhythmicConfig, RhythmicNetwork)[0]


def normalised(network: RhythmicNetwork) -> RhythmicNetwork:
    """An equal of a network in eval mode that does not divide its weights by their spectrum; itself if it never did."""
    if not network.config.spectral:
        return network
    state = bake_spectral_norm(network.eval()).state_dict()
    config = replace(network.config, spectral=False)
    return network_with(lambda: RhythmicNetwork(config), state)


def config_of(state: Mapping[str, Tensor]) -> RhythmicConfig:
    """The configuration of a published state dict, as far as shapes tell it; weights not yet normalised.

    The plain variant does not say how many references it was trained with: taken as published. Raises LayoutError.
    """
    hybrid = "netG.encoder.conv1.conv.weight_orig" in state
    first = "netG.encoder.conv1.conv" if hybrid else "netG.image_encoder.conv1.conv"
    kernel, joined = state.get(f"{first}.weight_orig"), state.get("netG.encoder.atten1.conv.weight_orig")
    if kernel is None or kernel.ndim != 4 or (hybrid and (joined is None or joined.ndim != 4)):
        raise LayoutError(
            "not weights of Rhythmic Head Motion's generator: neither netG.encoder nor netG.image_encoder as published"
        )
    config = RhythmicConfig(
        width=kernel.shape[0],
        hybrid=hybrid,
        nonlinear="img_ref_embedding.conv_first.0.weight" in state,
        matting="img_ref_embedding.conv_first.0.weight" not in state,
        spectral=True,
    )
    if joined is None:
        return config
    try:
        return replace(config, references=joined.shape[1] // joined.shape[0])
    except ValueError as error:
        raise LayoutError(str(error)) from error


def fill(network: RhythmicNetwork, loaded: RhythmicNetwork) -> None:
    """Give a network, which may divide its weights by their spectrum, the weights of one that does not.

    The two are of the same configuration otherwise; layers that only `loaded` has are left out.
    """
    given = loaded.state_dict()
    state = network.state_dict()
    for key in state:
        source = key.removesuffix("_orig")
        if source in given:
            state[key] = given[source]
    network.load_state_dict(state)
    for part in network.modules():
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                with torch.no_grad():
                    for _ in range(SPECTRUM_STEPS):
                        hook.compute_weight(part, do_power_iteration=True)
