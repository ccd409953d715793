"""Distributions and the table that reports are made from."""

from __future__ import annotations

import json
import math

import pytest

from streaming.statistics import (
    Distribution,
    PayloadCount,
    PeerStatistics,
    ReceiverStatistics,
    SenderStatistics,
    as_table,
)


def test_summary_of_known_values():
    distribution = Distribution()
    for value in range(101):
        distribution.add(float(value))
    assert distribution.summary() == {"min": 0, "p05": 5, "p50": 50, "p95": 95, "max": 100, "n": 101}


def test_only_the_newest_values_are_kept():
    distribution = Distribution(capacity=10)
    for value in range(100):
        distribution.add(float(value))
    assert (len(distribution), distribution.quantile(0.0)) == (10, 90)


def test_nothing_measured_is_not_a_number():
    assert math.isnan(Distribution().quantile(0.5))


def test_payload_is_counted():
    count = PayloadCount()
    count.add(b"12345")
    count.add(b"")
    assert (count.packets, count.bytes) == (2, 5)


@pytest.mark.parametrize("kind", [SenderStatistics, ReceiverStatistics, PeerStatistics])
def test_table_is_plain_and_has_every_figure(kind):
    statistics = kind()
    table = json.loads(json.dumps(as_table(statistics)))
    assert table.keys() == vars(statistics).keys()


def test_table_reaches_into_the_wire_counters():
    statistics = PeerStatistics()
    statistics.wire.sent["voice"].packets = 3
    assert as_table(statistics)["wire"]["sent"]["voice"] == {"packets": 3, "bytes": 0}
