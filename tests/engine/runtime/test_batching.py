"""What waits is executed together; everybody gets his own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from engine.runtime.batching import BatchingNetwork


class Doubling:
    """Doubles `x`; holds the first call until `release`, and remembers the rows of each."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun, self.release = threading.Event(), threading.Event()

    def run(self, requests: Sequence[Any]) -> list[dict[str, np.ndarray]]:
        self.calls.append([len(request["x"]) for request in requests])
        self.begun.set()
        assert self.release.wait(20)
        if any((request["x"] == 13).any() for request in requests):
            raise ArithmeticError("thirteen")
        return [{"y": 2 * request["x"]} for request in requests]

    def kind(self, inputs: Any) -> tuple[str, int]:
        if inputs["x"].ndim != 1:
            raise ValueError("one axis")
        return str(inputs["x"].dtype), len(inputs["x"])


def submitted(network: BatchingNetwork, first: Any, others: Sequence[Any], doubling: Doubling) -> list[Any]:
    """Futures: the first call is running while the others come, all of which wait before it ends."""
    pool = ThreadPoolExecutor(1 + len(others))
    futures = [pool.submit(network, {"x": first})]
    assert doubling.begun.wait(20)
    futures += [pool.submit(network, {"x": one}) for one in others]
    for _ in range(2000):
        if len(network._waiting) == len(others):
            break
        threading.Event().wait(0.005)
    assert len(network._waiting) == len(others)
    doubling.release.set()
    pool.shutdown(wait=True)
    return futures


def test_calls_that_come_while_it_is_busy_are_executed_together() -> None:
    doubling = Doubling()
    network = BatchingNetwork(doubling.run, doubling.kind, most=16)
    given = [np.array([k]) for k in range(6)]
    for future, array in zip(submitted(network, given[0], given[1:], doubling), given, strict=True):
        np.testing.assert_array_equal(future.result()["y"], 2 * array)
    assert doubling.calls == [[1], [1] * 5]


def test_no_more_rows_together_than_fit_and_no_other_kinds() -> None:
    doubling = Doubling()
    network = BatchingNetwork(doubling.run, doubling.kind, most=4)
    others = [np.zeros(3, int), np.zeros(2, int), np.ones(1, int), np.zeros(9, int), np.zeros(1), np.zeros(2)]
    for future, array in zip(submitted(network, np.zeros(1, int), others, doubling)[1:], others, strict=True):
        assert future.result()["y"].shape == array.shape
        assert future.result()["y"].dtype == array.dtype
    assert sorted(row for call in doubling.calls for row in call) == [1, 1, 1, 2, 2, 3, 9]
    assert all(sum(call) <= 4 or len(call) == 1 for call in doubling.calls)
    assert len(doubling.calls) <= 5  # [1], [9], the two of floats, and three of whole numbers in two calls


def test_an_error_is_everybodys_who_was_in_the_call_and_nobody_elses() -> None:
    doubling = Doubling()
    network = BatchingNetwork(doubling.run, doubling.kind, most=16)
    futures = submitted(network, np.array([0]), [np.array([1]), np.array([13])], doubling)
    assert futures[0].result()["y"] == 0
    for future in futures[1:]:
        with pytest.raises(ArithmeticError, match="thirteen"):
            future.result()
    assert network({"x": np.array([4])})["y"] == 8  # it goes on


def test_a_wrong_request_does_not_queue() -> None:
    doubling = Doubling()
    network = BatchingNetwork(doubling.run, doubling.kind, most=16)
    with pytest.raises(ValueError, match="one axis"):
        network({"x": np.zeros((1, 1))})
    doubling.release.set()
    assert network({"x": np.array([2])})["y"] == 4
    assert doubling.calls == [[1]]
