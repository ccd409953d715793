"""Runs generators that are written in numpy and OpenCV as they are: the reference for those, and all they need."""

from __future__ import annotations

from typing import ClassVar

from engine.generators.base import Generator
from engine.generators.keypoint_generator import Detector, KeypointGenerator
from engine.generators.neural import NeuralGenerator
from engine.runtime.base import DEFAULT, Compiled, RuntimeConfig, RuntimeUnavailableError


class NumpyRuntime:
    name: ClassVar[str] = "numpy"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        """Threads are OpenCV's own affair; `config` is taken because every runtime takes it."""

    def compile(self, generator: Generator) -> Compiled:
        if isinstance(generator, NeuralGenerator):
            raise _no_networks(generator)
        return Compiled(encode=generator.encode, render=generator.render)

    def detector(self, generator: KeypointGenerator) -> Detector:
        raise _no_networks(generator)


def _no_networks(generator: Generator) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(
        f"runtime numpy executes no networks, and generator {generator.name} has some; use runtime auto"
    )
