"""IP-LAP's published checkpoints: `renderer_checkpoint.pth`, and `landmarkgenerator_checkpoint.pth` beside it.

Each is a dictionary with `state_dict`, `optimizer`, `global_step` and `global_epoch`; keys may begin with `module.`.
The renderer's file also holds the VGG19 of its training, which is left behind, and is for BGR pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.nets.iplap import IPLAPRenderer, RendererConfig
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator
from engine.nets.iplap_weights import landmarks_name, save_landmarks, save_renderer
from engine.nets.stored_weights import LayoutError, network_with
from engine.weights.importers.checkpoints import Checkpoint, load_tensors, named_errors, origin, state_dict

GENERATOR = "iplap"
"Which generator the weights are for."
LICENCE = "Apache-2.0 for the code (Weizhi-Zhong/IP_LAP); none is stated for the weights, which were trained with LRS2"
FILES = 2
"At most; the second one is the landmark generator's."
PREFIX = "module."
UNUSED = "perceptual."
"The VGG19 of the training."

_RENDERER_MARK = "flow_module.conv1.weight"
_LANDMARKS_MARK = "mouse_keypoint_map.weight"


@dataclass(frozen=True, eq=False)
class PublishedIPLAP:
    """What the checkpoints hold; float32, eval mode."""

    renderer: IPLAPRenderer
    "For RGB pictures."
    landmarks: LandmarkGenerator | None
    "None where only the renderer's file was given."


def read_checkpoints(checkpoints: Sequence[Checkpoint]) -> PublishedIPLAP:
    """The networks of one published file or both, in any order: they are told apart by what is in them.

    Widths follow from the shapes. Raises LayoutError, saying which file or key does not fit.
    """
    renderer: IPLAPRenderer | None = None
    landmarks: LandmarkGenerator | None = None
    for checkpoint in checkpoints:
        with named_errors(checkpoint):
            state = _state(load_tensors(checkpoint))
            if _RENDERER_MARK in state and renderer is None:
                renderer = renderer_of(state)
            elif _LANDMARKS_MARK in state and landmarks is None:
                landmarks = landmarks_of(state)
            else:
                raise LayoutError(
                    f"not a checkpoint of IP-LAP, or the second one of its kind; found {', '.join(sorted(state)[:3])}"
                )
    if renderer is None:
        raise LayoutError("IP-LAP cannot render without renderer_checkpoint.pth: name it too")
    return PublishedIPLAP(renderer, landmarks)


def import_checkpoints(checkpoints: Sequence[Path], weights: Path, half: bool = False) -> PublishedIPLAP:
    """Write what `read_checkpoints` reads as weights of ours; `half` stores float16. See `save_imported`."""
    published = read_checkpoints(checkpoints)
    save_imported(published, checkpoints, weights, half)
    return published


def save_imported(published: PublishedIPLAP, checkpoints: Sequence[Path], weights: Path, half: bool = False) -> None:
    """Write networks that were read from checkpoints: the renderer as `weights`, a .safetensors file, the landmark
    generator, if there is one, as `landmarks_name` beside it. Raises OSError."""
    about = origin(GENERATOR, checkpoints, LICENCE)
    save_renderer(published.renderer, weights, half, about)
    if published.landmarks is not None:
        save_landmarks(published.landmarks, weights.with_name(landmarks_name(GENERATOR)), half, about)


def renderer_of(state: Mapping[str, Tensor]) -> IPLAPRenderer:
    """The renderer of a published state dict, for RGB pictures. Raises LayoutError."""
    config = renderer_config(state)
    network = network_with(lambda: IPLAPRenderer(config), state)
    swap_channels(network)
    return network


def landmarks_of(state: Mapping[str, Tensor]) -> LandmarkGenerator:
    """The landmark generator of a published state dict. Raises LayoutError."""
    config = landmark_config(state)
    return network_with(lambda: LandmarkGenerator(config), state)


def renderer_config(state: Mapping[str, Tensor]) -> RendererConfig:
    """The widths of a published state dict. Raises LayoutError for another layout."""
    first = "flow_module.spade_layer_1.spade_layer_1.conv1.weight"
    voice = "translation.audio_encoder.0.conv_block.0.weight"
    shared = "translation.adain_1.adain_layer_1.mlp_shared.0.weight"
    return RendererConfig(
        shallow=_width(state, _RENDERER_MARK),
        deep=_width(state, "flow_module.conv2.weight"),
        hidden=_width(state, first),
        head=_width(state, "flow_module.conv_5.0.weight"),
        audio=_width(state, voice),
        shared=_width(state, shared),
    )


def landmark_config(state: Mapping[str, Tensor]) -> LandmarkConfig:
    """The widths of a published state dict; the number of heads, which shapes do not tell, is the published one."""
    layers = {key.split(".")[3] for key in state if key.startswith("fusion_transformer.transformer_encoder.layers.")}
    return LandmarkConfig(
        width=_width(state, "Norm.weight"),
        layers=len(layers),
        feed_forward=_width(state, "fusion_transformer.transformer_encoder.layers.0.linear1.weight"),
    )


@torch.no_grad()
def swap_channels(network: IPLAPRenderer) -> None:
    """Turn a renderer for BGR pictures into its equal for RGB ones, or back."""
    flow, translation = network.flow_module, network.translation
    # Behind the colours of a picture come drawings, whose three channels are the same.
    for first in (flow.conv1.weight, translation.conv1.weight):
        first[:, :3] = first[:, :3].flip(1)
    for layer in (translation.spade_4.spade_layer_1, translation.spade_4.spade_layer_2):
        layer.conv1.weight.copy_(layer.conv1.weight.flip(1))
    translation.conv_last.weight.copy_(translation.conv_last.weight.flip(0))


def _state(content: object) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        found = ", ".join(sorted(map(str, content))[:3]) if isinstance(content, Mapping) else type(content).__name__
        raise LayoutError(f"not a checkpoint of IP-LAP: neither state_dict, nor a state dict itself; found {found}")
    # At the beginning alone: flow_module.conv1 is no conv1.
    state = {key.removeprefix(PREFIX): value for key, value in state_dict(content, "IP-LAP").items()}
    return {key: value for key, value in state.items() if not key.startswith(UNUSED)}


def _width(state: Mapping[str, Tensor], key: str) -> int:
    if key not in state or not state[key].ndim:
        raise LayoutError(f"not a checkpoint of IP-LAP, or a part of one: no {key} of a known shape")
    return int(state[key].shape[0])
