"""Runs networks as TensorRT plans on an NVIDIA GPU; joins `engine.runtime` as `tensorrt`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar, NamedTuple

from numpy.typing import NDArray

from engine.generators.base import Generator, Tensors
from engine.generators.keypoint_generator import Detector, KeypointGenerator
from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator, torch_network
from engine.runtime import load_runtime
from engine.runtime.base import DEFAULT, Compiled, RuntimeConfig, RuntimeUnavailableError
from engine.runtime.network_runtime import NetworkRuntime
from engine.runtime.torch_runtime import TorchRuntime
from engine.weights import WeightsError
from trt_plans.device import Gpu, find_gpu
from trt_plans.errors import PlanError
from trt_plans.tensorrt_package import load_tensorrt

logger = logging.getLogger(__name__)

TORCH_ON_GPU = "cuda"
"The runtime that stands in where there is a GPU."


class Machine(NamedTuple):
    """What plans need."""

    gpu: Gpu
    tensorrt: Any


class TensorRTRuntime(NetworkRuntime):
    """Builds what plans are missing, which takes minutes (`visavis plans build` does it beforehand), and checks each
    against torch on the first frames that it gets, unless that was done before.

    Where TensorRT or a GPU is missing or of another version, and where a plan cannot be built or does not agree, torch
    runs the network instead, which is said in one line. Raises RuntimeUnavailableError where torch is missing too.
    """

    name: ClassVar[str] = "tensorrt"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        super().__init__(config)
        self._machine: Machine | None = None
        try:
            self._machine = find_machine()
        except RuntimeUnavailableError as error:
            _ = self._torch  # before the line is said: without torch there is nothing that could run instead
            _say_once(f"{error}; torch runs the networks instead")

    @cached_property
    def _torch(self) -> NetworkRuntime:
        return torch_runtime(self.config)

    def compile(self, generator: Generator) -> Compiled:
        return self._torch.compile(generator) if self._machine is None else super().compile(generator)

    def detector(self, generator: KeypointGenerator) -> Detector:
        return self._torch.detector(generator) if self._machine is None else super().detector(generator)

    def network(self, generator: NeuralGenerator, half: Half, spec: NetworkSpec) -> Network:
        def by_torch() -> Network:
            return self._torch.network(generator, half, spec)

        if self._machine is None:
            return by_torch()
        # These need the packages that read graphs.
        from trt_plans.network import prepare_half
        from trt_plans.runner import in_batches
        from trt_plans.store import PlanStore

        try:
            prepared = prepare_half(generator, half, "fp16")
            built = PlanStore(self._machine.tensorrt, self._machine.gpu).plan(prepared)
        except (PlanError, WeightsError) as error:
            logger.warning("%s; torch runs this network instead", error)
            return by_torch()
        plan = in_batches(built.runner.run, prepared.axes["batch"].most)
        if built.verified is not None:
            return plan
        # On the processor: exact there, and the generator keeps its module where it is.
        reference = torch_network(generator.torch_module(half), spec)
        return CheckedNetwork(plan, lambda examples: built.verify(reference, examples), by_torch)


class CheckedNetwork:
    """A plan that is compared with torch on the first inputs that come, and replaced if they disagree."""

    def __init__(
        self, plan: Network, verify: Callable[[Sequence[Tensors]], object], by_torch: Callable[[], Network]
    ) -> None:
        """verify: compares the plan with torch on some inputs; raises PlanError where they do not agree. by_torch:
        makes what runs then."""
        self._plan = plan
        self._verify = verify
        self._by_torch = by_torch
        self._chosen: Network | None = None
        self._lock = threading.Lock()

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        with self._lock:
            if self._chosen is None:
                self._chosen = self._decide(inputs)
        return dict(self._chosen(inputs))

    def _decide(self, inputs: Tensors) -> Network:
        try:
            self._verify([inputs])
        except RuntimeError as error:  # PlanError, and what CUDA fails with
            logger.warning("%s; torch runs this network instead", str(error).partition("\n")[0])
            return self._by_torch()
        return self._plan


@cache
def _say_once(line: str) -> None:
    """A command makes several runtimes."""
    logger.warning(line)


def find_machine() -> Machine:
    """The GPU and TensorRT. Raises RuntimeUnavailableError with what is missing.

    The GPU is asked for first: without one TensorRT ends the process.
    """
    gpu = find_gpu()
    tensorrt = load_tensorrt()
    try:
        import torch
    except ImportError as error:
        raise RuntimeUnavailableError(
            "runtime tensorrt: torch, which plans are checked against, is not installed: "
            "pip install 'visavis[tensorrt]'"
        ) from error
    if not torch.cuda.is_available():
        raise RuntimeUnavailableError(
            "runtime tensorrt: torch finds no GPU; install one for CUDA (https://pytorch.org), or use runtime auto"
        )
    return Machine(gpu, tensorrt)


def torch_runtime(config: RuntimeConfig) -> NetworkRuntime:
    """torch on the GPU, else on the processor. Raises RuntimeUnavailableError without torch."""
    try:
        runtime = load_runtime(TORCH_ON_GPU, config.at_once)
    except RuntimeUnavailableError:
        return TorchRuntime(config)
    return runtime if isinstance(runtime, NetworkRuntime) else TorchRuntime(config)
