"""Several participants' frames in one call of a network: whatever waits while it is busy is executed together next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from engine.generators.base import Tensors

Outputs = dict[str, NDArray[Any]]


@dataclass(eq=False)
class _Request:
    inputs: Tensors
    kind: Hashable
    rows: int
    outputs: Outputs | None = None
    error: BaseException | None = None

    @property
    def served(self) -> bool:
        return self.outputs is not None or self.error is not None


class BatchingNetwork:
    """A `Network` for any number of threads, one participant each.

    Nobody waits for others to come: a call finds the network free and runs at once, or queues up behind the one that is
    running and joins all that queue with it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Tensors]], list[Outputs]],
        kind: Callable[[Tensors], tuple[Hashable, int]],
        most: int,
    ) -> None:
        """run: executes requests of one kind, called by one thread at a time. kind: which requests may go together, and
        how many rows one has; raises for a request that is wrong. most: rows in one call, but that one request may have
        more."""
        self._run = run
        self._kind = kind
        self._most = most
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []

    def __call__(self, inputs: Tensors) -> Outputs:
        request = _Request(inputs, *self._kind(inputs))
        with self._lock:
            self._waiting.append(request)
        with self._turn:
            if not request.served:
                self._serve(self._together_with(request))
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _together_with(self, request: _Request) -> list[_Request]:
        """This request and those of its kind that wait, the longest first, taken off the queue."""
        taken, rows = [request], request.rows
        with self._lock:
            for other in self._waiting:
                if other is not request and other.kind == request.kind and rows + other.rows <= self._most:
                    taken.append(other)
                    rows += other.rows
            self._waiting = [other for other in self._waiting if other not in taken]
        return taken

    def _serve(self, requests: list[_Request]) -> None:
        try:
            results = self._run([request.inputs for request in requests])
        except BaseException as error:
            for request in requests:
                request.error = error
            return
        for request, outputs in zip(requests, results, strict=True):
            request.outputs = outputs
