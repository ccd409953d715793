"""How long a network takes on a GPU, by the GPU's own clock, and how many participants it could serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

RATE = 25.0
"Frames a second of a stream."
REPEATS = 300
WARM_UP = 10
MOST_SECONDS = 3.0
"That are spent on one measurement; it then has fewer repeats."

Timer = Callable[[Callable[[], Any]], list[float]]
"Seconds of each of several executions of some work."


def event_seconds(work: Callable[[], Any], repeats: int = REPEATS, most_seconds: float = MOST_SECONDS) -> list[float]:
    """On the current stream, from the GPU's reaching the work to its having done it.

    Where the processor starts kernels more slowly than they run, that is part of it.
    """
    one = _rehearsed(work)
    pairs = []
    for _ in range(_count(one, repeats, most_seconds)):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        pairs.append((begin, end))
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]


def wall_seconds(work: Callable[[], Any], repeats: int = REPEATS, most_seconds: float = MOST_SECONDS) -> list[float]:
    """By the processor's clock: for work that returns when it is done."""
    durations = []
    for _ in range(_count(_rehearsed(work), repeats, most_seconds)):
        begin = time.perf_counter()
        work()
        durations.append(time.perf_counter() - begin)
    return durations


def summary(durations: Sequence[float], batch: int) -> dict[str, float]:
    """The figures of one measurement. durations: in seconds, at least one, of calls with so many rows.

    `spread` is the distance from the 5th to the 95th percentile as a share of the median.
    """
    low, median, high, highest = (float(value) for value in np.quantile(durations, (0.05, 0.5, 0.95, 0.99)))
    return {
        "n": len(durations),
        "p50_ms": 1e3 * median,
        "p95_ms": 1e3 * high,
        "p99_ms": 1e3 * highest,
        "spread": (high - low) / median,
        "fps": batch / median,
    }


def streams(by_batch: Mapping[int, Mapping[str, float]], rate: float = RATE) -> int:
    """How many streams get each frame within a frame's time: of the best batch size, as many calls as fit, by p95.

    by_batch: what `summary` returned for each batch size.
    """
    period_ms = 1e3 / rate
    return max((batch * int(period_ms // figures["p95_ms"]) for batch, figures in by_batch.items()), default=0)


def _rehearsed(work: Callable[[], Any]) -> float:
    """Seconds of one execution, after some that are not counted."""
    for _ in range(2):
        work()
    _wait()
    begin = time.perf_counter()
    for _ in range(WARM_UP):
        work()
    _wait()
    return (time.perf_counter() - begin) / WARM_UP


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _count(one: float, repeats: int, most_seconds: float) -> int:
    return max(1, min(repeats, int(most_seconds / max(one, 1e-9))))
