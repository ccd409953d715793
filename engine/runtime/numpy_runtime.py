"""Runs generators that are written in numpy and OpenCV as they are: the reference for those, and all they need."""

from __future__ import annotations

from typing import ClassVar

from engine.generators.base import Generator
from engine.runtime.base import Compiled


class NumpyRuntime:
    name: ClassVar[str] = "numpy"

    def compile(self, generator: Generator) -> Compiled:
        return Compiled(encode=generator.encode, render=generator.render)
