"""How two peers find each other: a small server with rooms, and the client that stays connected to it.

A room is a name and a secret token. Whoever joins first makes the room with his token; a second peer must show the same
one. There are at most two peers in a room. The server passes their messages on without looking into them; media never
crosses it. One WebSocket a peer, JSON objects in text frames:

    peer -> server   {"type": "join", "room": ..., "token": ..., "member": ...}      first, once
                     {"type": "signal", "body": {...}}                                to the other peer
    server -> peer   {"type": "joined"}
                     {"type": "peer", "member": ..., "offerer": true | false}         the other peer is there
                     {"type": "peer-left"}
                     {"type": "signal", "body": {...}}
                     {"type": "error", "code": ..., "message": ...}                   and the end

A *member* is a random secret that a peer keeps while it lives: it gets its own seat back after a network change.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import json
import logging
import math
import random
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

logger = logging.getLogger(__name__)

PATH = "/signalling"
NAME_LIMIT = 64
TOKEN_LEAST = 8
TOKEN_LIMIT = 128


class SignallingError(ConnectionError):
    """Signalling failed. `code` says how, the message what to do about it."""

    code = "signalling"


class WrongTokenError(SignallingError):
    """The room exists and has another token."""

    code = "wrong-token"


class RoomFullError(SignallingError):
    """Two others are in the room."""

    code = "room-full"


class RefusedError(SignallingError):
    """The server refused for another reason, which the message tells."""

    code = "refused"


class UnreachableError(SignallingError):
    """There is no signalling server at this address."""

    code = "unreachable"


class PortInUseError(OSError):
    """The port to listen on is taken by another program."""


_ERRORS: dict[str, type[SignallingError]] = {
    error.code: error for error in (WrongTokenError, RoomFullError, RefusedError)
}


def new_token() -> str:
    """A secret for a new room: 128 random bits as 32 hexadecimal digits.

    In base 64 one token in 64 begins with a dash, and a command line takes it for an option.
    """
    return secrets.token_hex(16)


@dataclass(frozen=True)
class SignallingConfig:
    """Bounds of the server."""

    message_bytes: int = 65_536
    "Largest message; a session description has some 3 kB."
    messages_per_second: float = 20.0
    "Messages a peer may send in the long run; more close its connection."
    burst: int = 60
    "Messages that it may send at once."
    rooms: int = 1_000
    "Rooms at a time."
    join_timeout: float = 10.0
    "Seconds within which a new connection must join."
    empty_room_expiry: float = 60.0
    "Seconds for which an empty room keeps its token, so that nobody takes it from a peer that reconnects."
    idle_room_expiry: float = 6 * 3600.0
    "Seconds after the last message at which a room ends. A call that runs does not need it."
    wrong_tokens: int = 20
    "Wrong tokens that a room takes within a minute; then it refuses newcomers for the rest of the minute."


class _Refusal(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(eq=False)
class _Seat:
    member: str
    socket: web.WebSocketResponse


@dataclass(eq=False)
class _Room:
    name: str
    token: str
    seats: list[_Seat] = field(default_factory=list)
    used: float = 0.0
    failures: deque[float] = field(default_factory=deque)


class RateLimit:
    """A token bucket: `rate` a second in the long run, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._filled = -math.inf

    def allows(self, now: float) -> bool:
        """Whether one more may pass at local time `now`; counts it if so."""
        self._left = min(self._left + (now - self._filled) * self._rate, float(self._burst))
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class SignallingServer:
    """The server. `async with SignallingServer(host, port) as server:` listens until the end of the block."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, config: SignallingConfig | None = None) -> None:
        """port: 0 takes a free one, which `port` tells after the start."""
        self.host = host
        self.port = port
        self.config = config or SignallingConfig()
        self._rooms: dict[str, _Room] = {}
        self._runner: web.AppRunner | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises PortInUseError if the port is taken, OSError if the address is none of this machine."""
        application = web.Application(client_max_size=self.config.message_bytes)
        application.router.add_get(PATH, self._serve)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.host, self.port)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    errno.EADDRINUSE,
                    f"port {self.port} on {self.host} is taken by another program; stop it or choose another port",
                ) from None
            raise
        addresses = runner.addresses
        self.port = int(addresses[0][1])
        self._runner = runner
        self._sweeping = asyncio.create_task(self._sweep())
        logger.info("signalling at %s", self.url)

    async def close(self) -> None:
        """Close all connections and stop listening. A second call does nothing."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
            self._sweeping = None
        for room in list(self._rooms.values()):
            await self._end(room, "refused", "the signalling server shuts down")
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def forward(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the other peer gets of a message; a test network overrides this to put itself into the path."""
        return body

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=self.config.message_bytes, heartbeat=20.0, timeout=2.0)
        await socket.prepare(request)
        room: _Room | None = None
        seat: _Seat | None = None
        try:
            async with asyncio.timeout(self.config.join_timeout):
                first = await socket.receive()
            room, seat = self._join(_object(first), socket, time.monotonic())
            await self._welcome(room, seat)
            await self._pass_on(room, seat)
        except TimeoutError:
            logger.debug("a connection did not join in time")
        except _Refusal as refusal:
            logger.info("refused: %s", refusal)
            await _send(socket, {"type": "error", "code": refusal.code, "message": str(refusal)})
        finally:
            await socket.close()
            if room is not None and seat is not None and seat in room.seats:
                room.seats.remove(seat)
                room.used = time.monotonic()
                logger.info("room %s: a peer left", room.name)
                for other in room.seats:
                    await _send(other.socket, {"type": "peer-left"})
        return socket

    def _join(self, message: dict[str, Any], socket: web.WebSocketResponse, now: float) -> tuple[_Room, _Seat]:
        if message.get("type") != "join":
            raise _Refusal("refused", "the first message must be a join")
        name = _text(message, "room", 1, NAME_LIMIT)
        token = _text(message, "token", TOKEN_LEAST, TOKEN_LIMIT)
        member = _text(message, "member", 16, 64)
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self.config.rooms:
                raise _Refusal("refused", "the server has no room left; try again later")
            room = self._rooms[name] = _Room(name, token)
        self._check_token(room, token, now)
        former = next((seat for seat in room.seats if hmac.compare_digest(seat.member, member)), None)
        if former is not None:
            room.seats.remove(former)
            asyncio.get_running_loop().create_task(former.socket.close()).add_done_callback(
                lambda task: task.exception()
            )
        elif len(room.seats) >= 2:
            raise _Refusal("room-full", f"room {name} already has two peers")
        seat = _Seat(member, socket)
        room.seats.append(seat)
        room.used = now
        logger.info("room %s: a peer joins", name)
        return room, seat

    def _check_token(self, room: _Room, token: str, now: float) -> None:
        while room.failures and room.failures[0] < now - 60:
            room.failures.popleft()
        if len(room.failures) >= self.config.wrong_tokens:
            raise _Refusal("refused", f"room {room.name} had too many wrong tokens; try again in a minute")
        if not hmac.compare_digest(room.token.encode(), token.encode()):
            room.failures.append(now)
            raise _Refusal("wrong-token", f"wrong token for room {room.name}; ask the other side for the right one")

    async def _welcome(self, room: _Room, seat: _Seat) -> None:
        await _send(seat.socket, {"type": "joined"})
        for other in room.seats:
            if other is not seat:
                # The one that was there first makes the offers.
                await _send(other.socket, {"type": "peer", "member": _public(seat), "offerer": True})
                await _send(seat.socket, {"type": "peer", "member": _public(other), "offerer": False})

    async def _pass_on(self, room: _Room, seat: _Seat) -> None:
        limit = RateLimit(self.config.messages_per_second, self.config.burst)
        async for frame in seat.socket:
            now = time.monotonic()
            message = _object(frame)
            if not limit.allows(now):
                raise _Refusal("refused", "too many messages")
            body = message.get("body")
            if message.get("type") != "signal" or not isinstance(body, dict):
                raise _Refusal("refused", "expected a signal with a body")
            room.used = now
            for other in room.seats:
                if other is not seat:
                    await _send(other.socket, {"type": "signal", "body": await self.forward(body)})

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(self.config.empty_room_expiry, 10.0) / 2)
            now = time.monotonic()
            for name, room in list(self._rooms.items()):
                expiry = self.config.idle_room_expiry if room.seats else self.config.empty_room_expiry
                if now - room.used > expiry:
                    del self._rooms[name]
                    await self._end(room, "refused", f"room {name} was idle for too long")

    async def _end(self, room: _Room, code: str, message: str) -> None:
        seats, room.seats = room.seats, []
        for seat in seats:
            await _send(seat.socket, {"type": "error", "code": code, "message": message})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(seat.socket.close(), 1.0)


def _public(seat: _Seat) -> str:
    """What the other peer may know of a member secret: enough to tell two members apart."""
    return hmac.new(seat.member.encode(), b"member", "sha256").hexdigest()[:16]


def _object(frame: aiohttp.WSMessage) -> dict[str, Any]:
    if frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
        raise _Refusal("refused", "closed before joining")
    if frame.type != aiohttp.WSMsgType.TEXT:
        raise _Refusal("refused", "expected JSON in text frames")
    try:
        message = json.loads(frame.data)
    except (ValueError, RecursionError):
        raise _Refusal("refused", "a message that is not JSON") from None
    if not isinstance(message, dict):
        raise _Refusal("refused", "a message that is not an object")
    return message


def _text(message: dict[str, Any], name: str, least: int, most: int) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isascii() or not value.isprintable():
        raise _Refusal("refused", f"{name}: expected {least} to {most} printable ASCII characters")
    return value


async def _send(socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
    """Send, or not if the other end is gone: its own handler notices."""
    with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
        await asyncio.wait_for(socket.send_json(message), 5.0)


@dataclass(frozen=True)
class PeerPresent:
    """The other peer is in the room."""

    member: str
    "Tells whether it is the same one as before."
    offerer: bool
    "Whether this side makes the offers."


@dataclass(frozen=True)
class PeerLeft:
    """The other peer, or this one, is no longer connected to the server; a call that runs may go on."""


@dataclass(frozen=True)
class Signal:
    """A message of the other peer. Not trusted."""

    body: dict[str, Any]
    "What it sent."


Event = PeerPresent | PeerLeft | Signal

EVENTS_LIMIT = 100
"Events that wait to be handled, at most; beyond that the oldest is dropped."


class SignallingClient:
    """A seat in a room, kept through network changes. `async with` joins and leaves.

    Entering raises UnreachableError if there is no server; WrongTokenError, RoomFullError, RefusedError if it refuses.
    Later losses of the connection are repaired in the background, with growing pauses.
    """

    def __init__(self, url: str, room: str, token: str, *, retry_for: float = 5.0) -> None:
        """url: http(s)://host:port of the server. retry_for: seconds for which the first connection is tried."""
        self._url = url.rstrip("/")
        self._join = {"type": "join", "room": room, "token": token, "member": secrets.token_hex(16)}
        self._retry_for = retry_for
        self._events: asyncio.Queue[Event | SignallingError] = asyncio.Queue(EVENTS_LIMIT)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        deadline = time.monotonic() + self._retry_for
        try:
            while True:
                try:
                    socket = await self._connect()
                    break
                except UnreachableError:
                    if time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(0.3)
        except BaseException:
            await self._session.close()
            raise
        self._task = asyncio.create_task(self._run(socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the room. A second call does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def event(self) -> Event:
        """The next event. Raises a SignallingError when the seat is lost for good. Cancelling loses nothing."""
        event = await self._events.get()
        if isinstance(event, SignallingError):
            self._put(event)
            raise event
        return event

    async def send(self, body: dict[str, Any], within: float = 10.0) -> None:
        """Send a message to the other peer. Raises UnreachableError if the server is not reached `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while True:
                    await self._ready.wait()
                    socket = self._socket
                    if socket is not None:
                        with contextlib.suppress(ConnectionError, RuntimeError):
                            await socket.send_json({"type": "signal", "body": body})
                            return
                    self._ready.clear()
        except TimeoutError:
            raise UnreachableError(f"the signalling server at {self._url} was not reached for {within:g} s") from None

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        assert self._session is not None
        try:
            async with asyncio.timeout(10):
                socket = await self._session.ws_connect(
                    self._url + PATH, heartbeat=20.0, max_msg_size=SignallingConfig.message_bytes
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise UnreachableError(
                f"no signalling server at {self._url} ({error or type(error).__name__}); start one: visavis serve"
            ) from None
        try:
            await socket.send_json(self._join)
            async with asyncio.timeout(10):
                message = _answer(await socket.receive())
            if message.get("type") == "error":
                raise _refusal(message)
            if message.get("type") != "joined":
                raise RefusedError(f"what answers at {self._url} is no signalling server")
        except (ConnectionError, TimeoutError) as error:
            await socket.close()
            if isinstance(error, SignallingError):
                raise
            raise UnreachableError(f"the signalling server at {self._url} does not answer") from None
        self._socket = socket
        self._ready.set()
        return socket

    async def _run(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        pause = 0.5
        while True:
            try:
                async for frame in socket:
                    self._handle(_answer(frame))
                    pause = 0.5
            except SignallingError as error:
                self._ready.clear()
                self._put(error)
                return
            self._ready.clear()
            self._socket = None
            self._put(PeerLeft())
            await socket.close()
            while self._socket is None:
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(pause * 2, 8.0)
                try:
                    socket = await self._connect()
                except UnreachableError as error:
                    logger.info("%s", error)
                except SignallingError as error:
                    self._put(error)
                    return

    def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "peer", "member": str(member), "offerer": bool(offerer)}:
                self._put(PeerPresent(member, offerer))
            case {"type": "peer-left"}:
                self._put(PeerLeft())
            case {"type": "signal", "body": dict(body)}:
                self._put(Signal(body))
            case {"type": "error"}:
                raise _refusal(message)
            case _:
                logger.debug("ignored a message of the signalling server")

    def _put(self, event: Event | SignallingError) -> None:
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)


def _answer(frame: aiohttp.WSMessage) -> dict[str, Any]:
    if frame.type != aiohttp.WSMsgType.TEXT:
        return {}
    try:
        message = json.loads(frame.data)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _refusal(message: dict[str, Any]) -> SignallingError:
    text = "".join(character for character in str(message.get("message", "refused"))[:300] if character.isprintable())
    return _ERRORS.get(str(message.get("code")), RefusedError)(text)
