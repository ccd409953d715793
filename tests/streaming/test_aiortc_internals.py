"""Guards: each fails when a release of aiortc or aioice moves a part that we reach into."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from aiortc import RTCPeerConnection, RTCSctpTransport
from aiortc.rtp import RtpPacket

from benchmarks.impaired_call import connect
from benchmarks.impaired_path import ImpairedPath
from streaming.aiortc_internals import (
    FIRST_TIMEOUT,
    IPV4_UDP_HEADER,
    WINDOW_FLOOR,
    AiortcChangedError,
    datagram_kind,
    hold_congestion_window,
    ice_connections,
    rtp_timestamp_of_last_packet,
    shorten_first_timeout,
    tap_voice,
    use_only_addresses,
)
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.peer import LOOPBACK, IceConfig, Peer, PeerConfig

pytestmark = pytest.mark.realtime


@pytest.fixture
async def connection():
    """A connection with an audio transceiver and a data channel, not connected to anything."""
    connection = RTCPeerConnection(IceConfig().rtc_configuration())
    connection.addTransceiver("audio")
    connection.createDataChannel("control", negotiated=True, id=0)
    yield connection
    await connection.close()


async def test_everything_is_bundled_on_one_ice_connection(connection):
    assert len(ice_connections(connection)) == 1


async def test_only_the_given_addresses_are_gathered(connection):
    use_only_addresses(connection, [LOOPBACK])
    await connection.setLocalDescription(await connection.createOffer())
    candidates = [line for line in connection.localDescription.sdp.splitlines() if line.startswith("a=candidate")]
    assert {line.split()[4] for line in candidates} == {LOOPBACK}


async def test_other_connections_gather_as_before(connection):
    use_only_addresses(connection, ["203.0.113.1"])
    other = RTCPeerConnection(IceConfig().rtc_configuration())
    other.createDataChannel("control")
    assert "use_only_addresses" not in repr(ice_connections(other)[0].get_component_candidates)
    await other.close()


async def test_voice_packets_reach_the_tap_at_once_and_nothing_is_left_to_decode(connection):
    packets = []
    receiver = connection.getTransceivers()[0].receiver
    tap_voice(receiver, lambda *packet: packets.append(packet))
    buffer = receiver._RTCRtpReceiver__jitter_buffer
    packet = RtpPacket(sequence_number=7, timestamp=123)
    packet.payload = b"opus"
    assert buffer.add(packet) == (False, None)
    assert packets == [(7, 123, b"opus")]


async def test_the_receiver_still_asks_its_jitter_buffer(connection):
    """The tap works because `_handle_rtp_packet` calls `add` and takes None for 'no frame yet'."""
    receiver = connection.getTransceivers()[0].receiver
    source = inspect.getsource(type(receiver)._handle_rtp_packet)
    assert "self.__jitter_buffer.add(packet)" in source
    assert "encoded_frame is not None" in source


async def test_rtp_timestamp_is_where_it_was(connection):
    assert rtp_timestamp_of_last_packet(connection.getSenders()[0]) == 0


async def test_window_is_held_up_and_never_lowered(connection):
    sctp = connection.sctp
    assert "self._cwnd" in inspect.getsource(RTCSctpTransport._transmit)
    sctp._cwnd = 1160
    hold_congestion_window(sctp)
    assert sctp._cwnd == WINDOW_FLOOR
    sctp._cwnd = 10 * WINDOW_FLOOR
    hold_congestion_window(sctp)
    assert sctp._cwnd == 10 * WINDOW_FLOOR


async def test_first_timeout_is_shortened(connection):
    assert "self._rto" in inspect.getsource(RTCSctpTransport._t1_start)
    assert connection.sctp._rto > FIRST_TIMEOUT
    shorten_first_timeout(connection.sctp)
    assert connection.sctp._rto == FIRST_TIMEOUT


def test_part_that_is_gone_is_named_with_the_way_out():
    class Empty:
        pass

    with pytest.raises(AiortcChangedError, match=r"aiortc has no Empty._cwnd any more; install .*aiortc>=1.16,<1.17"):
        hold_congestion_window(Empty())


@pytest.mark.parametrize(
    ("first_byte", "kind"),
    [(0, "ice"), (1, "ice"), (20, "data"), (63, "data"), (64, "ice"), (128, "voice"), (191, "voice"), (192, "ice")],
)
def test_kinds_of_datagrams_are_told_apart(first_byte, kind):
    assert datagram_kind(bytes([first_byte, 0])) == kind


def test_empty_datagram_is_no_trouble():
    assert datagram_kind(b"") == "ice"


async def test_counters_agree_with_what_the_path_saw():
    """Every datagram that either side counts has crossed the relay between them, and none besides."""
    config = PeerConfig(IceConfig(addresses=(LOOPBACK,)))
    async with ImpairedPath() as path:
        a = Peer(config, MediaSender(), MediaReceiver())
        b = Peer(config, MediaSender(), MediaReceiver())
        try:
            await connect(a, b, path)
            await asyncio.sleep(0.3)
            sent = [sum(c.packets for c in peer.statistics.wire.sent.values()) for peer in (a, b)]
            received = [sum(c.packets for c in peer.statistics.wire.received.values()) for peer in (a, b)]
            assert sum(sent) == path.counters.passed
            assert received == sent[::-1]
            count = a.statistics.wire.sent["data"]
            assert count.packets >= 4
            assert count.bytes > count.packets * (IPV4_UDP_HEADER + 13)
        finally:
            await a.close()
            await b.close()


async def test_handshake_repeats_end_when_the_connection_is_open():
    config = PeerConfig(IceConfig(addresses=(LOOPBACK,)))
    async with ImpairedPath() as path:
        a = Peer(config, MediaSender(), MediaReceiver())
        b = Peer(config, MediaSender(), MediaReceiver())
        try:
            await connect(a, b, path)
            await asyncio.sleep(0.3)
            before = a.statistics.wire.sent["data"].packets
            a._control.send(b"{}")
            await asyncio.sleep(0.3)
            assert a.statistics.wire.sent["data"].packets - before <= 2
        finally:
            await a.close()
            await b.close()
