"""Weights of the First Order Motion Model: what a state dict says of its networks, and the file they are kept in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.first_order import IMAGE_CHANNELS, FirstOrderConfig, FirstOrderModel
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import Jacobians, KeypointConfig
from engine.nets.patch_discriminator import DiscriminatorConfig
from engine.nets.stored_weights import LayoutError, load_configured, save_state, task_metadata

TASK = "first-order"
"Of the metadata: what the weights are for."

State = Mapping[str, Tensor]

_FACTOR_OF_TAPS = {5: 2, 13: 4, 29: 8}


def model_metadata(config: FirstOrderConfig) -> dict[str, str]:
    """The metadata that `load_model` goes by."""
    return task_metadata(TASK, config)


def save_model(model: FirstOrderModel, path: Path, about: Mapping[str, str] | None = None, half: bool = False) -> None:
    """Write the file that `load_model` reads. about: further metadata, e.g. where the weights are from."""
    save_state(model.state_dict(), path, {**(about or {}), **model_metadata(model.config)}, half)


def load_model(path: Path) -> FirstOrderModel:
    """The model of a file, in float32 and eval mode. Raises LayoutError for a file of something else."""
    return load_configured(path, TASK, FirstOrderConfig, FirstOrderModel)[0]


def detector_config(state: State) -> KeypointConfig:
    """The configuration of a detector's state dict, as far as shapes tell it; temperature and padding as published.

    Raises LayoutError for another layout.
    """
    keypoints, features = shape_of(state, "kp.weight", 4, "a keypoint detector")[:2]
    hourglass = hourglass_config(state, "predictor")
    jacobians: Jacobians = "none"
    if "jacobian.weight" in state:
        maps = shape_of(state, "jacobian.weight", 4, "a keypoint detector")[0]
        if maps not in (4, 4 * keypoints):
            raise LayoutError(
                f"jacobian.weight: {maps} maps; {keypoints} keypoints (kp.weight) need {4 * keypoints}, or 4 to share"
            )
        jacobians = "each" if maps == 4 * keypoints else "shared"
    channels = features - hourglass.channels(0)
    if channels < 1:
        raise LayoutError(f"kp.weight: {features} channels in, fewer than the hourglass has out")
    return KeypointConfig(
        keypoints=keypoints,
        channels=channels,
        hourglass=hourglass,
        downscale=downscale_factor(state, "down.weight"),
        jacobians=jacobians,
    )


def motion_config(state: State, keypoints: int) -> DenseMotionConfig:
    """The configuration of the motion network in a generator's state dict; the variance as published.

    Raises LayoutError for another layout, and where it is for another number of keypoints.
    """
    prefix = "dense_motion_network"
    masks = shape_of(state, f"{prefix}.mask.weight", 4, "a generator of the warping family")[0]
    if masks != keypoints + 1:
        raise LayoutError(f"the generator is for {masks - 1} keypoints, the keypoint detector finds {keypoints}")
    return DenseMotionConfig(
        hourglass=hourglass_config(state, f"{prefix}.hourglass"),
        downscale=downscale_factor(state, f"{prefix}.down.weight"),
        occlusion=f"{prefix}.occlusion.weight" in state,
    )


def first_order_config(generator: State, detector: State) -> FirstOrderConfig:
    """The configuration that two state dicts in the published layout were made with, as far as shapes tell it.

    Temperature, padding, variance and align_corners are not among it, and are as published. Raises LayoutError.
    """
    found = detector_config(detector)
    width, channels = shape_of(generator, "first.conv.weight", 4, "a generator of the warping family")[:2]
    if channels != IMAGE_CHANNELS:
        raise LayoutError(f"first.conv.weight: pictures of {channels} channels, expected {IMAGE_CHANNELS}")
    downs = block_count(generator, "down_blocks.")
    widths = [width, *(shape_of(generator, f"down_blocks.{i}.conv.weight", 4, "it")[0] for i in range(downs))]
    return FirstOrderConfig(
        detector=found,
        motion=motion_config(generator, found.keypoints),
        width=width,
        limit=max(widths),
        down_blocks=downs,
        residual_blocks=block_count(generator, "bottleneck.r"),
    )


def discriminator_config(state: State, channels: int = IMAGE_CHANNELS) -> DiscriminatorConfig:
    """The configuration of a discriminator's state dict. Raises LayoutError for another layout."""
    spectral = "discs.1.conv.weight_orig" in state
    weight = "weight_orig" if spectral else "weight"
    prefix = "discs.1.down_blocks."
    blocks = block_count(state, prefix)
    shapes = [shape_of(state, f"{prefix}{i}.conv.{weight}", 4, "a discriminator") for i in range(max(blocks, 1))]
    return DiscriminatorConfig(
        keypoints=shapes[0][1] - channels,
        channels=channels,
        width=max(shapes[0][0] // 2, 1),
        limit=max(shape[0] for shape in shapes),
        blocks=blocks,
        spectral=spectral,
    )


def hourglass_config(state: State, prefix: str) -> HourglassConfig:
    """The configuration of an hourglass whose keys begin with `prefix`."""
    blocks = block_count(state, f"{prefix}.encoder.down_blocks.")
    last = f"{prefix}.decoder.up_blocks.{max(blocks, 1) - 1}.conv.weight"
    width = shape_of(state, last, 4, "an hourglass")[0]
    downs = [shape_of(state, f"{prefix}.encoder.down_blocks.{i}.conv.weight", 4, "it")[0] for i in range(blocks)]
    return HourglassConfig(width=width, limit=max(downs, default=width), blocks=blocks)


def downscale_factor(state: State, key: str) -> int:
    """By how much the Gaussian under `key` reduces; 1 without one. Raises LayoutError for an unknown length."""
    if key not in state:
        return 1
    taps = state[key].shape[-1] if state[key].ndim == 4 else 0
    if taps not in _FACTOR_OF_TAPS:
        known = ", ".join(map(str, _FACTOR_OF_TAPS))
        raise LayoutError(f"{key}: shape {tuple(state[key].shape)}; known are Gaussians of {known} taps")
    return _FACTOR_OF_TAPS[taps]


def block_count(state: State, prefix: str) -> int:
    """How many numbered blocks begin with `prefix`, as in `down_blocks.0.conv.weight`."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def shape_of(state: State, key: str, axes: int, what: str) -> tuple[int, ...]:
    """The shape under `key`. Raises LayoutError, saying that this is not weights of `what`, where it is not there."""
    if key not in state or state[key].ndim != axes:
        raise LayoutError(f"not weights of {what}: no {key} with {axes} axes")
    return tuple(state[key].shape)
