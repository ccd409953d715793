"""The interface of every runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Generator, Identity, Tensors
from engine.generators.keypoint_generator import Detector, KeypointGenerator

MOST_THREADS = 4
"Beyond these the small maps of a frame do not divide well, and a call has other work."


class RuntimeUnavailableError(RuntimeError):
    """The runtime does not exist or cannot run here; the message says what to use or install."""


@dataclass(frozen=True)
class RuntimeConfig:
    """What can be chosen about any runtime."""

    threads: int | None = None
    "Threads that execute a network; None: one for each core that this process may use, four at most."

    at_once: int = 1
    "Threads that will call what is compiled, at the same time: their networks share the threads that execute."

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"a network needs at least one thread, not {self.threads}")
        if self.at_once < 1:
            raise ValueError(f"at least one frame is rendered at once, not {self.at_once}")

    def thread_count(self) -> int:
        """The threads to use on this machine, for all callers together."""
        return self.threads or min(MOST_THREADS, _usable_cores())

    def threads_each(self) -> int:
        """The threads that execute the network of one caller."""
        return max(1, self.thread_count() // self.at_once)


DEFAULT = RuntimeConfig()


@dataclass(frozen=True)
class Compiled:
    """What a generator does, ready to be called by as many threads at once as the runtime was made for."""

    encode: Callable[[NDArray[np.uint8], NDArray[np.float32]], Identity]
    render: Callable[[Identity, Tensors], NDArray[np.uint8]]


class Runtime(Protocol):
    """Executes generators. Raises RuntimeUnavailableError when made where this machine lacks what it needs, and from
    `compile` for a generator that it cannot execute."""

    name: ClassVar[str]

    def __init__(self, config: RuntimeConfig) -> None: ...

    def compile(self, generator: Generator) -> Compiled: ...

    def detector(self, generator: KeypointGenerator) -> Detector:
        """The half of the generator that finds keypoints: what a sender needs of it."""


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
