"""A network's work recorded as a CUDA graph: all of its kernels are started by one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from engine.runtime.static_network import Replay

WARM_UP_RUNS = 3
"Before a capture, which forbids what first runs do: allocating, compiling kernels, trying algorithms out."


class CudaGraphs:
    """A `Capture` on a stream of its own; the graphs of one network share their memory, as they never run at once."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Replay) -> Replay:
        with _trying_algorithms():
            for _ in range(WARM_UP_RUNS):
                work()
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Other threads may allocate meanwhile, which a global capture would forbid them.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                outputs = work()

        def replay() -> tuple[Tensor, ...]:
            graph.replay()
            return outputs

        return replay

    def stream(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)


@contextmanager
def _trying_algorithms() -> Iterator[None]:
    """cuDNN measures which of its convolutions is the fastest for each shape, once; what is recorded stays that one."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
