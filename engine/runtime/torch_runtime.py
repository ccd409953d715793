"""Runs networks by torch on the processor: the reference that the other runtimes agree with."""

from __future__ import annotations

from typing import ClassVar

from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator, torch_network
from engine.runtime.base import DEFAULT, RuntimeConfig, RuntimeUnavailableError
from engine.runtime.network_runtime import NetworkRuntime


class TorchRuntime(NetworkRuntime):
    name: ClassVar[str] = "torch"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        """Sets the threads of torch in the whole process: it has no others."""
        super().__init__(config)
        try:
            import torch
        except ImportError as error:
            raise RuntimeUnavailableError(
                "runtime torch: the package is not installed: pip install 'visavis[torch]'"
            ) from error
        torch.set_num_threads(config.threads_each())

    def network(self, generator: NeuralGenerator, half: Half, spec: NetworkSpec) -> Network:
        return torch_network(generator.torch_module(half), spec)
