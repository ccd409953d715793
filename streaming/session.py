"""A call: joins a room, connects to the other peer, connects again when the network breaks, and ends with a goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.messages import ProtocolError
from streaming.peer import CallError, Peer, PeerConfig
from streaming.signalling import PeerLeft, PeerPresent, Signal, SignallingClient, SignallingError, UnreachableError
from streaming.statistics import PeerStatistics

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class SessionConfig:
    """One call."""

    url: str
    "http(s)://host:port of the signalling server; across networks https, as the token crosses it."
    room: str
    "Name of the room, 1 to 64 characters."
    token: str = field(repr=False)
    "Secret of the room, 8 to 128 characters; both sides must have the same."
    peer: PeerConfig = field(default_factory=PeerConfig)
    "How the connection is made."
    answer_timeout: float = 10.0
    "Seconds that an offer waits for its answer before another one is made."
    first_pause: float = 0.3
    "Seconds between a failed connection and the next attempt; doubles with each failure."
    longest_pause: float = 5.0
    "Seconds between two attempts, at most."
    absence_timeout: float = 60.0
    "Seconds after which the call ends if the other side does not come back."


class _Interrupted(Exception):
    """The other side begins anew."""


class Session:
    """A call in a room. `async with` joins it and leaves it; in between, it keeps itself connected.

    Entering raises the errors of `SignallingClient`. `ended` tells how it ends.
    """

    def __init__(self, config: SessionConfig, sender: MediaSender, receiver: MediaReceiver) -> None:
        self.config = config
        self.statistics = PeerStatistics()
        "Over all connections of the call."
        self.connections = 0
        "Connections that were made so far; more than one means that the call was reconnected."
        self._sender = sender
        self._receiver = receiver
        self._signalling = SignallingClient(config.url, config.room, config.token)
        self._peer: Peer | None = None
        self._other: str | None = None
        self._offerer = False
        self._present = asyncio.Event()
        self._connected = asyncio.Event()
        self._interrupt = asyncio.Event()
        self._offer: tuple[str, Any] | None = None
        self._answer: asyncio.Future[Any] | None = None
        self._attempt = ""
        self._seat_lost: SignallingError | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._ended: asyncio.Future[str | None] | None = None

    async def __aenter__(self) -> Self:
        await self._signalling.__aenter__()
        self._ended = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._run())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now. While there is none, what is sent is dropped."""
        return self._connected.is_set()

    async def connected(self) -> None:
        """Wait until there is a connection. Raises what `ended` raises if the call ends before."""
        waiting = asyncio.ensure_future(self._connected.wait())
        ending = asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait((waiting, ending), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                ending.result()
                raise CallError("the call ended before it was connected")
        finally:
            waiting.cancel()
            ending.cancel()
            await asyncio.gather(waiting, ending, return_exceptions=True)

    async def ended(self) -> str | None:
        """Wait for the end of the call: the other side's reason when it left, or None after our own `leave`.

        Raises CallError if the other side is gone and does not come back, SignallingError if the seat in the room is
        lost while it is needed.
        """
        assert self._ended is not None, "the session has not begun: use it in `async with`"
        return await asyncio.shield(self._ended)

    async def leave(self, reason: str = "left") -> None:
        """Say goodbye, close the connection, leave the room. A second call does nothing."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        # Taken from the task that owns it, which would close it without a goodbye.
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.close(reason)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._signalling.close()
        if self._ended is not None and self._ended.done():
            self._ended.exception()

    async def _run(self) -> None:
        """Connect, again and again; how that ends is how the call ends."""
        assert self._ended is not None
        try:
            reason = await self._connect()
            if not self._ended.done():
                self._ended.set_result(reason)
        except Exception as error:
            if not self._ended.done():
                self._ended.set_exception(error)

    # Signalling.

    async def _listen(self) -> None:
        """Handle what comes over signalling, for as long as there is a seat."""
        try:
            while True:
                match await self._signalling.event():
                    case PeerPresent(member, offerer):
                        if member != self._other:
                            self._other, self._offerer, self._offer = member, offerer, None
                            self._interrupt.set()
                        self._present.set()
                    case PeerLeft():
                        self._present.clear()
                    case Signal(body):
                        self._signal(body)
        except SignallingError as error:
            # A connection that runs needs no signalling: the error counts when it is needed again.
            self._seat_lost = error
            self._present.set()
            self._interrupt_if_unconnected()

    def _interrupt_if_unconnected(self) -> None:
        if not self._connected.is_set():
            self._interrupt.set()

    def _signal(self, body: dict[str, Any]) -> None:
        match body:
            case {"kind": "offer", "attempt": str(attempt), "description": description} if not self._offerer:
                self._offer = (attempt[:64], description)
                self._interrupt.set()
            case {"kind": "answer", "attempt": str(attempt), "description": description} if self._offerer:
                if attempt == self._attempt and self._answer is not None and not self._answer.done():
                    self._answer.set_result(description)
            case {"kind": "restart", "attempt": str(attempt)} if self._offerer:
                # Only if it speaks of the connection that we still believe in.
                if attempt == self._attempt:
                    self._interrupt.set()
            case _:
                self.statistics.protocol_errors += 1

    # Connections, one after the other.

    async def _connect(self) -> str | None:
        failures = 0
        while True:
            await self._wait_for_other()
            offer = self._offer
            self._offer = None
            self._interrupt.clear()
            peer = self._peer = Peer(self.config.peer, self._sender, self._receiver, self.statistics)
            try:
                await self._unless_interrupted(self._negotiate(peer, offer))
                await self._unless_interrupted(peer.connected())
                failures = 0
                self.connections += 1
                self._connected.set()
                logger.info("connected to %s", peer.peer_name or "the other side")
                return await self._unless_interrupted(peer.ended())
            except _Interrupted:
                logger.info("the other side begins anew")
            except (CallError, ProtocolError, UnreachableError) as error:
                failures += 1
                logger.warning("not connected: %s", error)
            finally:
                self._connected.clear()
                if self._peer is peer:
                    self._peer = None
                    await peer.close()
            if failures:
                await self._ask_for_restart()
                pause = min(self.config.first_pause * 2 ** (failures - 1), self.config.longest_pause)
                # An offer that comes in the meantime need not wait.
                await _within(pause * random.uniform(0.8, 1.2), self._interrupt.wait())

    async def _wait_for_other(self) -> None:
        """Until the other side is in the room and, if it makes the offers, has made one."""
        if self.connections == 0:
            await self._present.wait()
        elif not await _within(self.config.absence_timeout, self._present.wait()):
            raise CallError(f"the other side has been gone for {self.config.absence_timeout:g} s; call again")
        while self._seat_lost is None and not self._offerer and self._offer is None:
            self._interrupt.clear()
            if not await _within(self.config.peer.connect_timeout, self._interrupt.wait()):
                await self._ask_for_restart()
                if self.connections and not self._present.is_set():
                    raise CallError("the other side is gone; call again")
        if self._seat_lost is not None:
            raise self._seat_lost

    async def _negotiate(self, peer: Peer, offer: tuple[str, Any] | None) -> None:
        if offer is not None:
            self._attempt, description = offer
            answer = await peer.accept_offer(description)
            await self._signalling.send({"kind": "answer", "attempt": self._attempt, "description": answer})
            return
        self._attempt = secrets.token_hex(8)
        self._answer = asyncio.get_running_loop().create_future()
        description = await peer.create_offer()
        await self._signalling.send({"kind": "offer", "attempt": self._attempt, "description": description})
        if not await _within(self.config.answer_timeout, asyncio.shield(self._answer)):
            raise CallError(f"the other side did not answer within {self.config.answer_timeout:g} s")
        await peer.accept_answer(self._answer.result())

    async def _ask_for_restart(self) -> None:
        """Ask the side that makes the offers for another one, if it can be asked."""
        if not self._offerer and self._present.is_set() and self._attempt:
            with contextlib.suppress(SignallingError):
                await self._signalling.send({"kind": "restart", "attempt": self._attempt}, within=2.0)

    async def _unless_interrupted(self, work: Awaitable[T]) -> T:
        """The result of the work, or _Interrupted as soon as the other side begins anew."""
        working = asyncio.ensure_future(work)
        interrupted = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait((working, interrupted), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise _Interrupted
        finally:
            for task in (working, interrupted):
                task.cancel()
            await asyncio.gather(working, interrupted, return_exceptions=True)


async def _within(seconds: float, waiting: Awaitable[Any]) -> bool:
    """Whether it came within so many seconds."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True
