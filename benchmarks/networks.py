"""The networks that are measured: of every generator with its halves, and what goes into them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.export import example_motions
from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.fit import fit_source
from engine.face.images import load_image
from engine.face.landmarks import detect_face
from engine.face.model import FaceModel, Person
from engine.generators import load_generator
from engine.generators.adaat import AdaATGenerator
from engine.generators.base import Tensors
from engine.generators.dagan import DaGANGenerator
from engine.generators.fomm import FOMMGenerator
from engine.generators.iplap import IPLAPGenerator
from engine.generators.keypoint_generator import KeypointGenerator
from engine.generators.lsr import LSRGenerator
from engine.generators.neural import Half, Network, NeuralGenerator
from engine.generators.rhythmic import RhythmicGenerator
from engine.motion import FaceState
from engine.nets import (
    adaat_weights,
    dagan_weights,
    first_order_weights,
    iplap_weights,
    lsr_weights,
    rhythmic_weights,
)
from engine.nets.adaat import AdaATConfig, AdaATNetwork
from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.first_order import FirstOrderConfig, FirstOrderModel
from engine.nets.iplap import IPLAPRenderer, RendererConfig
from engine.nets.lsr import LSRConfig, LSRNetwork
from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork
from engine.weights import WeightsError
from visavis.demo import PORTRAIT

SIZE = 256


@dataclass(frozen=True)
class Kind:
    """How a generator with random weights is made."""

    generator: Callable[[int, Path], NeuralGenerator]
    network: Callable[[Any], nn.Module]
    save: Callable[[Any, Path], None]
    config: Any
    "The published widths."


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "adaat": Kind(AdaATGenerator, AdaATNetwork, adaat_weights.save_network, AdaATConfig()),
        "fomm": Kind(FOMMGenerator, FirstOrderModel, first_order_weights.save_model, FirstOrderConfig()),
        "dagan": Kind(DaGANGenerator, DaGANModel, dagan_weights.save_model, DaGANConfig()),
        "iplap": Kind(IPLAPGenerator, IPLAPRenderer, iplap_weights.save_renderer, RendererConfig()),
        "lsr": Kind(LSRGenerator, LSRNetwork, lsr_weights.save_network, LSRConfig()),
        "rhythmic": Kind(RhythmicGenerator, RhythmicNetwork, rhythmic_weights.save_network, RhythmicConfig()),
    }
)
GENERATORS = ("portrait", *KINDS)


@dataclass(frozen=True, eq=False)
class Measured:
    """A generator to measure."""

    generator: NeuralGenerator
    weights: str
    "'installed' or 'random': they cost the same."
    by_half: Mapping[Half, Tensors]
    "What goes into each network, batch 1: a face, and the same that has turned."

    @property
    def inputs(self) -> Tensors:
        """Of the network that is executed for each frame."""
        return self.by_half["render"]

    def batch(self, rows: int) -> Tensors:
        """The inputs so many times."""
        return {name: np.repeat(array, rows, axis=0) for name, array in self.inputs.items()}


@contextmanager
def measured(name: str, size: int = SIZE, config: Any = None) -> Iterator[Measured]:
    """A generator with its installed weights; where there are none, with random ones of `config` or as published.
    Raises GeneratorError."""
    try:
        installed = load_generator(name, size)
    except WeightsError:
        with random_weights(name, size, config) as made:
            yield made
        return
    assert isinstance(installed, NeuralGenerator)
    yield Measured(installed, "installed", _inputs(installed, 1))


@contextmanager
def random_weights(name: str, size: int = SIZE, config: Any = None, references: int = 1) -> Iterator[Measured]:
    """A generator with random weights, of a person of whom there are so many pictures."""
    kind = KINDS[name]
    with TemporaryDirectory(prefix="visavis-bench-") as folder:
        path = Path(folder) / f"{name}.safetensors"
        torch.manual_seed(0)
        kind.save(kind.network(config or kind.config), path)
        generator = kind.generator(size, path)
        yield Measured(generator, "random", _inputs(generator, references))


class _Seen(Exception):
    """Ends a rendering where its network would begin."""


@cache
def _face(size: int) -> tuple[NDArray[np.uint8], Person, FaceState]:
    """The frame of the picture that comes along, and whose face is in it."""
    picture = load_image(PORTRAIT)
    height, width = picture.shape[:2]
    crop = HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN)
    frame = crop.apply(picture, size)
    return frame, *fit_source(FaceModel.load(), detect_face(frame).landmarks)


def _inputs(generator: NeuralGenerator, references: int) -> dict[Half, Tensors]:
    frame, person, state = _face(generator.size)
    frames, landmarks = frame[None], person.landmarks(state)[None].astype(np.float32)
    identity = generator.encode(frames, landmarks)
    if references > 1:
        identity = generator.merge([identity] * references)
    turned = example_motions(generator, frame, person, state)[1]
    found: dict[Half, Tensors] = {}
    halves = generator.network_specs()
    if isinstance(generator, KeypointGenerator):
        found["detect"] = _seen(lambda network: generator.detect_with(network, frames))
    if "encode" in halves:
        found["encode"] = _seen(lambda network: generator.encode_with(network, frames, landmarks))
    found["render"] = _seen(lambda network: generator.render_with(network, identity, turned))
    return found


def _seen(use: Callable[[Network], object]) -> Tensors:
    """What goes into the network."""
    seen: dict[str, Any] = {}

    def remember(inputs: Tensors) -> Tensors:
        seen.update(inputs)
        raise _Seen

    with suppress(_Seen):
        use(remember)
    return seen


class Reference(nn.Module):
    """A network as it is, in float32 and by torch's own operators: what everything else is compared with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        with torch.no_grad():  # what spectral normalisation computed can only be copied so
            self.network = copy.deepcopy(network).eval().requires_grad_(False)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = self.network(*inputs)
        return (results,) if isinstance(results, torch.Tensor) else tuple(results)
