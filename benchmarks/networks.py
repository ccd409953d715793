"""The networks that are measured: of every generator the half that is executed for each frame, and its inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
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
from engine.generators.neural import NeuralGenerator
from engine.motion import FaceState
from engine.nets import adaat_weights, dagan_weights, first_order_weights
from engine.nets.adaat import AdaATConfig, AdaATNetwork
from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.first_order import FirstOrderConfig, FirstOrderModel
from engine.weights import WeightsError
from visavis.demo import PORTRAIT

GENERATORS = ("portrait", "adaat", "fomm", "dagan")
SIZE = 256

PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {"adaat": AdaATConfig(), "fomm": FirstOrderConfig(), "dagan": DaGANConfig()}
)
"What networks without installed weights are made like."


@dataclass(frozen=True, eq=False)
class Measured:
    """A generator to measure."""

    generator: NeuralGenerator
    weights: str
    "'installed' or 'random': they cost the same."
    inputs: Tensors
    "Of its `render` network, batch 1: a face that has turned."

    def batch(self, rows: int) -> Tensors:
        """The inputs so many times."""
        return {name: np.repeat(array, rows, axis=0) for name, array in self.inputs.items()}


@contextmanager
def measured(name: str, size: int = SIZE, configs: Mapping[str, Any] = PUBLISHED) -> Iterator[Measured]:
    """A generator with its installed weights, or random ones of `configs`. Raises GeneratorError."""
    with TemporaryDirectory(prefix="visavis-bench-") as folder:
        try:
            generator, weights = load_generator(name, size), "installed"
        except WeightsError:
            generator, weights = _random(name, size, configs[name], Path(folder) / f"{name}.safetensors"), "random"
        assert isinstance(generator, NeuralGenerator)
        yield Measured(generator, weights, _render_inputs(generator))


def _random(name: str, size: int, config: Any, path: Path) -> NeuralGenerator:
    torch.manual_seed(0)
    if name == "adaat":
        adaat_weights.save_network(AdaATNetwork(config), path)
        return AdaATGenerator(size, path)
    if name == "fomm":
        first_order_weights.save_model(FirstOrderModel(config), path)
        return FOMMGenerator(size, path)
    dagan_weights.save_model(DaGANModel(config), path)
    return DaGANGenerator(size, path)


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


def _render_inputs(generator: NeuralGenerator) -> Tensors:
    frame, person, state = _face(generator.size)
    identity = generator.encode(frame[None], person.landmarks(state)[None].astype(np.float32))
    seen: dict[str, Any] = {}

    def remember(inputs: Tensors) -> Tensors:
        seen.update(inputs)
        raise _Seen

    with suppress(_Seen):
        generator.render_with(remember, identity, example_motions(generator, frame, person, state)[1])
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
