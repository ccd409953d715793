"""DaGAN's published checkpoints: one of keypoint detector and generator, and two of the face depth network.

`DaGAN_vox_adv_256.pth.tar` or `SPADE_DaGAN_vox_adv_256.pth.tar`, and `encoder.pth` and `depth.pth` of the folder
`weights_19`. They may not be used commercially; the importer says so.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from engine.nets.dagan import DaGANModel
from engine.nets.dagan_weights import config_of, save_model
from engine.nets.patch_discriminator import KeypointDiscriminator
from engine.nets.stored_weights import LayoutError, network_with
from engine.weights.importers.checkpoints import load_tensors, named_errors, origin, state_dict
from engine.weights.importers.first_order import (
    AS_PUBLISHED,
    SIZE_KEY,
    TRAINED_SIZE,
    Unsaid,
    check_keypoints,
    discriminator_of,
    epoch_of,
    parts_of,
)

GENERATOR = "dagan"
"Which generator the weights are for."
LICENCE = (
    "non-commercial use only: CC BY-NC 4.0 for code and weights (harlanhong/CVPR2022-DaGAN), Monodepth2's licence for "
    "the depth network"
)
FILES = 3
"So many make the published weights."

_NOT_WEIGHTS = ("height", "width", "use_stereo")
"What the published encoder.pth holds besides: its training's options."
_CLASSIFIER = "encoder.fc."
"Of the ResNet; nothing uses it."

_logger = logging.getLogger(__name__)


class NonCommercialWarning(UserWarning):
    """Weights were imported that may not be used commercially."""


@dataclass(frozen=True, eq=False)
class PublishedDaGAN:
    """What the checkpoints hold; float32, eval mode."""

    model: DaGANModel
    discriminator: KeypointDiscriminator | None
    "None where it was left out."
    epoch: int | None


def read_checkpoints(
    checkpoints: Sequence[Path], keypoints: int | None = None, unsaid: Unsaid = AS_PUBLISHED
) -> PublishedDaGAN:
    """The networks of the published checkpoints, three files in any order: they are told apart by what is in them.

    Widths, depths and the kind of decoder follow from the shapes. keypoints: how many there must be; None for any
    number (the paper's weights have 15, whatever their configuration says). Raises LayoutError, saying which file or
    key does not fit.
    """
    warping: tuple[Path, Mapping[object, object]] | None = None
    encoder: dict[str, Tensor] | None = None
    decoder: dict[str, Tensor] | None = None
    for path in checkpoints:
        with named_errors(path):
            content = load_tensors(path)
            if not isinstance(content, Mapping):
                raise LayoutError("neither a checkpoint of DaGAN nor of its depth network")
            if "generator" in content and warping is None:
                _check_is_dagan(content["generator"])
                warping = (path, content)
            elif "encoder.conv1.weight" in content and encoder is None:
                encoder = _depth_encoder(content)
            elif "decoder.0.conv.conv.weight" in content and decoder is None:
                decoder = state_dict(content, "depth decoder")
            else:
                found = ", ".join(sorted(map(str, content))[:3]) or "nothing"
                raise LayoutError(f"not a checkpoint of DaGAN, or the second one of its kind; found {found}")
    if warping is None or encoder is None or decoder is None:
        names = {
            "the generator's checkpoint": warping,
            "the depth network's encoder.pth": encoder,
            "its depth.pth": decoder,
        }
        lacking = " and ".join(name for name, found in names.items() if found is None)
        raise LayoutError(f"DaGAN is published as three files; add {lacking}")
    path, content = warping
    with named_errors(path):
        return _read(content, encoder, decoder, keypoints, unsaid)


def import_checkpoints(
    checkpoints: Sequence[Path],
    weights: Path,
    keypoints: int | None = None,
    unsaid: Unsaid = AS_PUBLISHED,
    half: bool = False,
) -> DaGANModel:
    """Write what `read_checkpoints` reads as weights of ours, one .safetensors file; `half` stores float16.

    Warns that they are non-commercial. The discriminator is checked, and left behind.
    """
    published = read_checkpoints(checkpoints, keypoints, unsaid)
    warnings.warn(f"{weights}: {LICENCE}", NonCommercialWarning, stacklevel=2)
    _logger.info("gamma of the depth attention: %.3g", depth_gain(published.model))
    save_imported(published.model, checkpoints, weights, half)
    return published.model


def save_imported(model: DaGANModel, checkpoints: Sequence[Path], weights: Path, half: bool = False) -> None:
    """Write a model that was read from checkpoints as weights of ours, without a warning. Raises OSError."""
    about = {**origin(GENERATOR, checkpoints, LICENCE), SIZE_KEY: str(TRAINED_SIZE)}
    save_model(model, weights, about, half)


def depth_gain(model: DaGANModel) -> float:
    """|gamma| of the attention: how much of what the depth asks for reaches the picture; with 0, nothing does."""
    return abs(float(model.generator.AttnModule.gamma.detach()))


def _depth_encoder(content: Mapping[object, object]) -> dict[str, Tensor]:
    state = state_dict({key: value for key, value in content.items() if key not in _NOT_WEIGHTS}, "depth encoder")
    return {key: value for key, value in state.items() if not key.startswith(_CLASSIFIER)}


def _check_is_dagan(generator: object) -> None:
    """Before anything is said of files that lack: they may lack because it is another system's checkpoint."""
    if isinstance(generator, Mapping) and not any("AttnModule.gamma" in str(key) for key in generator):
        raise LayoutError("not a generator of DaGAN: no AttnModule.gamma")


def _read(
    content: Mapping[object, object],
    encoder: dict[str, Tensor],
    decoder: dict[str, Tensor],
    keypoints: int | None,
    unsaid: Unsaid,
) -> PublishedDaGAN:
    generator, detector = parts_of(content)
    config = config_of(generator, detector, encoder)
    config = replace(config, warp=unsaid.into(config.warp))
    check_keypoints(config.warp.keypoints, keypoints)
    joined = {f"generator.{key}": value for key, value in generator.items()}
    joined |= {f"kp_detector.{key}": value for key, value in detector.items()}
    joined |= {f"depth.depth_encoder.{key}": value for key, value in encoder.items()}
    joined |= {f"depth.depth_decoder.{key}": value for key, value in decoder.items()}
    model = network_with(lambda: DaGANModel(config), joined)
    return PublishedDaGAN(model, discriminator_of(content, config.warp.keypoints), epoch_of(content))
