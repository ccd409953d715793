"""Weights of DaGAN: what state dicts say of its networks, and the file they are kept in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.nets.dagan import DaGANConfig, DaGANModel, Decoder
from engine.nets.face_depth import FaceDepth, FaceDepthConfig, Layers
from engine.nets.first_order_weights import State, first_order_config, shape_of
from engine.nets.stored_weights import LayoutError, load_configured, save_state, task_metadata

TASK = "dagan"
"Of the metadata: what the weights are for."
DEPTH_TASK = "face-depth"
"Of the metadata of a depth network by itself."


def model_metadata(config: DaGANConfig) -> dict[str, str]:
    """The metadata that `load_model` goes by."""
    return task_metadata(TASK, config)


def save_model(model: DaGANModel, path: Path, about: Mapping[str, str] | None = None, half: bool = False) -> None:
    """Write the file that `load_model` reads. about: further metadata, e.g. where the weights are from."""
    save_state(model.state_dict(), path, {**(about or {}), **model_metadata(model.config)}, half)


def load_model(path: Path) -> DaGANModel:
    """The model of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return load_configured(path, TASK, DaGANConfig, DaGANModel)[0]


def depth_metadata(config: FaceDepthConfig) -> dict[str, str]:
    """The metadata that `load_depth` goes by."""
    return task_metadata(DEPTH_TASK, config)


def load_depth(path: Path) -> FaceDepth:
    """The depth network of a file of its own, in float32 and eval mode. Raises LayoutError for something else."""
    return load_configured(path, DEPTH_TASK, FaceDepthConfig, FaceDepth)[0]


def config_of(generator: State, detector: State, depth_encoder: State) -> DaGANConfig:
    """The configuration that state dicts in the published layout were made with, as far as shapes tell it.

    What they do not tell is as published, see `engine.nets.first_order_weights.first_order_config`. Raises LayoutError.
    """
    if "AttnModule.gamma" not in generator:
        raise LayoutError("not a generator of DaGAN: no AttnModule.gamma")
    decoder: Decoder = "spade" if "decoder.compress.weight" in generator else "residual"
    return DaGANConfig(first_order_config(generator, detector), depth_config(depth_encoder), decoder)


def depth_config(depth_encoder: State) -> FaceDepthConfig:
    """The configuration of a depth encoder's state dict. Raises LayoutError for another layout."""
    layers: Layers = 50 if "encoder.layer1.0.conv3.weight" in depth_encoder else 18
    return FaceDepthConfig(layers, width=shape_of(depth_encoder, "encoder.conv1.weight", 4, "a depth encoder")[0])
