"""What runtimes that execute networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import ClassVar

from engine.generators.base import Generator
from engine.generators.keypoint_generator import Detector, KeypointGenerator
from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator, TensorSpec
from engine.runtime.base import DEFAULT, Compiled, RuntimeConfig
from engine.runtime.numpy_runtime import NumpyRuntime


class GraphError(RuntimeError):
    """An exported network cannot be executed: damaged, or of another version; the message says what to do."""


class NetworkRuntime(ABC):
    """Executes the networks of neural generators; passes generators without any through."""

    name: ClassVar[str]

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        """Raises RuntimeUnavailableError where the package that executes is not installed."""
        self.config = config

    def compile(self, generator: Generator) -> Compiled:
        """Raises GeneratorError where the generator's weights or networks are missing, GraphError from `network`."""
        if not isinstance(generator, NeuralGenerator):
            return NumpyRuntime(self.config).compile(generator)
        networks = {
            half: self.network(generator, half, spec)
            for half, spec in generator.network_specs().items()
            if half != "detect"  # where the camera is
        }
        return Compiled(
            encode=partial(generator.encode_with, networks.get("encode")),
            render=partial(generator.render_with, networks.get("render")),
        )

    def detector(self, generator: KeypointGenerator) -> Detector:
        """Raises as `compile`."""
        return partial(generator.detect_with, self.network(generator, "detect", generator.network_specs()["detect"]))

    @abstractmethod
    def network(self, generator: NeuralGenerator, half: Half, spec: NetworkSpec) -> Network:
        """The network of a half, executable."""


class GraphRuntime(NetworkRuntime):
    """Executes exported networks."""

    def network(self, generator: NeuralGenerator, half: Half, spec: NetworkSpec) -> Network:
        return self.load(generator.graph_path(half), spec)

    @abstractmethod
    def load(self, path: Path, spec: NetworkSpec) -> Network:
        """The network in an ONNX file. Raises GraphError for one that is damaged or does not fit `spec`."""


def unreadable(path: Path, runtime: str, reason: Exception) -> GraphError:
    """What to raise when a runtime cannot read a file."""
    first_line = str(reason).strip().partition("\n")[0]
    return GraphError(f"{path}: {runtime} cannot execute this file ({first_line}); make it again: visavis export")


def require_fit(path: Path, found: NetworkSpec, wanted: NetworkSpec) -> None:
    """Raises GraphError where the file's inputs and outputs are not those that the generator works with."""
    for kind, there, asked in (("inputs", found.inputs, wanted.inputs), ("outputs", found.outputs, wanted.outputs)):
        if len(there) != len(asked) or not all(map(_fits, there, asked)):
            raise GraphError(
                f"{path}: its {kind} are {_listed(there)}, those of this version of the generator {_listed(asked)}; "
                "make the file again: visavis export"
            )


def _fits(found: TensorSpec, wanted: TensorSpec) -> bool:
    """An axis of any length in the file fits every length."""
    return (
        found.name == wanted.name
        and found.dtype == wanted.dtype
        and len(found.shape) == len(wanted.shape)
        and all(isinstance(a, str) or a == b for a, b in zip(found.shape, wanted.shape, strict=True))
    )


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype.__name__} {list(spec.shape)}" for spec in specs)
