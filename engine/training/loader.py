"""Training batches, made in processes of their own, in an order that seed and step alone decide."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from engine.training.task import SampleSource

# A forked process shares the memory-mapped clips; a spawned one would be sent a copy.
_START_METHOD = "fork" if sys.platform == "linux" else "spawn"
_AHEAD = 3
"Batches that each process may be ahead."


class _Batches(Dataset[dict[str, Tensor]]):
    """The batch of each step."""

    def __init__(self, source: SampleSource, seed: int, size: int) -> None:
        self._source = source
        self._seed = seed
        self._size = size

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        arrays = self._source.batch(np.random.default_rng((self._seed, step)), self._size)
        # Views of a memory-mapped file cannot be written to, which torch does not take.
        return {name: torch.from_numpy(np.require(array, requirements=("C", "W"))) for name, array in arrays.items()}


def batches(
    source: SampleSource, seed: int, steps: range, size: int, workers: int, device: torch.device
) -> Iterator[Mapping[str, Tensor]]:
    """The batches of these steps in order, on the device: each a function of (seed, step), whatever `workers` is."""
    loader = DataLoader(
        _Batches(source, seed, size),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        multiprocessing_context=_START_METHOD if workers else None,
        worker_init_fn=_start_worker,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else the loader draws from the generator that training draws from
    )
    for batch in loader:
        yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def _start_worker(_number: int) -> None:
    # One thread each: the cores belong to the training.
    import cv2

    cv2.setNumThreads(0)
    if sys.platform != "win32":
        # Ctrl-C reaches all processes of a group, and only the one that trains is to answer it, by saving.
        os.setpgrp()
        os.nice(5)
