"""Chooses the runtime by the generator and by what is installed."""

from __future__ import annotations

import logging
from typing import ClassVar

from engine.generators.base import Generator
from engine.generators.keypoint_generator import Detector, KeypointGenerator
from engine.generators.neural import NeuralGenerator
from engine.runtime.base import DEFAULT, Compiled, RuntimeConfig, RuntimeUnavailableError
from engine.runtime.cuda_runtime import CudaRuntime
from engine.runtime.network_runtime import NetworkRuntime
from engine.runtime.numpy_runtime import NumpyRuntime
from engine.runtime.onnx_runtime import OnnxRuntime
from engine.runtime.openvino_runtime import OpenVinoRuntime
from engine.runtime.torch_runtime import TorchRuntime
from engine.weights import WeightsError

logger = logging.getLogger(__name__)

PREFERENCE: tuple[type[NetworkRuntime], ...] = (OpenVinoRuntime, OnnxRuntime, TorchRuntime)
"For networks on the processor, best first: see benchmarks/results/runtimes.json."


class AutoRuntime:
    """numpy for generators without networks; for the others a GPU where torch finds one, else the first of `PREFERENCE`
    that is installed, or torch where they were not exported."""

    name: ClassVar[str] = "auto"

    def __init__(self, config: RuntimeConfig = DEFAULT) -> None:
        self.config = config

    def compile(self, generator: Generator) -> Compiled:
        if not isinstance(generator, NeuralGenerator):
            return NumpyRuntime(self.config).compile(generator)
        return self._for(generator).compile(generator)

    def detector(self, generator: KeypointGenerator) -> Detector:
        return self._for(generator).detector(generator)

    def _for(self, generator: NeuralGenerator) -> NetworkRuntime:
        """On a GPU, else exported networks where there are some, else torch: imported weights come without."""
        try:
            return CudaRuntime(self.config)
        except RuntimeUnavailableError as error:
            logger.debug("%s", error)
        runtime = self._installed()
        try:
            for half in generator.network_specs():
                generator.graph_path(half)
        except WeightsError:
            try:
                return TorchRuntime(self.config)
            except RuntimeUnavailableError:
                return runtime  # which says what is missing
        return runtime

    def _installed(self) -> NetworkRuntime:
        reasons = []
        for kind in PREFERENCE:
            try:
                runtime = kind(self.config)
            except RuntimeUnavailableError as error:
                reasons.append(str(error))
            else:
                logger.info("networks are executed by %s, threads: %d", kind.name, self.config.thread_count())
                return runtime
        raise RuntimeUnavailableError(reasons[0])
