"""The interface of every generator: encode a source once, render a frame per motion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.face.model import Person
from engine.motion import FaceState

Tensors = Mapping[str, NDArray[Any]]
"Named arrays, batch first; which names, shapes and types is the generator's own affair and stated in its docstring."

Identity = Tensors
"What `encode` made of the source frames: all state that a generator has. Can be stored, sent and batched."


class GeneratorError(ValueError):
    """A generator cannot do what was asked of it; the message says what it can."""


class Generator(ABC):
    """A published system: `encode` and `render` are pure functions of arrays, each to be compiled on its own.

    What drives it is the affair of two kinds: `FaceGenerator`, and `KeypointGenerator` with a detector of its own.
    """

    name: ClassVar[str]
    sizes: ClassVar[tuple[int, ...]]
    "Sides of the square frames that it can render, in pixels."
    expensive_half: ClassVar[str]
    "'encode' or 'render': where the time goes, so that a scheduler knows what to batch."

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def encode(self, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Identity:
        """frames: (B, size, size, 3) RGB. landmarks: (B, 478, 3) in frame coordinates. Done once per source."""

    @abstractmethod
    def render(self, identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
        """(B, size, size, 3) RGB. Batch of `identity` and `motion` agree."""

    def merge(self, identities: Sequence[Identity]) -> Identity:
        """One identity of several pictures of the same person (K-shot), the first of which is the principal one.

        Raises GeneratorError from generators that use one picture only, for more than one.
        """
        if len(identities) != 1:
            raise GeneratorError(f"generator {self.name} uses one source picture, not {len(identities)}")
        return identities[0]


class FaceGenerator(Generator):
    """A generator that is driven by face states."""

    @abstractmethod
    def motion(self, person: Person, driving: FaceState) -> Tensors:
        """What `render` wants to know of the driving motion, for one frame and one person: arrays with batch 1."""
