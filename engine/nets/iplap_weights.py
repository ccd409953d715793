"""Weights of IP-LAP's renderer and landmark generator in files: safetensors, the published keys, and the configuration
in the file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.nets.iplap import IPLAPRenderer, RendererConfig
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator
from engine.nets.stored_weights import load_configured, save_state, task_metadata

RENDERER, LANDMARKS = "iplap", "iplap-landmarks"
"What the files' metadata call them."


def landmarks_name(generator: str) -> str:
    """The file name of the landmark generator's weights, beside those of a generator."""
    return f"{generator}-landmarks.safetensors"


def renderer_metadata(config: RendererConfig) -> dict[str, str]:
    """The metadata that `load_renderer` finds the configuration in."""
    return task_metadata(RENDERER, config)


def landmarks_metadata(config: LandmarkConfig) -> dict[str, str]:
    """The metadata that `load_landmarks` finds the configuration in."""
    return task_metadata(LANDMARKS, config)


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
    return load_configured(path, RENDERER, RendererConfig, IPLAPRenderer)[0]


def load_landmarks(path: Path) -> LandmarkGenerator:
    """The landmark generator of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return load_configured(path, LANDMARKS, LandmarkConfig, LandmarkGenerator)[0]
