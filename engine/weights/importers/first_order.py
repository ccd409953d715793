"""The First Order Motion Model's published checkpoints (`vox-cpk.pth.tar`, `vox-adv-cpk.pth.tar` and others).

Pickles in spite of their name: `generator`, `kp_detector`, and where they were left in, `discriminator`, the
optimisers' states and `epoch`. Their code is under the MIT licence; the weights have no licence of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from engine.nets.first_order import FirstOrderConfig, FirstOrderModel
from engine.nets.first_order_weights import discriminator_config, first_order_config, save_model
from engine.nets.patch_discriminator import KeypointDiscriminator
from engine.nets.stored_weights import LayoutError, network_with
from engine.weights.importers.checkpoints import (
    Checkpoint,
    load_tensors,
    named_errors,
    origin,
    state_dict,
)

GENERATOR = "fomm"
"Which generator the weights are for."
TRAINED_SIZE = 256
"Side in pixels of the frames that the family's published weights for faces were trained with; their file does not say."
SIZE_KEY = "size"
"Of the metadata: that side, as text."
PREFIX = "module."
"In the keys of a network that was saved as it was trained, on several devices."
LICENCE = (
    "published beside code under the MIT licence (AliaksandrSiarohin/first-order-model), without a licence of their own"
)


@dataclass(frozen=True)
class Unsaid:
    """What shapes do not tell, as published if None; see the fields of the configurations that they are taken into."""

    temperature: float | None = None
    padding: int | None = None
    variance: float | None = None
    align_corners: bool | None = None

    def into(self, config: FirstOrderConfig) -> FirstOrderConfig:
        """The configuration with these values in it."""
        detector, motion = config.detector, config.motion
        if self.temperature is not None:
            detector = replace(detector, temperature=self.temperature)
        if self.padding is not None:
            detector = replace(detector, padding=self.padding)
        if self.variance is not None:
            motion = replace(motion, variance=self.variance)
        align = config.align_corners if self.align_corners is None else self.align_corners
        return replace(config, detector=detector, motion=motion, align_corners=align)


AS_PUBLISHED = Unsaid()


@dataclass(frozen=True, eq=False)
class PublishedFirstOrder:
    """What a checkpoint holds; float32, eval mode."""

    model: FirstOrderModel
    discriminator: KeypointDiscriminator | None
    "None where it was left out."
    epoch: int | None


def read_checkpoint(
    checkpoint: Checkpoint, keypoints: int | None = None, unsaid: Unsaid = AS_PUBLISHED
) -> PublishedFirstOrder:
    """The networks of a published checkpoint.

    Widths and depths follow from the shapes. keypoints: how many there must be; None for any number. Raises
    LayoutError, saying what does not fit, for a file of anything else, a damaged one and one that holds code.
    """
    with named_errors(checkpoint):
        return _read(load_tensors(checkpoint), keypoints, unsaid)


def import_checkpoint(
    checkpoint: Path,
    weights: Path,
    keypoints: int | None = None,
    unsaid: Unsaid = AS_PUBLISHED,
    half: bool = False,
) -> FirstOrderModel:
    """Write what `read_checkpoint` reads as weights of ours, a .safetensors file; `half` stores float16.

    The discriminator is checked, and left behind. The file's metadata say where the weights are from.
    """
    published = read_checkpoint(checkpoint, keypoints, unsaid)
    save_imported(published.model, checkpoint, weights, half)
    return published.model


def save_imported(model: FirstOrderModel, checkpoint: Path, weights: Path, half: bool = False) -> None:
    """Write a model that was read from a checkpoint as weights of ours. Raises OSError."""
    about = {**origin(GENERATOR, [checkpoint], LICENCE), SIZE_KEY: str(TRAINED_SIZE)}
    save_model(model, weights, about, half)


def discriminator_of(content: Mapping[object, object], keypoints: int) -> KeypointDiscriminator | None:
    """The discriminator in a checkpoint of the family, None without one. Raises LayoutError if it does not fit."""
    if content.get("discriminator") is None:
        return None
    state = state_dict(content["discriminator"], "discriminator", PREFIX)
    config = discriminator_config(state)
    if config.keypoints not in (0, keypoints):
        raise LayoutError(
            f"the discriminator is for {config.keypoints} keypoints, the keypoint detector finds {keypoints}"
        )
    return network_with(lambda: KeypointDiscriminator(config), state)


def parts_of(content: object) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dicts of generator and keypoint detector. Raises LayoutError where the checkpoint has none."""
    if not isinstance(content, Mapping) or not {"generator", "kp_detector"} <= content.keys():
        found = ", ".join(sorted(map(str, content))[:4]) if isinstance(content, Mapping) else type(content).__name__
        raise LayoutError(f"not a checkpoint of the warping family: generator and kp_detector wanted, found {found}")
    return state_dict(content["generator"], "generator", PREFIX), state_dict(content["kp_detector"], "detector", PREFIX)


def check_keypoints(found: int, wanted: int | None) -> None:
    """Raises LayoutError if a number of keypoints was wanted and another one found."""
    if wanted is not None and found != wanted:
        raise LayoutError(f"a model of {found} keypoints; {wanted} were asked for")


def epoch_of(content: Mapping[object, object]) -> int | None:
    """After which epoch a checkpoint was written, where it says so."""
    epoch = content.get("epoch")
    return epoch if isinstance(epoch, int) else None


def _read(content: object, keypoints: int | None, unsaid: Unsaid) -> PublishedFirstOrder:
    generator, detector = parts_of(content)
    assert isinstance(content, Mapping)
    if "AttnModule.gamma" in generator:
        raise LayoutError("a checkpoint of DaGAN, which has an importer of its own")
    config = unsaid.into(first_order_config(generator, detector))
    check_keypoints(config.keypoints, keypoints)
    joined = {f"generator.{key}": value for key, value in generator.items()}
    joined |= {f"kp_detector.{key}": value for key, value in detector.items()}
    model = network_with(lambda: FirstOrderModel(config), joined)
    return PublishedFirstOrder(model, discriminator_of(content, config.keypoints), epoch_of(content))
