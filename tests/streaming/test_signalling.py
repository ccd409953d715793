"""The signalling server and its client: rooms, tokens, bounds, and what each refusal says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket

import aiohttp
import pytest

from streaming.signalling import (
    PATH,
    PeerLeft,
    PeerPresent,
    PortInUseError,
    RateLimit,
    RefusedError,
    RoomFullError,
    Signal,
    SignallingClient,
    SignallingConfig,
    SignallingServer,
    UnreachableError,
    WrongTokenError,
    new_token,
)

pytestmark = pytest.mark.realtime

TOKEN = "correct-horse"


@pytest.fixture
async def server():
    async with SignallingServer() as server:
        yield server


async def event(client: SignallingClient, seconds: float = 3.0):
    return await asyncio.wait_for(client.event(), seconds)


async def raw_answers(server: SignallingServer, *frames: str | bytes) -> list[dict]:
    """What the server answers to these frames before it closes or falls silent."""
    answers = []
    async with aiohttp.ClientSession() as session, session.ws_connect(server.url + PATH) as connection:
        with contextlib.suppress(ConnectionError):
            for frame in frames:
                await (connection.send_str(frame) if isinstance(frame, str) else connection.send_bytes(frame))
        with contextlib.suppress(TimeoutError):
            while (message := await connection.receive(timeout=0.5)).type == aiohttp.WSMsgType.TEXT:
                answers.append(json.loads(message.data))
    return answers


def join(room: str = "room", token: str = TOKEN, member: str = "m" * 32) -> str:
    return json.dumps({"type": "join", "room": room, "token": token, "member": member})


async def test_two_peers_meet_and_talk(server):
    async with (
        SignallingClient(server.url, "room", TOKEN) as first,
        SignallingClient(server.url, "room", TOKEN) as second,
    ):
        met_first, met_second = await event(first), await event(second)
        assert (met_first.offerer, met_second.offerer) == (True, False)
        assert isinstance(met_first, PeerPresent)
        assert met_first.member != met_second.member
        await first.send({"n": 1})
        await second.send({"n": 2})
        assert await event(second) == Signal({"n": 1})
        assert await event(first) == Signal({"n": 2})
        await second.close()
        assert await event(first) == PeerLeft()


async def test_rooms_are_apart(server):
    async with SignallingClient(server.url, "one", TOKEN) as first, SignallingClient(server.url, "two", TOKEN):
        with pytest.raises(TimeoutError):
            await event(first, 0.2)


async def test_wrong_token_is_refused_and_the_call_is_not_disturbed(server):
    async with SignallingClient(server.url, "room", TOKEN) as first:
        with pytest.raises(WrongTokenError, match="wrong token for room room; ask the other side for the right one"):
            async with SignallingClient(server.url, "room", TOKEN + "x"):
                pass
        with pytest.raises(TimeoutError):
            await event(first, 0.2)
        async with SignallingClient(server.url, "room", TOKEN):
            assert isinstance(await event(first), PeerPresent)


async def test_many_wrong_tokens_close_the_room_to_newcomers():
    config = SignallingConfig(wrong_tokens=3)
    async with SignallingServer(config=config) as server, SignallingClient(server.url, "room", TOKEN):
        for number in range(3):
            with pytest.raises(WrongTokenError):
                async with SignallingClient(server.url, "room", f"wrong-token-{number}"):
                    pass
        with pytest.raises(RefusedError, match="too many wrong tokens"):
            async with SignallingClient(server.url, "room", TOKEN):
                pass


async def test_third_peer_finds_the_room_full(server):
    async with SignallingClient(server.url, "room", TOKEN), SignallingClient(server.url, "room", TOKEN):
        with pytest.raises(RoomFullError, match="already has two peers"):
            async with SignallingClient(server.url, "room", TOKEN):
                pass


async def test_empty_room_keeps_its_token_and_then_expires():
    async with SignallingServer(config=SignallingConfig(empty_room_expiry=0.3)) as server:
        async with SignallingClient(server.url, "room", TOKEN):
            pass
        with pytest.raises(WrongTokenError):
            async with SignallingClient(server.url, "room", "another-token"):
                pass
        await asyncio.sleep(0.8)
        async with SignallingClient(server.url, "room", "another-token"):
            pass


async def test_idle_room_ends():
    config = SignallingConfig(empty_room_expiry=0.2, idle_room_expiry=0.3)
    async with SignallingServer(config=config) as server, SignallingClient(server.url, "room", TOKEN) as client:
        with pytest.raises(RefusedError, match="idle for too long"):
            await event(client)


async def test_peer_that_reconnects_gets_its_own_seat_back(server):
    async with (
        SignallingClient(server.url, "room", TOKEN) as first,
        SignallingClient(server.url, "room", TOKEN) as second,
    ):
        met = await event(first)
        await event(second)
        second._socket._response.close()  # as when the network changes
        assert await event(second) == PeerLeft()
        back = await event(second)
        assert isinstance(back, PeerPresent)
        seen = [await event(first), await event(first)]
        assert PeerPresent(met.member, True) in seen
        await second.send({"still": "here"})
        assert await event(first) == Signal({"still": "here"})


async def test_client_outlives_a_restart_of_the_server():
    server = SignallingServer()
    await server.start()
    async with SignallingClient(server.url, "room", TOKEN) as client:
        for task in (server._sweeping,):
            task.cancel()
        await server._runner.cleanup()  # without a word, as when it crashes
        assert await event(client) == PeerLeft()
        with pytest.raises(UnreachableError, match="was not reached for"):
            await client.send({}, within=0.2)
        async with (
            SignallingServer(port=server.port) as again,
            SignallingClient(again.url, "room", TOKEN),
        ):
            assert isinstance(await event(client, 8), PeerPresent)


async def test_port_in_use_is_one_clear_error(server):
    with pytest.raises(PortInUseError, match=f"port {server.port} on 127.0.0.1 is taken by another program"):
        await SignallingServer(port=server.port).start()


async def test_address_of_another_machine_is_an_oserror():
    with pytest.raises(OSError, match="address"):
        await SignallingServer("203.0.113.77").start()


async def test_missing_server_is_named_with_the_command_that_starts_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match=rf"no signalling server at http://127.0.0.1:{port} .*visavis serve"):
        async with SignallingClient(f"http://127.0.0.1:{port}", "room", TOKEN, retry_for=0.3):
            pass


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1:1"], ids=str)
async def test_nonsense_for_an_address_is_unreachable(url):
    with pytest.raises(UnreachableError):
        async with SignallingClient(url, "room", TOKEN, retry_for=0.0):
            pass


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("", "not JSON"),
        ("[1]", "not an object"),
        ('{"type":"signal","body":{}}', "first message must be a join"),
        (join(room=""), "room: expected 1 to 64"),
        (join(room="x" * 65), "room: expected 1 to 64"),
        (join(room="a\nb"), "printable ASCII"),
        (join(token="short"), "token: expected 8 to 128"),
        (join(member="m"), "member: expected 16 to 64"),
        (b"\x00\x01", "text frames"),
        ("[" * 5000, "not JSON"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_bad_first_message_is_refused_by_name(server, frame, words):
    answers = await raw_answers(server, frame)
    assert answers[-1]["type"] == "error"
    assert words in answers[-1]["message"]


async def test_bad_later_message_ends_the_connection(server):
    answers = await raw_answers(server, join(), '{"type":"signal","body":"text"}')
    assert [answer["type"] for answer in answers] == ["joined", "error"]


async def test_flood_is_cut_off():
    async with SignallingServer(config=SignallingConfig(burst=5, messages_per_second=1)) as server:
        answers = await raw_answers(server, join(), *['{"type":"signal","body":{}}'] * 20)
        assert answers[-1]["message"] == "too many messages"


async def test_oversized_message_is_cut_off(server):
    body = json.dumps({"type": "signal", "body": {"x": "y" * 100_000}})
    answers = await raw_answers(server, join(), body)
    assert [answer["type"] for answer in answers] == ["joined"]


async def test_connection_that_never_joins_is_closed():
    async with (
        SignallingServer(config=SignallingConfig(join_timeout=0.2)) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url + PATH) as connection,
    ):
        message = await connection.receive(timeout=3)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_garbage_does_not_kill_the_server(server):
    generator = random.Random(0)
    whole = join().encode()
    for number in range(150):
        data = bytearray(whole)
        for _ in range(generator.randrange(1, 5)):
            data[generator.randrange(len(data))] = generator.randrange(32, 127)
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + PATH) as connection:
            await connection.send_str(data.decode())
            if number % 3 == 0:
                await connection.send_bytes(generator.randbytes(100))
            with contextlib.suppress(TimeoutError):
                await connection.receive(timeout=0.2)
    async with SignallingClient(server.url, "fresh", TOKEN):
        pass


async def test_closing_the_server_tells_its_peers():
    server = SignallingServer()
    await server.start()
    async with SignallingClient(server.url, "room", TOKEN) as client:
        await server.close()
        await server.close()
        with pytest.raises(RefusedError, match="shuts down"):
            await event(client)


def test_rate_limit_lets_a_burst_pass_and_then_the_rate():
    limit = RateLimit(rate=10.0, burst=3)
    assert [limit.allows(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert [limit.allows(now) for now in (0.1, 0.15, 0.21, 10.0, 10.0, 10.0, 10.0)] == [
        True, False, True, True, True, True, False,
    ]  # fmt: skip


def test_tokens_are_long_different_and_never_look_like_an_option():
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) >= 22 and token.isalnum() for token in tokens)
