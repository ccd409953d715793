"""The bad network does what its conditions say, and real calls survive it."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise

import pytest

from benchmarks.impaired_call import CallReport, Scenario, longest_freeze, run_call
from benchmarks.impaired_path import LOOPBACK, BurstLoss, ImpairedPath, PathConditions

pytestmark = pytest.mark.realtime

SDP = (
    "v=0\r\nm=audio 9 UDP\r\n"
    "a=candidate:1 1 udp 100 {ip} {port} typ host\r\na=candidate:2 1 udp 90 ::1 5 typ host\r\n"
    "a=mid:0\r\n"
)


class Peer(asyncio.DatagramProtocol):
    """A plain UDP socket that remembers what came, when and from where."""

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes, tuple[str, int]]] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, address) -> None:
        self.came.append((time.monotonic(), data, address))


async def two_peers(path: ImpairedPath):
    """Two sockets, and the address under which each sees the other."""
    loop = asyncio.get_running_loop()
    peers, seen = [], []
    for kind in ("offer", "answer"):
        transport, peer = await loop.create_datagram_endpoint(Peer, local_addr=(LOOPBACK, 0))
        ip, port = transport.get_extra_info("sockname")
        description = await path.rewrite({"type": kind, "sdp": SDP.format(ip=ip, port=port)})
        candidates = [line for line in description["sdp"].splitlines() if line.startswith("a=candidate")]
        assert len(candidates) == 1
        assert "a=mid:0" in description["sdp"]
        peers.append(peer)
        seen.append((candidates[0].split()[4], int(candidates[0].split()[5])))
    return peers, seen


@pytest.mark.parametrize("burst", [1.0, 4.0], ids=str)
@pytest.mark.parametrize("loss", [0.05, 0.2], ids=str)
def test_loss_has_the_rate_and_the_mean_burst_that_were_asked_for(loss, burst):
    chain = BurstLoss(random.Random(0))
    conditions = PathConditions(loss=loss, burst=burst)
    lost = [chain.loses(conditions) for _ in range(200_000)]
    bursts = sum(not a and b for a, b in pairwise(lost))
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.1)
    assert sum(lost) / bursts == pytest.approx(burst if burst > 1 else 1 / (1 - loss), rel=0.1)


async def test_datagrams_cross_in_both_directions_and_seem_to_come_from_the_other_peer():
    async with ImpairedPath() as path:
        (a, b), (seen_a, seen_b) = await two_peers(path)
        a.transport.sendto(b"to b", seen_b)
        b.transport.sendto(b"to a", seen_a)
        await asyncio.sleep(0.05)
        assert [entry[1:] for entry in b.came] == [(b"to b", seen_a)]
        assert [entry[1:] for entry in a.came] == [(b"to a", seen_b)]
        a.transport.close()
        b.transport.close()


async def test_delay_jitter_and_outage():
    async with ImpairedPath(PathConditions(delay=0.05, jitter=0.03)) as path:
        (a, b), (_, seen_b) = await two_peers(path)
        begin = time.monotonic()
        for number in range(50):
            a.transport.sendto(bytes([number]), seen_b)
        await asyncio.sleep(0.15)
        delays = [when - begin for when, _, _ in b.came]
        assert len(delays) == 50
        assert 0.045 < min(delays) < max(delays) < 0.12
        assert max(delays) - min(delays) > 0.01
        path.conditions = PathConditions(outage=True)
        a.transport.sendto(b"lost", seen_b)
        await asyncio.sleep(0.15)
        assert len(b.came) == 50
        assert (path.counters.passed, path.counters.lost) == (50, 1)
        a.transport.close()
        b.transport.close()


@pytest.mark.parametrize("values", [{"loss": 1.0}, {"burst": 0.5}, {"delay": -1.0}], ids=str)
def test_conditions_that_make_no_sense_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        PathConditions(**values)


async def test_description_without_a_candidate_is_refused():
    async with ImpairedPath() as path:
        with pytest.raises(ValueError, match="no IPv4 UDP candidate"):
            await path.rewrite({"type": "offer", "sdp": "v=0\r\n"})


def test_freeze_is_the_longest_time_without_an_advance():
    shown = [(0.0, 5.0), (0.1, 5.1), (0.2, 5.1), (0.5, 5.1), (0.6, 5.5), (0.7, 5.6)]
    assert longest_freeze(shown) == pytest.approx(0.5)
    assert longest_freeze([]) == 0.0


# Real calls in real time. A machine that stalls itself says nothing about them: then one more is tried, and at last the
# test is skipped. `benchmarks.impaired_call` prints the figures.


async def judged_call(scenario: Scenario, script=None) -> CallReport:
    for _ in range(2):
        report = await run_call(scenario, script)
        if report.machine_late["p95"] < 0.01 and report.machine_late["max"] < 0.05:
            return report
    pytest.skip(f"this machine is too busy for real time: up to {report.machine_late['max'] * 1000:.0f} ms late")


async def test_call_without_loss_stays_in_sync_with_little_delay():
    report = await judged_call(Scenario("no loss", seconds=4.0))
    assert report.motion_received == report.motion_sent
    assert report.voice_lost == 0
    assert report.longest_freeze < 0.1
    assert report.playout_delay["p50"] < 0.08
    assert report.capture_to_display["p95"] < 0.12
    assert -0.04 < report.skew["p05"] < report.skew["p95"] < 0.04


@pytest.mark.parametrize("loss", [0.05, 0.2], ids=str)
async def test_loss_never_freezes_the_head_and_does_not_lengthen_the_delay(loss):
    report = await judged_call(Scenario("loss", seconds=5.0, conditions=PathConditions(loss=loss)))
    assert report.motion_received < report.motion_sent
    assert report.voice_lost > 0
    assert report.longest_freeze < (0.2 if loss == 0.05 else 0.45)
    assert report.playout_delay_at_end < 0.1
    assert -0.04 < report.skew["p50"] < 0.04


async def test_outage_freezes_the_head_no_longer_than_itself_and_is_caught_up():
    report = await judged_call(Scenario("outage", seconds=5.0, outage=0.5))
    assert report.longest_freeze < 0.5 + 0.1
    assert report.playout_delay_at_end < 0.08
    assert report.capture_to_display["p50"] < 0.12
    assert -0.04 < report.skew["p50"] < 0.04


async def test_call_over_200_ms_of_round_trip_works():
    report = await judged_call(Scenario("far", seconds=4.0, conditions=PathConditions(delay=0.1)))
    assert report.motion_received > 0.9 * report.motion_sent
    assert report.capture_to_display["p50"] == pytest.approx(0.165, abs=0.05)
    assert report.longest_freeze < 0.15


async def test_delay_returns_after_a_time_of_loss_and_jitter():
    async def bad_weather(path: ImpairedPath) -> None:
        await asyncio.sleep(1.0)
        path.conditions = PathConditions(loss=0.1, burst=3, jitter=0.06)
        await asyncio.sleep(1.5)
        path.conditions = PathConditions()

    report = await judged_call(Scenario("bad weather", seconds=9.0), bad_weather)
    assert report.playout_delay["max"] > 0.07
    assert report.playout_delay_at_end < 0.06
