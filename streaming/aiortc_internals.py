"""Every place where we reach into aiortc and aioice, in one file; each has a test that fails when a release changes it.

Nothing here changes a module or a class: all of it acts on one connection that is given.

| what | why |
|---|---|
| `use_only_addresses` | aioice skips loopback addresses, so a machine with nothing else gathers no candidate |
| `tap_voice` | the receiver's own jitter buffer keeps about 200 ms of extra delay for good after one lost packet |
| `rtp_timestamp_of_last_packet` | the RTP origin is random and local to the sender's task; lips and voice need it |
| `start_vp8_encoder` | video starts at 500 kbit/s, where a still background shows blocks |
| `hold_congestion_window` | the SCTP window falls to one packet on a lossy path and delays motion by seconds |
| `shorten_first_timeout` | a lost first packet of the data channels costs 3 s |
| `repeat_handshake` | a lost datagram of the DTLS handshake costs 1, 2, 4, 8 s |
| `count_datagrams` | the real number of datagrams and bytes, ICE checks included |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSctpTransport
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import RtpPacket

WINDOW_FLOOR = 32_768
"Bytes that may be in flight on the data channels at least; motion sends some 3 kB a second, so no path is flooded."
FIRST_TIMEOUT = 1.0
"Seconds after which the first packet of the data channels is repeated; aiortc starts with 3."

REPEATS = 2
"Times that a datagram of the handshake is sent again."
REPEAT_AFTER = 0.03
"Seconds between them."

IPV4_UDP_HEADER = 28
IPV6_UDP_HEADER = 48


class AiortcChangedError(RuntimeError):
    """A part of aiortc that we replace is not where it was in the release that we were written for."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"aiortc has no {what} any more; install the release that this version was made for: "
            "pip install 'aiortc>=1.16,<1.17'"
        )


def _attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        raise AiortcChangedError(f"{type(owner).__name__}.{name}") from None


def ice_connections(peer: RTCPeerConnection) -> list[Any]:
    """The aioice connections of a peer connection, one for each transport."""
    transports = {id(t): t for t in (x.receiver.transport.transport for x in peer.getTransceivers())}
    if peer.sctp is not None:
        transport = peer.sctp.transport.transport
        transports[id(transport)] = transport
    return [_attribute(transport, "_connection") for transport in transports.values()]


def use_only_addresses(peer: RTCPeerConnection, addresses: list[str]) -> None:
    """Gather host candidates at these local addresses only, loopback or not. Before the local description is set."""
    for connection in ice_connections(peer):
        gather = _attribute(connection, "get_component_candidates")

        connection.get_component_candidates = partial(_gather_only, gather, addresses)


async def _gather_only(gather: Any, only: list[str], *, component: int, addresses: list[str]) -> Any:
    return await gather(component=component, addresses=only)


class _VoiceTap:
    """Stands where the receiver's jitter buffer was; never gives it a frame, so that its decoder thread sleeps."""

    def __init__(self, on_packet: Callable[[int, int, bytes], None]) -> None:
        self._on_packet = on_packet

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        self._on_packet(packet.sequence_number, packet.timestamp, bytes(packet.payload))
        return False, None


def tap_voice(receiver: RTCRtpReceiver, on_packet: Callable[[int, int, bytes], None]) -> None:
    """Call `on_packet(sequence number, RTP timestamp, payload)` for every packet as it arrives; do not decode it."""
    name = "_RTCRtpReceiver__jitter_buffer"
    _attribute(_attribute(receiver, name), "add")
    setattr(receiver, name, _VoiceTap(on_packet))


def rtp_timestamp_of_last_packet(sender: RTCRtpSender) -> int:
    """The RTP timestamp of the packet that was sent last, 0 to 2**32 - 1."""
    return int(_attribute(sender, "_RTCRtpSender__rtp_timestamp"))


def start_vp8_encoder(sender: RTCRtpSender, bitrate_bps: int) -> None:
    """Encode VP8 at this bitrate, 250,000 to 1,500,000, from the first frame on. Before the connection is made."""
    name = "_RTCRtpSender__encoder"
    _attribute(sender, name)
    encoder = Vp8Encoder()
    encoder.target_bitrate = bitrate_bps
    setattr(sender, name, encoder)


def hold_congestion_window(sctp: RTCSctpTransport) -> None:
    """Keep the window of the data channels at WINDOW_FLOOR or above. Before each send of what must not wait."""
    sctp._cwnd = max(int(_attribute(sctp, "_cwnd")), WINDOW_FLOOR)


def shorten_first_timeout(sctp: RTCSctpTransport) -> None:
    """Repeat the first packets of the data channels after FIRST_TIMEOUT. Before the connection is made."""
    sctp._rto = min(float(_attribute(sctp, "_rto")), FIRST_TIMEOUT)


def repeat_handshake(sctp: RTCSctpTransport, until: Callable[[], bool]) -> None:
    """Send each datagram of the DTLS and SCTP handshakes REPEATS more times, until `until()` says that they are done.

    Both protocols expect duplicates. Before the connection is made; sctp: that of the bundled transport.
    """
    transport = sctp.transport.transport
    send = _attribute(transport, "_send")

    async def send_repeatedly(data: bytes) -> None:
        await send(data)
        if datagram_kind(data) == "data" and not until():
            for repeat in range(1, REPEATS + 1):
                asyncio.get_running_loop().call_later(repeat * REPEAT_AFTER, send_again, data)

    def send_again(data: bytes) -> None:
        pair = transport._connection._nominated.get(1)
        if pair is not None and not until():
            pair.protocol.transport.sendto(data, pair.remote_addr)

    _attribute(transport._connection, "_nominated")
    transport._send = send_repeatedly


DATAGRAM_KINDS = ("voice", "data", "ice")
"voice: RTP and RTCP; data: DTLS, which carries the data channels; ice: STUN checks and TURN."


@dataclass
class DatagramCount:
    """Datagrams of one kind in one direction, as they are on the wire."""

    packets: int = 0
    bytes: int = 0
    "With the UDP and IP headers."


def _counts() -> dict[str, DatagramCount]:
    return {kind: DatagramCount() for kind in DATAGRAM_KINDS}


@dataclass
class WireCounters:
    """What really crossed the network interface for one connection."""

    sent: dict[str, DatagramCount] = field(default_factory=_counts)
    "By kind."
    received: dict[str, DatagramCount] = field(default_factory=_counts)
    "By kind."
    last_received: float = 0.0
    "Local time (time.monotonic) of the newest datagram."


def datagram_kind(data: bytes) -> str:
    """Which of DATAGRAM_KINDS a datagram is, by its first byte (RFC 7983)."""
    first = data[0] if data else 0
    if 128 <= first < 192:
        return "voice"
    return "data" if 20 <= first < 64 else "ice"


def count_datagrams(peer: RTCPeerConnection, counters: WireCounters) -> None:
    """Count all datagrams of the connection from now on. After the local description is set: sockets exist then."""
    for connection in ice_connections(peer):
        for protocol in _attribute(connection, "_protocols"):
            transport = _attribute(protocol, "transport")
            header = IPV6_UDP_HEADER if ":" in str(protocol.local_candidate.host) else IPV4_UDP_HEADER
            protocol.transport = _CountingTransport(transport, counters, header)
            receive = _attribute(protocol, "datagram_received")
            protocol.datagram_received = partial(_count_received, receive, counters, header)


def _count_received(
    receive: Callable[..., None], counters: WireCounters, header: int, data: bytes, address: Any
) -> None:
    count = counters.received[datagram_kind(data)]
    count.packets += 1
    count.bytes += len(data) + header
    counters.last_received = time.monotonic()
    receive(data, address)


class _CountingTransport:
    """A datagram transport that counts what it sends."""

    def __init__(self, transport: Any, counters: WireCounters, header: int) -> None:
        self._transport = transport
        self._counters = counters
        self._header = header

    def sendto(self, data: bytes, address: Any = None) -> None:
        count = self._counters.sent[datagram_kind(data)]
        count.packets += 1
        count.bytes += len(data) + self._header
        self._transport.sendto(data, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
