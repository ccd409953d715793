"""LSR's published checkpoint, from an `.npz` of its variables under the names that TensorFlow has for them.

The checkpoint itself is TensorFlow's own format, which only TensorFlow reads. Where that is installed:

    reader = tf.train.load_checkpoint(FOLDER)
    numpy.savez("lsr.npz", **{name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})

Kernels are (height, width, in, out) there, dense ones (in, out), and what is flattened has its channels innermost.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.nets.lsr import IMAGE_CHANNELS, LEVELS, LSRConfig, LSRDiscriminator, LSRNetwork
from engine.nets.lsr_weights import beside, save_network
from engine.nets.stored_weights import LayoutError, network_with
from engine.weights.importers.checkpoints import named_errors, origin

GENERATOR = "lsr"
"Which generator the weights are for."
LICENCE = "published beside code under the Apache-2.0 licence (MoustafaMeshry/lsr), without a licence of their own"

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
NETWORKS = ("encoder/", "layout_encoder/", "layout_generator/", "generator/")
DISCRIMINATOR = "discriminator/discriminators/0/"
HOW = (
    "make an .npz of its variables where TensorFlow is installed: see the documentation of engine.weights.importers.lsr"
)

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PublishedLSR:
    """What a checkpoint holds; float32, eval mode."""

    network: LSRNetwork
    discriminator: LSRDiscriminator | None
    "None where it was left out. Subjects are fine-tuned against it."


def read_checkpoint(checkpoint: Path) -> PublishedLSR:
    """The networks of a file of variables. Size, widths and depth follow from the shapes.

    Optimisers and counters in it are left behind. Raises LayoutError, saying what does not fit, for a file of anything
    else, a damaged one and one that holds code; OSError for one that cannot be read.
    """
    with named_errors(checkpoint):
        variables = _Variables(_load(checkpoint))
        config = _config(variables)
        network = network_with(lambda: LSRNetwork(config), _network_state(variables, config))
        discriminator = None
        if variables.has(DISCRIMINATOR):
            state = _discriminator_state(variables, config)
            discriminator = network_with(lambda: LSRDiscriminator(config), state)
        if unused := variables.unused():
            raise LayoutError(f"{len(unused)} variables belong to no layer of LSR: {', '.join(unused[:4])}")
    return PublishedLSR(network, discriminator)


def import_checkpoint(checkpoint: Path, weights: Path, half: bool = False) -> PublishedLSR:
    """Write what `read_checkpoint` reads as weights of ours, the discriminator beside them."""
    published = read_checkpoint(checkpoint)
    save_imported(published, checkpoint, weights, half)
    return published


def save_imported(published: PublishedLSR, checkpoint: Path, weights: Path, half: bool = False) -> None:
    """Write networks that were read from a checkpoint as weights of ours. Raises OSError."""
    about = origin(GENERATOR, [checkpoint], LICENCE)
    save_network(published.network, weights, half, about)
    if published.discriminator is not None:
        save_network(published.discriminator, beside(weights), half, about)


class _Variables:
    """The variables by their short names; knows which were never asked for."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = {
            name.removesuffix(SUFFIX): array
            for name, array in arrays.items()
            if name.startswith((*NETWORKS, DISCRIMINATOR)) and ".OPTIMIZER_SLOT" not in name
        }
        self._used: set[str] = set()
        missing = [prefix for prefix in NETWORKS if not self.has(prefix)]
        if missing:
            raise LayoutError(f"not the variables of LSR: none begins with {missing[0]}")

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._arrays)

    def unused(self) -> list[str]:
        return sorted(self._arrays.keys() - self._used)

    def take(self, name: str, axes: int) -> Array:
        """A variable. Raises LayoutError where there is none, it has other axes, or it is not finite."""
        array = self._arrays.get(name)
        if array is None:
            raise LayoutError(f"the variable {name} is missing")
        if array.ndim != axes or not np.issubdtype(array.dtype, np.floating):
            raise LayoutError(f"{name}: expected {axes} axes of floats, got {array.shape} {array.dtype}")
        if not np.isfinite(array).all():
            raise LayoutError(f"{name} holds values that are not finite")
        self._used.add(name)
        return array.astype(np.float32)

    def convolution(self, name: str, bias: bool = True) -> dict[str, Array]:
        """`weight` (out, in, k, k) and `bias`."""
        weight = self.take(f"{name}/kernel", 4).transpose(3, 2, 0, 1)
        return {"weight": weight, "bias": self.take(f"{name}/bias", 1)} if bias else {"weight": weight}

    def dense(self, name: str) -> dict[str, Array]:
        """`weight` (out, in) and `bias`."""
        return {"weight": self.take(f"{name}/kernel", 2).T, "bias": self.take(f"{name}/bias", 1)}

    def flattened(self, name: str, side: int) -> dict[str, Array]:
        """A dense layer behind maps of side x side: its inputs in the order (channel, row, column)."""
        layer = self.dense(name)
        weight = layer["weight"]
        if weight.shape[1] % side**2:
            raise LayoutError(f"{name}/kernel: {weight.shape[1]} inputs are no maps of {side}x{side}")
        layer["weight"] = weight.reshape(len(weight), side, side, -1).transpose(0, 3, 1, 2).reshape(len(weight), -1)
        return layer


def _load(checkpoint: Path) -> dict[str, NDArray[Any]]:
    try:
        stored = np.load(checkpoint, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise LayoutError(f"one array, not an .npz of variables; {HOW}")
        with stored:
            return {name: stored[name] for name in stored.files}
    except LayoutError:
        raise
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        if "Object arrays" in str(error):
            raise LayoutError("holds Python objects, which would be executed; that was not done") from error
        raise LayoutError(f"not an .npz, or a damaged one ({error}); {HOW}") from error


def _config(variables: _Variables) -> LSRConfig:
    stem = variables.take("encoder/blocks/0/kernel", 4)
    latent = variables.take("encoder/fc_z/bias", 1).size
    blocks = 0
    while variables.has(f"encoder/blocks/{2 * blocks + 2}/"):
        blocks += 1
    deepest = variables.take(f"encoder/blocks/{2 * blocks}/conv_block1/layer_with_weights-0/bias", 1).size
    classes = variables.take("layout_generator/output_conv/bias", 1).size - IMAGE_CHANNELS
    hidden = variables.take("generator/blocks/2/conv_block0/spade_norm/conv0/kernel", 4)
    width = stem.shape[-1]
    cells = variables.take("generator/blocks/0/bias", 1).size // max(1, min(deepest, width << LEVELS))
    return LSRConfig(
        size=round(cells**0.5) << LEVELS,
        width=width,
        limit=deepest,
        latent=latent,
        classes=classes,
        hidden=hidden.shape[-1],
        encoder_blocks=blocks,
        contours_in_spade=hidden.shape[2] == classes + IMAGE_CHANNELS,
    )


def _network_state(variables: _Variables, config: LSRConfig) -> dict[str, Tensor]:
    parts = {
        **_encoder_layers(variables, config, "layout_encoder", "layout_encoder"),
        **_encoder_layers(variables, config, "encoder", "style_encoder"),
        **_layout_layers(variables),
        **_image_layers(variables, config),
    }
    return _state(parts)


def _encoder_layers(variables: _Variables, config: LSRConfig, name: str, ours: str) -> dict[str, dict[str, Array]]:
    layers = {f"{ours}.stem": variables.convolution(f"{name}/blocks/0")}
    for k in range(config.encoder_blocks):
        block = f"{name}/blocks/{2 * k + 2}"
        for n in range(2):
            conv = variables.convolution(f"{block}/conv_block{n}/layer_with_weights-0")
            layers[f"{ours}.blocks.{k}.conv{n}"] = conv
        if variables.has(f"{block}/shortcut/"):
            shortcut = variables.convolution(f"{block}/shortcut/layer_with_weights-0", bias=False)
            layers[f"{ours}.blocks.{k}.shortcut"] = shortcut
    layers[f"{ours}.dense"] = variables.flattened(f"{name}/fc_z", config.size >> config.encoder_blocks)
    return layers


def _layout_layers(variables: _Variables) -> dict[str, dict[str, Array]]:
    layers: dict[str, dict[str, Array]] = {}
    denses = []
    for k in range(LEVELS):
        down, up = (
            f"layout_generator/encoder_blocks/{k}/blocks/0",
            f"layout_generator/decoder_blocks/{k}/resblock_up_fn",
        )
        for name, ours in ((down, "down"), (up, "up")):
            layers |= _residual_layers(variables, name, f"layout_generator.{ours}.{k}")
        denses += [variables.dense(f"{up}/norm{n}/dense") for n in range(2)]
    layers["layout_generator.dense"] = _stacked(denses)
    layers["layout_generator.out"] = variables.convolution("layout_generator/output_conv")
    return layers


def _image_layers(variables: _Variables, config: LSRConfig) -> dict[str, dict[str, Array]]:
    first = variables.dense("generator/blocks/0")
    # Of the outputs here, what `flattened` does to inputs.
    turned = {
        key: value.reshape(config.start, config.start, -1, *value.shape[1:]).swapaxes(1, 2).swapaxes(0, 1)
        for key, value in first.items()
    }
    layers = {"image_generator.dense": {k: value.reshape(first[k].shape) for k, value in turned.items()}}
    for k in range(LEVELS + 1):
        block, ours = f"generator/blocks/{2 * k + 2}", f"image_generator.blocks.{k}"
        parts = {"conv_block0": ("norm0", "conv0"), "conv_block1": ("norm1", "conv1")}
        if variables.has(f"{block}/shortcut/"):
            parts["shortcut"] = ("shortcut_norm", "shortcut")
        for name, (norm, conv) in parts.items():
            spade = f"{block}/{name}/spade_norm"
            layers[f"{ours}.{norm}.conv"] = variables.convolution(f"{spade}/conv0")
            both = [variables.convolution(f"{spade}/{one}_conv") for one in ("gamma", "beta")]
            layers[f"{ours}.{norm}.modulation"] = _stacked(both)
            layers[f"{ours}.{conv}"] = variables.convolution(f"{block}/{name}/conv", bias=name != "shortcut")
    layers["image_generator.out"] = variables.convolution("generator/to_rgb")
    return layers


def _discriminator_state(variables: _Variables, config: LSRConfig) -> dict[str, Tensor]:
    blocks = f"{DISCRIMINATOR}blocks"
    layers = {"stem": variables.convolution(f"{blocks}/0"), "conv": variables.convolution(f"{blocks}/8")}
    for k in range(6):
        layers |= _residual_layers(variables, f"{blocks}/{k + 1}", f"blocks.{k}")
    layers["dense"] = variables.flattened(f"{blocks}/10", -(-config.size // 64))
    score = variables.convolution(f"{DISCRIMINATOR}compute_logits/layer_with_weights-0")
    layers["score"] = {"weight": score["weight"][..., 0, 0], "bias": score["bias"]}
    return _state(layers)


def _residual_layers(variables: _Variables, name: str, ours: str) -> dict[str, dict[str, Array]]:
    return {
        f"{ours}.conv0": variables.convolution(f"{name}/conv0"),
        f"{ours}.conv1": variables.convolution(f"{name}/conv1"),
        f"{ours}.shortcut": variables.convolution(f"{name}/conv_shortcut", bias=False),
    }


def _stacked(layers: list[dict[str, Array]]) -> dict[str, Array]:
    return {key: np.concatenate([layer[key] for layer in layers]) for key in ("weight", "bias")}


def _state(layers: Mapping[str, Mapping[str, Array]]) -> dict[str, Tensor]:
    return {
        f"{layer}.{key}": torch.from_numpy(np.ascontiguousarray(value))
        for layer, values in layers.items()
        for key, value in values.items()
    }
