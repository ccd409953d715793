"""A whole call over signalling: it begins, survives, and ends on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time

import pytest

from benchmarks.impaired_call import send_media
from benchmarks.impaired_path import ImpairedPath, ImpairedSignallingServer, PathConditions
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.peer import LOOPBACK, CallError, IceConfig, PeerConfig
from streaming.session import Session, SessionConfig
from streaming.signalling import SignallingServer, WrongTokenError

pytestmark = pytest.mark.realtime

PEER = PeerConfig(IceConfig(addresses=(LOOPBACK,)), silence_timeout=1.0, connect_timeout=6.0)


def config_for(server: SignallingServer, **options) -> SessionConfig:
    return SessionConfig(server.url, "room", "secret-token", PEER, **options)


def session_for(server: SignallingServer, **options) -> Session:
    return Session(config_for(server, **options), MediaSender(), MediaReceiver())


@contextlib.asynccontextmanager
async def call(server: SignallingServer, **options):
    async with session_for(server, **options) as a, session_for(server, **options) as b:
        await asyncio.wait_for(asyncio.gather(a.connected(), b.connected()), 20)
        yield a, b


async def motion_arrives(sender: Session, receiver: Session, seconds: float = 0.5) -> int:
    before = receiver._receiver.statistics.motion.packets
    await send_media(sender._sender, seconds)
    return receiver._receiver.statistics.motion.packets - before


async def reconnected(a: Session, b: Session, connections: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not (a.is_connected and b.is_connected and min(a.connections, b.connections) >= connections):
        assert time.monotonic() < deadline, "not connected again in time"
        await asyncio.sleep(0.02)


@pytest.fixture
async def server():
    async with SignallingServer() as server:
        yield server


@pytest.mark.parametrize("leaver", [0, 1], ids=["offerer leaves", "answerer leaves"])
async def test_call_begins_and_ends_with_a_reason(server, leaver):
    async with call(server) as sessions:
        assert await motion_arrives(*sessions) > 5
        await sessions[leaver].leave("good night")
        assert await asyncio.wait_for(sessions[1 - leaver].ended(), 3) == "good night"
        assert await asyncio.wait_for(sessions[leaver].ended(), 3) is None
        await sessions[leaver].leave()


async def test_wrong_token_is_told_to_the_one_who_has_it(server):
    async with call(server) as (a, b):
        wrong = SessionConfig(server.url, "room", "another-token", PEER)
        with pytest.raises(WrongTokenError):
            async with Session(wrong, MediaSender(), MediaReceiver()):
                pass
        assert await motion_arrives(a, b) > 5


@pytest.mark.parametrize("side", [0, 1], ids=["offerer", "answerer"])
async def test_connection_that_fails_on_one_side_is_made_again(server, side):
    async with call(server) as sessions:
        sessions[side]._peer._fail("broken on purpose")
        await asyncio.sleep(0.05)
        await reconnected(*sessions, connections=2)
        assert await motion_arrives(*sessions) > 5
        assert await motion_arrives(*reversed(sessions)) > 5


async def test_short_outage_heals_without_another_connection():
    async with ImpairedPath() as path, ImpairedSignallingServer(path) as server, call(server) as (a, b):
        path.conditions = PathConditions(outage=True)
        await asyncio.sleep(0.5)
        path.conditions = PathConditions()
        assert await motion_arrives(a, b) > 5
        assert (a.connections, b.connections) == (1, 1)


async def test_long_outage_ends_in_another_connection():
    async with ImpairedPath() as path, ImpairedSignallingServer(path) as server, call(server) as (a, b):
        path.conditions = PathConditions(outage=True)
        await asyncio.sleep(2.5)
        assert not a.is_connected
        assert not b.is_connected
        path.conditions = PathConditions()
        await reconnected(a, b, connections=2)
        assert await motion_arrives(a, b) > 5


@pytest.mark.parametrize("restarted", [0, 1], ids=["offerer", "answerer"])
async def test_peer_that_starts_anew_is_connected_again(server, restarted):
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session_for(server)) for _ in range(2)]
        await asyncio.wait_for(asyncio.gather(*(session.connected() for session in sessions)), 10)
        # As when the process dies: no goodbye.
        dying = sessions[restarted]
        await dying._signalling.close()
        await dying._peer.close()
        for task in dying._tasks:
            task.cancel()
        again = await stack.enter_async_context(session_for(server))
        other = sessions[1 - restarted]
        await asyncio.wait_for(again.connected(), 20)
        await reconnected(again, other, connections=1)
        assert await motion_arrives(other, again) > 5
        assert await motion_arrives(again, other) > 5


async def test_running_call_outlives_the_signalling_server():
    server = SignallingServer()
    await server.start()
    async with call(server) as (a, b):
        await server.close()
        await asyncio.sleep(0.2)
        assert await motion_arrives(a, b) > 5
        await a.leave("over")
        assert await asyncio.wait_for(b.ended(), 3) == "over"


async def test_other_side_that_does_not_come_back_ends_the_call(server):
    async with call(server, absence_timeout=0.5) as (a, b):
        await b._signalling.close()
        await b._peer.close()
        with pytest.raises(CallError, match="gone"):
            await asyncio.wait_for(a.ended(), 10)


async def test_waiting_for_the_other_side_can_be_ended(server):
    async with session_for(server) as alone:
        waiting = asyncio.create_task(alone.connected())
        await asyncio.sleep(0.1)
        await alone.leave()
        with pytest.raises(CallError, match="ended before"):
            await asyncio.wait_for(waiting, 3)


async def test_garbage_over_signalling_does_not_disturb_the_call(server):
    async with call(server) as (a, b):
        for body in (
            {},
            {"kind": "answer", "attempt": 5, "description": None},
            {"kind": "answer", "attempt": "x", "description": None},
            {"kind": "restart"},
            {"kind": "restart", "attempt": "0" * 16},
            {"kind": "nonsense", "deep": [[[[]]]]},
        ):
            await a._signalling.send(body)
            await b._signalling.send(body)
        await asyncio.sleep(0.3)
        assert await motion_arrives(a, b) > 5
        assert (a.connections, b.connections) == (1, 1)


async def test_offer_that_is_none_is_survived(server):
    async with call(server) as (a, b):
        await a._signalling.send({"kind": "offer", "attempt": "bad", "description": {"type": "offer", "sdp": "v=0"}})
        await reconnected(a, b, connections=2)
        assert await motion_arrives(a, b) > 5


async def test_calls_one_after_the_other_leave_nothing_behind(server):
    def left() -> tuple[int, int, int]:
        return len(asyncio.all_tasks()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    async def one_call() -> None:
        async with call(server) as (a, b):
            await a.leave()
            await b.ended()
        await asyncio.sleep(0.1)
        gc.collect()

    await one_call()
    before = left()
    for _ in range(4):
        await one_call()
    assert left() <= before
