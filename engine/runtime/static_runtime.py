"""Runs networks by torch on buffers that stay: in 16 bits, with our kernels, participants batched. On any device."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import Generator, Identity, Tensors
from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator
from engine.runtime.base import DEFAULT, Compiled, RuntimeConfig
from engine.runtime.network_runtime import NetworkRuntime

if TYPE_CHECKING:
    import torch

    from engine.runtime.batching import BatchingNetwork
    from engine.runtime.mixed_precision import PrecisionConfig
    from engine.runtime.static_network import Capture, StaticNetwork


class StaticRuntime(NetworkRuntime):
    """What `CudaRuntime` is but for CUDA.

    An identity's arrays are copied to the device once, when it is first rendered from, and must not be written to
    afterwards. Threads that render at the same time are served together.
    """

    name: ClassVar[str] = "static"

    def __init__(
        self, config: RuntimeConfig = DEFAULT, device: str = "cpu", precision: PrecisionConfig | None = None
    ) -> None:
        """precision: by default 32 bits with our kernels. Threads of `config` are not looked at."""
        from engine.runtime.mixed_precision import PrecisionConfig
        from engine.runtime.resident import ResidentArrays

        super().__init__(config)
        self._device = device
        self._precision = precision or PrecisionConfig("fp32")
        self._resident = ResidentArrays()
        self._made: weakref.WeakKeyDictionary[Generator, dict[Half, tuple[StaticNetwork, BatchingNetwork]]]
        self._made = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def compile(self, generator: Generator) -> Compiled:
        compiled = super().compile(generator)
        if not isinstance(generator, NeuralGenerator):
            return compiled

        def render(identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
            self.keep(identity)
            return compiled.render(identity, motion)

        return Compiled(compiled.encode, render)

    def network(self, generator: NeuralGenerator, half: Half, spec: NetworkSpec) -> Network:
        with self._lock:
            return self._network(generator, half, spec)[1]

    def keep(self, identity: Tensors) -> None:
        """Have these arrays on the device from when they are first rendered from until nobody else has them."""
        self._resident.adopt(identity.values())

    def static_network(self, generator: NeuralGenerator, half: Half) -> StaticNetwork:
        """The network of a half itself: what benchmarks look into."""
        with self._lock:
            return self._network(generator, half, generator.network_specs()[half])[0]

    def capture(self) -> Capture | None:
        """How the networks are made ready; None: they are executed step by step."""
        return None

    def _network(
        self, generator: NeuralGenerator, half: Half, spec: NetworkSpec
    ) -> tuple[StaticNetwork, BatchingNetwork]:
        """Made once: whoever calls it, there is one at a time on its buffers."""
        from engine.runtime.batching import BatchingNetwork
        from engine.runtime.mixed_precision import MixedPrecision
        from engine.runtime.static_network import StaticNetwork

        made = self._made.setdefault(generator, {})
        if half not in made:
            static = StaticNetwork(
                MixedPrecision(generator.torch_module(half), self._precision),
                spec,
                self._device,
                types=self._encoded_types(generator) if half == "render" else None,
                capture=None if half == "encode" else self.capture(),  # which happens once for a source
                resident=self._resident,
            )
            made[half] = static, BatchingNetwork(static.run, static.kind, static.most)
        return made[half]

    def _encoded_types(self, generator: NeuralGenerator) -> dict[str, torch.dtype]:
        """In which the other half makes what an identity consists of: `render` takes it as it was made."""
        specs = generator.network_specs()
        if "encode" not in specs:
            return {}
        return self._network(generator, "encode", specs["encode"])[0].output_types()
