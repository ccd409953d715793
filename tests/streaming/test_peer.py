"""Real connections on loopback: what arrives, what bad input does, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading
import time

import numpy as np
import pytest

from benchmarks.impaired_call import connect, longest_freeze, moving_face, play_voice, send_media, watch
from benchmarks.impaired_path import ImpairedPath, PathConditions
from streaming.codec import default_statistics
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.messages import Hello, Ping, ProtocolError, VoiceClock, encode_message
from streaming.peer import LOOPBACK, STALE_BYTES, CallError, IceConfig, Peer, PeerConfig
from streaming.voice import VoiceConfig, VoiceEncoder, VoicePacket

pytestmark = pytest.mark.realtime

CONFIG = PeerConfig(IceConfig(addresses=(LOOPBACK,)), name="test")


def picture() -> np.ndarray:
    red, green = np.meshgrid(np.arange(256), np.arange(256))
    return np.stack((red, green, np.full_like(red, 80)), axis=2).astype(np.uint8)


class Pair:
    """Two peers, `a` and `b`, each with a sender and a receiver."""

    def __init__(self, config: PeerConfig = CONFIG, **sender_options) -> None:
        self.sender_a, self.receiver_a = MediaSender(**sender_options), MediaReceiver()
        self.sender_b, self.receiver_b = MediaSender(), MediaReceiver()
        self.a = Peer(config, self.sender_a, self.receiver_a)
        self.b = Peer(config, self.sender_b, self.receiver_b)


@contextlib.asynccontextmanager
async def connected(path: ImpairedPath | None = None, config: PeerConfig = CONFIG, **sender_options):
    pair = Pair(config, **sender_options)
    try:
        async with asyncio.timeout(30):
            if path is not None:
                await connect(pair.a, pair.b, path)
            else:
                await pair.a.accept_answer(await pair.b.accept_offer(await pair.a.create_offer()))
                await asyncio.gather(pair.a.connected(), pair.b.connected())
        yield pair
    finally:
        await pair.a.close()
        await pair.b.close()


@contextlib.asynccontextmanager
async def running(*works):
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(condition, seconds: float = 3.0) -> None:
    """Wait until the condition holds; fail if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_motion_voice_and_picture_arrive_in_sync():
    async with connected(picture_rgb=picture(), voice=VoiceConfig(bitrate_bps=24_000)) as pair:
        receiver = pair.receiver_b
        shown = []
        async with running(play_voice(receiver), watch(receiver, shown)):
            await send_media(pair.sender_a, 3.0)
        sent, received = pair.sender_a.statistics, receiver.statistics
        assert received.motion.packets == sent.motion.packets == 75
        assert received.voice.packets >= sent.voice.packets - 1 >= 147
        assert received.motion.bytes == sent.motion.bytes < 75 * 40
        assert (received.motion_malformed, received.voice_malformed) == (0, 0)
        arrived = await asyncio.wait_for(receiver.wait_for_picture(), 5)
        assert np.abs(arrived.astype(int) - picture()).mean() < 3
        assert receiver.header.fps == 25
        assert abs(received.skew.quantile(0.5)) < 0.04
        assert len(received.capture_to_display) > 60
        assert longest_freeze(shown[20:]) < 0.5
        # The state that is shown is the one that was captured at its time.
        view = receiver.view()
        expected = moving_face(view.shown_time, default_statistics().count)
        np.testing.assert_allclose(view.state.rotation, expected.rotation, atol=0.05)
        assert pair.b.peer_name == "test"


async def test_picture_arrives_through_heavy_loss_without_stopping_the_head():
    conditions = PathConditions(loss=0.2)
    async with ImpairedPath(conditions, seed=1) as path, connected(path, picture_rgb=picture()) as pair:
        receiver = pair.receiver_b
        shown = []
        async with running(send_media(pair.sender_a, 30.0), watch(receiver, shown)):
            await asyncio.wait_for(receiver.wait_for_picture(), 20)
        assert longest_freeze(shown) < 0.5


async def test_what_comes_before_the_channels_count_as_open_is_kept():
    """The packet that opens them may be lost or late, and the other side already sends."""
    receiver = MediaReceiver()
    peer = Peer(CONFIG, MediaSender(), receiver)
    try:
        peer._control_arrived(encode_message(VoiceClock(5)))
        peer._channels_opened()
        packets = VoiceEncoder().encode((5000 * np.sin(np.arange(48_000) * 0.05)).astype(np.int16), 0.0)
        for number, packet in enumerate(packets):
            receiver.receive_voice(number, (packet.start + 5) % 2**32, packet.payload, packet.start / 48_000)
        heard = np.concatenate([receiver.read_audio(480, 0.5 + 0.01 * block) for block in range(10)])
        assert np.abs(heard.astype(int)).max() > 2000
    finally:
        await peer.close()


async def test_both_directions_at_once():
    async with connected() as pair:
        async with running(play_voice(pair.receiver_a), play_voice(pair.receiver_b)):
            await asyncio.gather(send_media(pair.sender_a, 1.5), send_media(pair.sender_b, 1.5))
        for receiver in (pair.receiver_a, pair.receiver_b):
            assert receiver.statistics.motion.packets > 30
            assert receiver.statistics.voice.packets > 60
            assert receiver.view() is not None
            assert receiver.statistics.motion_malformed == 0


async def test_motion_alone_is_played_and_voice_alone_is_heard():
    """One side sends only motion, the other only voice."""
    size = default_statistics().count
    tone = (5000 * np.sin(2 * np.pi * 400 * np.arange(96_000) / 48_000)).astype(np.int16)
    heard: list[np.ndarray] = []

    async def listen(receiver: MediaReceiver) -> None:
        while True:
            heard.append(receiver.read_audio(480))
            await asyncio.sleep(0.01)

    async with connected() as pair, running(listen(pair.receiver_a)):
        begin = pair.sender_b.clock.time()
        sent = 0
        while sent < 60:
            if pair.sender_b.clock.time() - begin >= (sent + 1) * 0.02:
                pair.sender_b.send_voice(tone[sent * 960 : (sent + 1) * 960], begin + sent * 0.02)
                if sent % 2 == 0:
                    pair.sender_a.send_motion(moving_face(pair.sender_a.clock.time(), size))
                sent += 1
            await asyncio.sleep(0.002)
        assert pair.receiver_b.view().state.expression.size == size
        assert not pair.receiver_b.read_audio(480).any()
        assert pair.receiver_a.view() is None
    assert sum(np.abs(block.astype(int)).max() > 2000 for block in heard) > 50


async def test_goodbye_tells_its_reason_and_ends_both_sides():
    async with connected() as pair:
        await pair.a.close("dinner is ready")
        assert await asyncio.wait_for(pair.b.ended(), 3) == "dinner is ready"
        assert await pair.a.ended() is None
        await pair.a.close("again")


async def test_peer_that_vanishes_is_an_error():
    async with connected() as pair:
        await pair.a.close()
        with pytest.raises(CallError, match="without a goodbye"):
            await asyncio.wait_for(pair.b.ended(), 3)


async def test_silent_peer_is_given_up_after_the_timeout():
    config = PeerConfig(IceConfig(addresses=(LOOPBACK,)), silence_timeout=1.0)
    async with ImpairedPath() as path, connected(path, config) as pair:
        path.conditions = PathConditions(outage=True)
        with pytest.raises(CallError, match="nothing came from the other side"):
            await asyncio.wait_for(pair.b.ended(), 5)


async def test_sending_without_a_connection_is_counted_and_dropped():
    sender = MediaSender()
    sender.send_motion(moving_face(0.0, default_statistics().count))
    sender.send_voice(np.zeros(960, np.int16), 0.0)
    assert (sender.statistics.motion_unsent, sender.statistics.voice.packets) == (1, 0)


async def test_motion_that_cannot_leave_is_dropped_and_not_queued():
    size = default_statistics().count
    async with ImpairedPath() as path, connected(path) as pair:
        path.conditions = PathConditions(outage=True)
        for number in range(2000):
            pair.sender_a.send_motion(moving_face(number * 0.04, size))
            if number % 50 == 0:
                await asyncio.sleep(0)
        assert pair.sender_a.statistics.motion_unsent > 0
        assert pair.a._motion.bufferedAmount < STALE_BYTES + 200


@pytest.mark.parametrize(
    "offer",
    [
        None,
        {},
        {"type": "answer", "sdp": "v=0"},
        {"type": "offer", "sdp": 5},
        {"type": "offer", "sdp": ""},
        {"type": "offer", "sdp": "v=0\r\nm=audio x\r\n"},
        {"type": "offer", "sdp": "A" * 100_000},
    ],
    ids=lambda offer: str(offer)[:40],
)
async def test_what_is_no_offer_is_refused(offer):
    peer = Peer(CONFIG, MediaSender(), MediaReceiver())
    try:
        with pytest.raises(ProtocolError, match="offer"):
            await peer.accept_offer(offer)
    finally:
        await peer.close()


async def test_mutated_offers_raise_one_error():
    generator = random.Random(0)
    caller = Peer(CONFIG, MediaSender(), MediaReceiver())
    offer = await caller.create_offer()
    refused = 0
    for _ in range(40):
        lines = offer["sdp"].splitlines()
        for _ in range(generator.randrange(1, 6)):
            place = generator.randrange(len(lines))
            cut = generator.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:cut] + generator.choice(("", "x", "999999", " ")) + lines[place][cut + 1 :]
        peer = Peer(CONFIG, MediaSender(), MediaReceiver())
        try:
            await peer.accept_offer({"type": "offer", "sdp": "\r\n".join(lines) + "\r\n"})
        except (ProtocolError, CallError):
            refused += 1
        finally:
            await peer.close()
    await caller.close()
    assert refused > 5


async def test_other_version_is_told_which_side_to_update():
    async with connected() as pair:
        pair.a._control.send(encode_message(Hello(2)))
        with pytest.raises(CallError, match="speaks version 2, this one 1: update this side"):
            await asyncio.wait_for(pair.b.ended(), 3)


async def test_machine_without_an_address_is_told_what_to_do():
    peer = Peer(PeerConfig(IceConfig(addresses=("203.0.113.77",))), MediaSender(), MediaReceiver())
    try:
        with pytest.raises(CallError, match="no network address to call from"):
            await peer.create_offer()
    finally:
        await peer.close()


async def test_connection_that_never_opens_times_out():
    async with ImpairedPath(PathConditions(outage=True)) as path:
        config = PeerConfig(IceConfig(addresses=(LOOPBACK,)), connect_timeout=0.5)
        pair = Pair(config)
        try:
            with pytest.raises(CallError, match=r"no connection within 0\.5 s"):
                await connect(pair.a, pair.b, path)
        finally:
            await pair.a.close()
            await pair.b.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"turn_url": "turn:x"}, "needs turn_username"), ({"stun_url": "http://x"}, "begins with stun:")],
    ids=["turn", "stun"],
)
def test_ice_settings_that_cannot_work_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        IceConfig(**options)


def test_ice_settings_reach_aiortc():
    servers = IceConfig("stun:a:1", "turn:b:2", "user", "secret").rtc_configuration().iceServers
    assert [(s.urls, s.username, s.credential) for s in servers] == [
        ("stun:a:1", None, None),
        ("turn:b:2", "user", "secret"),
    ]
    assert IceConfig().rtc_configuration().iceServers == []  # no public server is asked unless told so


async def test_garbage_on_every_channel_of_a_live_call_is_dropped():
    generator = random.Random(0)
    async with connected(picture_rgb=picture()) as pair:
        receiver = pair.receiver_b
        await asyncio.wait_for(receiver.wait_for_picture(), 5)
        async with running(send_media(pair.sender_a, 30.0), play_voice(receiver)):
            await eventually(lambda: receiver.statistics.motion.packets > 5)
            valid = [encode_message(Ping(10**15)), encode_message(Hello(1, "x" * 20))]
            channels = [pair.a._control, pair.a._picture, pair.a._motion, pair.a._acknowledgements, pair.a._clock]
            for number in range(1200):
                data = (
                    bytearray(generator.choice(valid))
                    if number % 2
                    else bytearray(generator.randbytes(generator.randrange(300)))
                )
                if data:
                    data[generator.randrange(len(data))] ^= 0xFF
                channel = channels[number % len(channels)]
                channel.send(bytes(data) if number % 7 else data.decode("latin-1"))
                pair.a._track.push(VoicePacket(generator.randrange(1 << 31), generator.randbytes(1 + number % 60)))
                if number % 4 == 0:
                    await asyncio.sleep(0.005)
            await eventually(lambda: pair.b.statistics.protocol_errors > 400, 20)
            # Garbage may have passed for motion: the stream begins anew after a moment.
            await asyncio.sleep(1.5)
            refused = receiver.statistics.motion_malformed
            decoded = len(receiver.statistics.decode)
            await asyncio.sleep(0.5)
            assert len(receiver.statistics.decode) - decoded >= 8
            assert receiver.statistics.motion_malformed - refused <= 2
            assert receiver.statistics.voice_malformed > 10
            assert receiver.view() is not None
            assert pair.b._connection.connectionState == "connected"
        assert not pair.b._ended.done()


async def test_repeated_calls_leave_no_task_thread_or_descriptor():
    async def one_call() -> None:
        async with connected(picture_rgb=picture()) as pair:
            await send_media(pair.sender_a, 0.1)
            await pair.a.close("done")

    def left() -> tuple[int, int, int]:
        return len(asyncio.all_tasks()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    await one_call()
    await asyncio.sleep(0.1)
    gc.collect()
    before = left()
    for _ in range(6):
        await one_call()
    await asyncio.sleep(0.1)
    gc.collect()
    assert left() <= before
