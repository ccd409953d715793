"""The interface of every runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Generator, Identity, Tensors


class RuntimeUnavailableError(RuntimeError):
    """The runtime does not exist or cannot run here; the message says what to use or install."""


@dataclass(frozen=True)
class Compiled:
    """A generator's two halves, ready to be called."""

    encode: Callable[[NDArray[np.uint8], NDArray[np.float32]], Identity]
    render: Callable[[Identity, Tensors], NDArray[np.uint8]]


class Runtime(Protocol):
    """Executes generators. Raises RuntimeUnavailableError from `compile` for a generator that it cannot execute."""

    name: ClassVar[str]

    def compile(self, generator: Generator) -> Compiled: ...
