"""Arrays of an identity that stay on the GPU: copied when they are first rendered from, kept as long as they live."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Layout = tuple[torch.dtype, bool]
"The type, and whether channels are together in memory."


@dataclass(frozen=True, eq=False)
class _Entry:
    array: weakref.ref[NDArray[Any]]
    tensors: dict[Layout, Tensor] = field(default_factory=dict)


class ResidentArrays:
    """Known by the array object itself, not by its content: what is adopted must not be written to afterwards."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many arrays are known."""
        return len(self._entries)

    def adopt(self, arrays: Iterable[NDArray[Any]]) -> None:
        """From now on `tensor` knows these arrays, until nobody else does."""
        for array in arrays:
            number = id(array)
            with self._lock:
                if number not in self._entries:
                    self._entries[number] = _Entry(weakref.ref(array, self._forgetting(number)))

    def tensor(self, array: NDArray[Any], layout: Layout, upload: Callable[[NDArray[Any]], Tensor]) -> Tensor | None:
        """The copy of an adopted array, made by `upload` if there is none in this layout; None for other arrays."""
        with self._lock:
            entry = self._entries.get(id(array))
            if entry is None or entry.array() is not array:
                return None
            if layout not in entry.tensors:
                entry.tensors[layout] = upload(array)
            return entry.tensors[layout]

    def _forgetting(self, number: int) -> Callable[[object], None]:
        # Not under the lock: arrays die at any moment, also while this thread holds it. One step of a dict is atomic.
        entries = self._entries

        def forget(_: object) -> None:
            entries.pop(number, None)

        return forget
