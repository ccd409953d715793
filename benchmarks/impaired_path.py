"""A bad network on loopback: a UDP relay between two peers that loses, delays and interrupts.

It puts itself between two peers by rewriting the candidates in their session descriptions, so that every datagram of
the call (media, data channels, ICE checks) passes it. Nothing of the system's network is touched.

    async with ImpairedPath(PathConditions(loss=0.05, delay=0.05)) as path:
        offer = await path.rewrite(await a.create_offer())
        answer = await path.rewrite(await b.accept_offer(offer))
        ...
        path.conditions = PathConditions(outage=True)     # at any time
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

from streaming.signalling import SignallingServer

LOOPBACK = "127.0.0.1"
WAITING_LIMIT = 10_000
"Datagrams on their way at most; more are lost, like in any router."


@dataclass(frozen=True)
class PathConditions:
    """What happens to datagrams, in both directions alike."""

    loss: float = 0.0
    "Share of the datagrams that are lost."
    burst: float = 1.0
    "Mean number of datagrams that are lost in a row; 1 is random loss."
    delay: float = 0.0
    "Seconds one way."
    jitter: float = 0.0
    "Seconds: each datagram is delayed by up to so much more, evenly distributed; they may overtake one another."
    outage: bool = False
    "Nothing passes."

    def __post_init__(self) -> None:
        if not 0 <= self.loss < 1 or self.burst < 1 or self.delay < 0 or self.jitter < 0:
            raise ValueError(f"expected loss in [0, 1), burst of at least 1, delays of at least 0: {self}")


class BurstLoss:
    """Decides one datagram after the other: a two-state chain whose lossy state loses all (Gilbert, 1960)."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._lossy = False

    def loses(self, conditions: PathConditions) -> bool:
        if conditions.outage:
            return True
        if conditions.loss == 0:
            self._lossy = False
        elif conditions.burst == 1:
            self._lossy = self._random.random() < conditions.loss
        elif self._lossy:
            self._lossy = self._random.random() >= 1 / conditions.burst
        else:
            begin = conditions.loss / (1 - conditions.loss) / conditions.burst
            self._lossy = self._random.random() < begin
        return self._lossy


@dataclass
class PathCounters:
    """Datagrams in both directions."""

    passed: int = 0
    lost: int = 0


@dataclass(eq=False)
class _Port(asyncio.DatagramProtocol):
    """Stands for one peer: what comes here is for him, and leaves from the port that stands for the one who sent it."""

    path: ImpairedPath
    peer_address: tuple[str, int]
    transport: asyncio.DatagramTransport | None = None
    other: _Port | None = None
    loss: BurstLoss = field(init=False)

    def __post_init__(self) -> None:
        self.loss = BurstLoss(random.Random(self.path.random.random()))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.other is not None:
            self.path._carry(self, self.other, data)


class ImpairedPath:
    """The relay between one pair of peers at a time. `async with` opens and closes it."""

    def __init__(self, conditions: PathConditions | None = None, seed: int = 0) -> None:
        self.conditions = conditions or PathConditions()
        self.counters = PathCounters()
        self.random = random.Random(seed)
        self._ports: list[_Port] = []
        self._waiting: set[asyncio.TimerHandle] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all ports; what is on its way is lost."""
        for handle in self._waiting:
            handle.cancel()
        self._waiting.clear()
        for port in self._ports:
            if port.transport is not None:
                port.transport.close()
        self._ports.clear()

    async def rewrite(self, description: dict[str, Any]) -> dict[str, Any]:
        """A session description, as the other side is to see it: its only candidate is a port of this path.

        Offer first, then its answer; another offer begins the path for another connection (the old one goes on).
        """
        port = _Port(self, _first_candidate(description["sdp"]))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: port, local_addr=(LOOPBACK, 0))
        assert port.transport is not None
        if description["type"] == "answer":
            offerer = next(p for p in reversed(self._ports) if p.other is None)
            port.other, offerer.other = offerer, port
        self._ports.append(port)
        number = port.transport.get_extra_info("sockname")[1]
        return {**description, "sdp": _with_only_candidate(description["sdp"], LOOPBACK, number)}

    def _carry(self, port: _Port, other: _Port, data: bytes) -> None:
        conditions = self.conditions
        if port.loss.loses(conditions) or len(self._waiting) >= WAITING_LIMIT:
            self.counters.lost += 1
            return
        self.counters.passed += 1
        delay = conditions.delay + self.random.random() * conditions.jitter
        if delay == 0:
            self._deliver(port, other, data)
            return
        loop = asyncio.get_running_loop()

        def deliver() -> None:
            self._waiting.discard(handle)
            self._deliver(port, other, data)

        handle = loop.call_later(delay, deliver)
        self._waiting.add(handle)

    @staticmethod
    def _deliver(port: _Port, other: _Port, data: bytes) -> None:
        # From the port that the receiver knows as its peer, so that its replies come back this way.
        if other.transport is not None and not other.transport.is_closing():
            other.transport.sendto(data, port.peer_address)


class ImpairedSignallingServer(SignallingServer):
    """A signalling server that puts the path between the peers of a room."""

    def __init__(self, path: ImpairedPath) -> None:
        super().__init__()
        self._path = path

    async def forward(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "description": await self._path.rewrite(body["description"])} if "description" in body else body


def _first_candidate(sdp: str) -> tuple[str, int]:
    for line in sdp.splitlines():
        parts = line.split()
        if line.startswith("a=candidate:") and len(parts) >= 6 and parts[2].lower() == "udp" and ":" not in parts[4]:
            return parts[4], int(parts[5])
    raise ValueError("the session description has no IPv4 UDP candidate to put the path before")


def _with_only_candidate(sdp: str, address: str, port: int) -> str:
    lines = []
    written = False
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            if not written:
                lines.append(f"a=candidate:1 1 udp 2130706431 {address} {port} typ host")
                written = True
            continue
        if line.startswith("m="):
            written = False
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"
