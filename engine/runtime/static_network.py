"""A network on buffers that stay where they are, as a CUDA graph wants it: one set for each batch size."""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.generators.base import Tensors
from engine.generators.neural import NetworkSpec, TensorSpec
from engine.runtime.batching import Outputs
from engine.runtime.resident import ResidentArrays

logger = logging.getLogger(__name__)

Replay = Callable[[], tuple[Tensor, ...]]
"Executes a network on its static inputs; what it returns is overwritten by the next call."
Lengths = tuple[int, ...]
"Of the axes with a name, in the order in which the inputs name them."

BATCHES = (1, 2, 4, 8, 16)


class Capture(Protocol):
    """How a network is made ready for one set of buffers."""

    def __call__(self, work: Replay) -> Replay:
        """Raises RuntimeError where this work cannot be captured."""

    def stream(self) -> AbstractContextManager[object]:
        """In which all of the network's work is done."""


@dataclass(frozen=True)
class StaticConfig:
    """What is variable about the buffers."""

    batches: tuple[int, ...] = BATCHES
    "Batch sizes that are executed; others are filled up to the next, or divided."
    shapes_kept: int = 8
    "Sets of buffers and graphs that are kept, the latest used."

    def __post_init__(self) -> None:
        if not self.batches or list(self.batches) != sorted(set(self.batches)) or self.batches[0] < 1:
            raise ValueError(f"batches: expected increasing numbers from 1 on, got {self.batches}")
        if self.shapes_kept < 1:
            raise ValueError("shapes_kept: at least 1")


@dataclass(eq=False)
class _Input:
    """The buffer of one input, and what is in each of its slots."""

    buffer: Tensor
    staging: Tensor
    "Of the same shape in the host's memory, from which the GPU reads by itself."
    held: list[tuple[weakref.ref[Tensor], int] | None]
    "The resident tensor and its row that a slot has a copy of."


@dataclass(frozen=True, eq=False)
class _Bound:
    """One set of buffers with its executable."""

    inputs: Mapping[str, _Input]
    replay: Replay
    results: tuple[Tensor, ...]
    "Of the outputs' shapes, in the host's memory and the specification's types."


class StaticNetwork:
    """A network's module on a device, numpy in and out. One thread at a time: see `BatchingNetwork`.

    Inputs go into a slot each of buffers that are allocated once, so that a call neither allocates nor compiles. Slots
    of a batch that nobody asked for keep what was in them; what comes out of them is dropped.
    """

    def __init__(
        self,
        module: nn.Module,
        spec: NetworkSpec,
        device: str | torch.device = "cpu",
        *,
        types: Mapping[str, torch.dtype] | None = None,
        capture: Capture | None = None,
        resident: ResidentArrays | None = None,
        config: StaticConfig = StaticConfig(),
    ) -> None:
        """module: takes the inputs in order and returns a tuple. types: of inputs that are kept in another type than
        the specification's because a network made them in that; maps among them have their channels together. capture:
        without, the network is executed step by step."""
        self._device = torch.device(device)
        self.module = module.to(self._device)
        self._spec = spec
        self._types = types or {}
        self._capture = capture
        self._stream: Callable[[], AbstractContextManager[object]] = capture.stream if capture else nullcontext
        self._resident = ResidentArrays() if resident is None else resident
        self._config = config
        self._axes = list(dict.fromkeys(n for entry in spec.inputs for n in entry.shape if isinstance(n, str)))
        self._bound: OrderedDict[tuple[int, Lengths], _Bound] = OrderedDict()

    @property
    def most(self) -> int:
        """Rows of the largest batch."""
        return self._config.batches[-1]

    def kind(self, inputs: Tensors) -> tuple[Lengths, int]:
        """The lengths of the named axes, and the rows. Raises ValueError for inputs that do not fit the network."""
        lengths: dict[str, int] = {}
        for entry in self._spec.inputs:
            array, axes = inputs[entry.name], ("batch", *entry.shape)
            fits = array.dtype == entry.dtype and array.ndim == len(axes) and array.size > 0
            for axis, length in zip(axes, array.shape, strict=False):
                fits = fits and length == (lengths.setdefault(axis, length) if isinstance(axis, str) else axis)
            if not fits:
                raise ValueError(
                    f"input {entry.name}: expected {entry.dtype.__name__} {list(axes)}, axes of one name as long as "
                    f"those of the other inputs; got {array.dtype} {list(array.shape)}"
                )
        return tuple(lengths[axis] for axis in self._axes), lengths["batch"]

    def run(self, requests: Sequence[Tensors]) -> list[Outputs]:
        """What the network makes of requests of one `kind`, all together: for each its outputs, to keep."""
        lengths, _ = self.kind(requests[0])
        counts = [self.kind(inputs)[1] for inputs in requests]
        rows = [(inputs, row) for inputs, count in zip(requests, counts, strict=True) for row in range(count)]
        parts = []
        with self._working():
            for begin in range(0, len(rows), self.most):
                some = rows[begin : begin + self.most]
                bound = self._for(len(some), lengths)
                self._fill(bound, some)
                parts.append(self._fetch(bound, len(some)))
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if len(requests) == 1:
            return [whole]
        divided = {name: np.split(array, np.cumsum(counts)[:-1]) for name, array in whole.items()}
        # A copy each: who keeps one participant's frame must not keep all.
        return [{name: arrays[k].copy() for name, arrays in divided.items()} for k in range(len(requests))]

    def replay(self, batch: int, lengths: Lengths = ()) -> Replay:
        """The executable alone, on its own buffers: what benchmarks measure. To be called in `stream`."""
        with self._working():
            return self._for(batch, lengths or (1,) * len(self._axes)).replay

    def buffers(self, batch: int, lengths: Lengths = ()) -> list[Tensor]:
        """The module's static inputs of one shape, with what was last put in."""
        with self._working():
            bound = self._for(batch, lengths or (1,) * len(self._axes))
            return [given.buffer for given in bound.inputs.values()]

    def stream(self) -> AbstractContextManager[object]:
        """In which the network's work is done."""
        return self._stream()

    def output_types(self) -> dict[str, torch.dtype]:
        """In which the network itself makes its outputs."""
        with self._working():
            outputs = self._for(1, (1,) * len(self._axes)).replay()
            return {entry.name: output.dtype for entry, output in zip(self._spec.outputs, outputs, strict=True)}

    @contextmanager
    def _working(self) -> Iterator[None]:
        with torch.inference_mode(), self._stream():
            yield

    def _for(self, rows: int, lengths: Lengths) -> _Bound:
        batch = padded(rows, self._config.batches)
        key = batch, lengths
        if key in self._bound:
            self._bound.move_to_end(key)
            return self._bound[key]
        if len(self._bound) == self._config.shapes_kept:
            self._bound.popitem(last=False)
        self._bound[key] = self._bind(batch, dict(zip(self._axes, lengths, strict=True)))
        return self._bound[key]

    def _bind(self, batch: int, lengths: Mapping[str, int]) -> _Bound:
        inputs = {entry.name: self._input(entry, batch, lengths) for entry in self._spec.inputs}
        arguments = [entry.buffer for entry in inputs.values()]

        def work() -> tuple[Tensor, ...]:
            outputs: tuple[Tensor, ...] = self.module(*arguments)
            return outputs

        replay = self._recorded(work)
        results = tuple(
            torch.empty(output.shape, dtype=_torch_type(entry), pin_memory=self._device.type == "cuda")
            for entry, output in zip(self._spec.outputs, replay(), strict=True)
        )
        return _Bound(inputs, replay, results)

    def _recorded(self, work: Replay) -> Replay:
        if self._capture is None:
            return work
        try:
            return self._capture(work)
        except RuntimeError as error:
            first_line = str(error).strip().partition("\n")[0]
            logger.warning("a network cannot be recorded (%s): it runs step by step, slower", first_line)
            self._capture = None
            return work

    def _input(self, entry: TensorSpec, batch: int, lengths: Mapping[str, int]) -> _Input:
        shape = (batch, *(lengths[n] if isinstance(n, str) else n for n in entry.shape))
        dtype, together = self._layout(entry)
        empty = empty_maps if together else torch.empty
        # Zeros, as slots that nobody fills are computed too.
        buffer = empty(shape, dtype=dtype, device=self._device).zero_()
        staging = torch.zeros(shape, dtype=_torch_type(entry), pin_memory=self._device.type == "cuda")
        return _Input(buffer, staging, [None] * batch)

    def _layout(self, entry: TensorSpec) -> tuple[torch.dtype, bool]:
        return self._types.get(entry.name, _torch_type(entry)), entry.name in self._types and len(entry.shape) >= 3

    def _fill(self, bound: _Bound, rows: Sequence[tuple[Tensors, int]]) -> None:
        for entry in self._spec.inputs:
            given = bound.inputs[entry.name]
            new = [slot for slot, row in enumerate(rows) if not self._from_resident(entry, given, slot, *row)]
            staged = given.staging.numpy()
            for slot in new:
                inputs, row = rows[slot]
                staged[slot] = inputs[entry.name][row]
                given.held[slot] = None
            # All at once where it can be.
            parts = [slice(0, len(rows))] if len(new) == len(rows) else [slice(slot, slot + 1) for slot in new]
            for part in parts:
                source = given.staging[part]
                if self._layout(entry) != (source.dtype, False):
                    source = source.to(self._device, non_blocking=True)  # so that it is not converted by the host
                given.buffer[part].copy_(source, non_blocking=True)

    def _from_resident(self, entry: TensorSpec, given: _Input, slot: int, inputs: Tensors, row: int) -> bool:
        """Whether the slot now has what a resident tensor has, copied only if it did not have it before."""
        dtype, together = self._layout(entry)

        def upload(array: NDArray[Any]) -> Tensor:
            there = torch.from_numpy(np.ascontiguousarray(array)).to(self._device, dtype)
            return empty_maps(there.shape, dtype=dtype, device=self._device).copy_(there) if together else there

        tensor = self._resident.tensor(inputs[entry.name], (dtype, together), upload)
        if tensor is None:
            return False
        before = given.held[slot]
        if before is None or before[0]() is not tensor or before[1] != row:
            given.buffer[slot].copy_(tensor[row])
            given.held[slot] = weakref.ref(tensor), row
        return True

    def _fetch(self, bound: _Bound, rows: int) -> Outputs:
        """Executes, and the first rows of what comes out."""
        for output, result in zip(bound.replay(), bound.results, strict=True):
            # Converted and put in order before it is copied: the host would take longer.
            result[:rows].copy_(output[:rows].to(result.dtype).contiguous(), non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return {
            entry.name: result[:rows].numpy().copy()
            for entry, result in zip(self._spec.outputs, bound.results, strict=True)
        }


def padded(rows: int, batches: Sequence[int]) -> int:
    """The smallest of the batch sizes that has room for so many rows. Raises ValueError for more than the largest."""
    for batch in batches:
        if rows <= batch:
            return batch
    raise ValueError(f"{rows} rows: the largest batch has {batches[-1]}")


def empty_maps(shape: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(..., C, H, W), uninitialised, with the channels of a position together in memory."""
    *others, channels, height, width = shape
    return torch.empty((*others, height, width, channels), dtype=dtype, device=device).movedim(-1, -3)


def _torch_type(entry: TensorSpec) -> torch.dtype:
    return torch.from_numpy(np.empty(0, entry.dtype)).dtype
