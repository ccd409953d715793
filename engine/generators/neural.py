"""The interface of generators that contain networks: numpy around them, and a runtime that executes them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Generator, GeneratorError, Identity, Tensors

if TYPE_CHECKING:
    from torch import nn

Half = Literal["detect", "encode", "render"]
"detect: only of generators that are driven by keypoints."

Network = Callable[[Tensors], Tensors]
"An executable network: named input arrays to named output arrays, batch first."


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a network. `shape` leaves the batch out; a name in it is an axis of any length."""

    name: str
    shape: tuple[int | str, ...]
    dtype: type[np.generic]


@dataclass(frozen=True)
class NetworkSpec:
    """What goes into a network and comes out, in the order of the arguments and results of its torch module."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class NeuralGenerator(Generator):
    """A generator one or both of whose halves contain a network.

    `encode_with` and `render_with` are all of the generator but the execution of its networks, which the caller (a
    `Runtime`) passes in. `encode` and `render` execute them by torch: the reference that runtimes must agree with.
    """

    @abstractmethod
    def network_specs(self) -> dict[Half, NetworkSpec]:
        """The networks there are: one for each half that contains one."""

    @abstractmethod
    def torch_module(self, half: Half) -> nn.Module:
        """The network of a half with its weights, in eval mode. Raises GeneratorError without torch or weights."""

    @abstractmethod
    def graph_path(self, half: Half) -> Path:
        """The exported network (ONNX) of a half. Raises GeneratorError, with the way out, where none was exported."""

    @abstractmethod
    def encode_with(
        self, network: Network | None, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]
    ) -> Identity:
        """`encode`, by the network of this half, None where it has none."""

    @abstractmethod
    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
        """`render`, by the network of this half, None where it has none."""

    def encode(self, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Identity:
        return self.encode_with(self._reference.get("encode"), frames, landmarks)

    def render(self, identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
        return self.render_with(self._reference.get("render"), identity, motion)

    @cached_property
    def _reference(self) -> dict[Half, Network]:
        return {half: torch_network(self.torch_module(half), spec) for half, spec in self.network_specs().items()}


def torch_network(module: nn.Module, spec: NetworkSpec, device: str = "cpu") -> Network:
    """A torch module as a `Network`. Raises GeneratorError without torch."""
    try:
        import torch
    except ImportError as error:
        raise GeneratorError(
            "torch is not installed: pip install 'visavis[torch]', or choose another runtime"
        ) from error
    module = module.to(device).eval()

    def run(inputs: Tensors) -> dict[str, NDArray[Any]]:
        arguments = [torch.from_numpy(np.ascontiguousarray(inputs[entry.name])).to(device) for entry in spec.inputs]
        with torch.inference_mode():
            results = module(*arguments)
        if isinstance(results, torch.Tensor):
            results = (results,)
        return {entry.name: result.cpu().numpy() for entry, result in zip(spec.outputs, results, strict=True)}

    return run
