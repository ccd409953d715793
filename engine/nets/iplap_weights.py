"""Weights of IP-LAP's renderer and landmark generator in files: safetensors, the published keys, and the configuration
in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from engine.nets.iplap import IPLAPRenderer, RendererConfig
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator
from engine.nets.stored_weights import LayoutError, config_from_json, network_with, read_state, save_state

TASK_KEY, CONFIG_KEY = "task", "config"
"Of the metadata: which network it is, and the fields of its configuration as JSON."
RENDERER, LANDMARKS = "iplap", "iplap-landmarks"


def landmarks_name(generator: str) -> str:
    """The file name of the landmark generator's weights, beside those of a generator."""
    return f"{generator}-landmarks.safetensors"


def renderer_metadata(config: RendererConfig) -> dict[str, str]:
    """The metadata that `load_renderer` finds the configuration in."""
    return {TASK_KEY: RENDERER, CONFIG_KEY: json.dumps(asdict(config))}


def landmarks_metadata(config: LandmarkConfig) -> dict[str, str]:
    """The metadata that `load_landmarks` finds the configuration in."""
    return {TASK_KEY: LANDMARKS, CONFIG_KEY: json.dumps(asdict(config))}


def save_renderer(
    network: IPLAPRenderer, path: Path, half: bool = False, about: Mapping[str, str] | None = None
) -> None:
    """Write the file that `load_renderer` reads; `half` stores kernels as float16. about: further metadata."""
    save_state(network.state_dict(), path, {**(about or {}), **renderer_metadata(network.config)}, half)


def save_landmarks(
    network: LandmarkGenerator, path: Path, half: bool = False, about: Mapping[str, str] | None = None
) -> None:
    """Write the file that `load_landmarks` reads; `half` stores kernels as float16. about: further metadata."""
    save_state(network.state_dict(), path, {**(about or {}), **landmarks_metadata(network.config)}, half)


def load_renderer(path: Path) -> IPLAPRenderer:
    """The renderer of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    state, metadata = _read(path, RENDERER)
    try:
        config = config_from_json(RendererConfig, metadata[CONFIG_KEY])
        return network_with(lambda: IPLAPRenderer(config), state)
    except (KeyError, ValueError) as error:
        raise LayoutError(f"{path}: {error}") from error


def load_landmarks(path: Path) -> LandmarkGenerator:
    """The landmark generator of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    state, metadata = _read(path, LANDMARKS)
    try:
        config = config_from_json(LandmarkConfig, metadata[CONFIG_KEY])
        return network_with(lambda: LandmarkGenerator(config), state)
    except (KeyError, ValueError) as error:
        raise LayoutError(f"{path}: {error}") from error


def _read(path: Path, task: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    state, metadata = read_state(path)
    if metadata.get(TASK_KEY) != task:
        raise LayoutError(f"{path}: weights of {metadata.get(TASK_KEY, 'something else')}, not of {task}")
    return state, metadata
