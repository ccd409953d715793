"""One WebRTC connection between two peers that send each other motion and voice.

The parts of a call, and who uses what:

    sender = MediaSender(picture_rgb=picture)                         # streaming.media_sender
    receiver = MediaReceiver()                                        # streaming.media_receiver
    async with Session(SessionConfig(url, room, token), sender, receiver) as session:    # streaming.session
        sender.send_motion(state)               # state.time: capture time on sender.clock, seconds
        sender.send_voice(samples, time)        # (N,) int16 mono 48 kHz; time: capture time of the first sample
        picture = await receiver.wait_for_picture()
        async for view in receiver.frames(25):  # view.state: FaceState to render; view.media_time; view.concealed
            frame = render(view.state)
            receiver.displayed(view)            # once the frame is out: counts latency and skew
        samples = receiver.read_audio(480)      # from any thread: the 10 ms that are to be heard now
        await session.ended()                   # the other side said goodbye (returns its reason)

`MediaSender` and `MediaReceiver` belong to the user and outlive connections; a `Session` (signalling, reconnection)
makes a `Peer` for each connection. Without a signalling server, two peers connect by exchanging three calls:

    offer = await a.create_offer()
    answer = await b.accept_offer(offer)
    await a.accept_answer(answer)
    await a.connected()

A connection carries one Opus track and five data channels, all agreed on beforehand: *control* (reliable, small JSON),
*picture* (reliable, the source picture in pieces), *motion*, *acknowledgements* and *clock* (unordered, never
retransmitted; the last carries pings).
Whatever the other side sends on them is checked; what is wrong is counted (`statistics.protocol_errors`) and dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)

from streaming.aiortc_internals import (
    count_datagrams,
    hold_congestion_window,
    repeat_handshake,
    rtp_timestamp_of_last_packet,
    shorten_first_timeout,
    tap_voice,
    use_only_addresses,
)
from streaming.codec import CodecError
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.messages import (
    PROTOCOL_VERSION,
    REASON_LIMIT,
    Bye,
    Hello,
    Message,
    MotionHeader,
    PictureAnnounce,
    Ping,
    Pong,
    ProtocolError,
    VoiceClock,
    decode_message,
    encode_message,
)
from streaming.source_transfer import PIECE_BYTES, PictureAssembly, PictureError, digest
from streaming.statistics import PeerStatistics
from streaming.voice import VoicePacket, VoiceTrack

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
DESCRIPTION_LIMIT = 32_768
"Characters of a session description, at most."
MOTION_LIMIT = 512
"Bytes of a motion packet or an acknowledgement, at most; longer ones are not even looked at."
STALE_BYTES = 600
"Bytes of motion waiting to be sent above which newer motion is not added: it would only arrive late."
VOICE_CLOCK_WITH = (1, 6, 11, 16, 26, 51)
"""Voice packets with which the voice's origin is sent. Once would do, as it is sent again where it was lost; but with
no motion beside it nothing would tell of the loss, and the voice would wait seconds for a timer."""
PICTURE_BPS = 1_000_000
"Rate at which the source picture is sent: 100 kB in 0.8 s, without filling the queues of a slow path."
PING_EVERY = 1.0
"Seconds between pings: they keep the clocks' difference known."


class CallError(ConnectionError):
    """A connection could not be made or is lost. The message says what happened and what to look at."""


@dataclass(frozen=True)
class IceConfig:
    """How two peers find a way to each other."""

    stun_url: str | None = None
    "A STUN server, like stun:stun.example.org:3478, to learn the own public address. None: only local addresses."
    turn_url: str | None = None
    "A TURN server, like turn:turn.example.org:3478?transport=udp, that relays when there is no direct way."
    turn_username: str | None = None
    "User name at the TURN server."
    turn_password: str | None = field(default=None, repr=False)
    "Password at the TURN server."
    addresses: tuple[str, ...] = ()
    "Local addresses to use instead of all but loopback; (LOOPBACK,) for a call within one machine."

    def __post_init__(self) -> None:
        if self.turn_url is not None and (self.turn_username is None or self.turn_password is None):
            raise ValueError("turn_url: a TURN server needs turn_username and turn_password")
        for url, schemes in ((self.stun_url, ("stun:", "stuns:")), (self.turn_url, ("turn:", "turns:"))):
            if url is not None and not url.startswith(schemes):
                raise ValueError(f"{url}: expected an address that begins with {schemes[0]}")

    def rtc_configuration(self) -> RTCConfiguration:
        servers = []
        if self.stun_url is not None:
            servers.append(RTCIceServer(self.stun_url))
        if self.turn_url is not None:
            servers.append(RTCIceServer(self.turn_url, self.turn_username, self.turn_password))
        return RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)


@dataclass(frozen=True)
class PeerConfig:
    """One connection."""

    ice: IceConfig = IceConfig()
    "STUN, TURN and local addresses."
    name: str = ""
    "What this side calls itself, for the other side's log."
    connect_timeout: float = 20.0
    "Seconds until a connection that does not open is given up."
    silence_timeout: float = 10.0
    "Seconds without any datagram from the other side after which the connection is lost. Shorter outages heal."


class Peer:
    """One connection. Made on a running event loop; `close` it, whatever happens."""

    def __init__(
        self,
        config: PeerConfig,
        sender: MediaSender,
        receiver: MediaReceiver,
        statistics: PeerStatistics | None = None,
    ) -> None:
        """statistics: counted on, so that a call has one over all its connections."""
        self.config = config
        self.statistics = statistics or PeerStatistics()
        self.peer_name = ""
        self._sender = sender
        self._receiver = receiver
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._greeted = False
        self._assembly: PictureAssembly | None = None
        self._voice_packets_sent = 0
        self._ping: tuple[int, float] | None = None
        self._best_round_trip = float("inf")

        self._connection = RTCPeerConnection(config.ice.rtc_configuration())
        self._track = VoiceTrack(on_sent=self._voice_was_sent)
        transceiver = self._connection.addTransceiver(self._track, direction="sendrecv")
        capabilities = RTCRtpReceiver.getCapabilities("audio")
        assert capabilities is not None
        transceiver.setCodecPreferences([codec for codec in capabilities.codecs if codec.mimeType == "audio/opus"])
        self._rtp_sender = transceiver.sender
        tap_voice(transceiver.receiver, self._voice_arrived)
        self._control = self._channel("control", 0, self._control_arrived)
        self._picture = self._channel("picture", 2, self._picture_arrived)
        self._motion = self._channel("motion", 4, self._motion_arrived, lossy=True)
        self._acknowledgements = self._channel("acknowledgements", 6, self._acknowledgement_arrived, lossy=True)
        self._clock = self._channel("clock", 8, self._control_arrived, lossy=True)
        sctp = self._connection.sctp
        assert sctp is not None
        self._sctp = sctp
        shorten_first_timeout(sctp)
        repeat_handshake(sctp, until=self._opened.done)
        if config.ice.addresses:
            use_only_addresses(self._connection, list(config.ice.addresses))
        self._connection.on("connectionstatechange", self._state_changed)
        self._connection.on("datachannel", lambda channel: self._protocol_error("a data channel nobody agreed on"))

    # Making the connection.

    async def create_offer(self) -> dict[str, str]:
        """A session description for the other side's `accept_offer`: {"type", "sdp"}."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._local_description()

    async def accept_offer(self, offer: Any) -> dict[str, str]:
        """Take the other side's offer; returns the answer to it. Raises ProtocolError for what is no offer of ours."""
        text = _description_text(offer, "offer")
        self._receiver.begin()
        with _described_as("offer"):
            await self._connection.setRemoteDescription(RTCSessionDescription(text, "offer"))
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        return self._local_description()

    async def accept_answer(self, answer: Any) -> None:
        """Take the other side's answer. Raises ProtocolError for what is none."""
        text = _description_text(answer, "answer")
        # Now, as what the other side sends may come before our own channels count as open.
        self._receiver.begin()
        with _described_as("answer"):
            await self._connection.setRemoteDescription(RTCSessionDescription(text, "answer"))

    def _local_description(self) -> dict[str, str]:
        count_datagrams(self._connection, self.statistics.wire)
        description = self._connection.localDescription
        if "a=candidate:" not in description.sdp:
            raise CallError(
                "no network address to call from; connect to a network, or use loopback for a call within this machine"
            )
        return {"type": description.type, "sdp": description.sdp}

    async def connected(self) -> None:
        """Wait until the data channels are open. Raises CallError if that fails, or takes `connect_timeout`."""
        try:
            await asyncio.wait_for(asyncio.shield(self._opened), self.config.connect_timeout)
        except TimeoutError:
            raise CallError(
                f"no connection within {self.config.connect_timeout:g} s: is UDP blocked on the way?"
                " A TURN server helps then"
            ) from None

    async def ended(self) -> str | None:
        """Wait for the end: the reason that the other side gave when it left, or None after our own `close`.

        Raises CallError if the connection was lost.
        """
        return await asyncio.shield(self._ended)

    async def close(self, reason: str | None = None) -> None:
        """Close the connection; with a reason, say goodbye first. May be called twice, and by several tasks."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason))
        await asyncio.shield(self._closing)

    async def _close(self, reason: str | None) -> None:
        self._sender.detach(self)
        if not self._ended.done():
            self._ended.set_result(None)
        if reason is not None and self._control.readyState == "open":
            self._send(self._control, Bye(reason[:REASON_LIMIT]))
            # The goodbye is worth a moment; the other side's timeout does the same later.
            for _ in range(20):
                await asyncio.sleep(0.01)
                if self._control.bufferedAmount == 0:
                    break
            await asyncio.sleep(0.02)
        if not self._opened.done():
            self._opened.set_exception(CallError("closed before it was open"))
        for future in (self._opened, self._ended):
            future.exception()  # mark as seen: nobody has to wait for them
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()

    def _fail(self, message: str) -> None:
        error = CallError(message)
        for future in (self._opened, self._ended):
            if not future.done():
                future.set_exception(error)
                future.exception()
        self._sender.detach(self)

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        logger.debug("connection %s", state)
        if state == "failed":
            self._fail("no way to the other side: every network path failed. Across networks, a TURN server helps")
        elif state == "closed":
            self._fail("the other side closed the connection without a goodbye")

    # Data channels.

    def _channel(self, label: str, number: int, on_message: Any, lossy: bool = False) -> RTCDataChannel:
        options: dict[str, Any] = {"ordered": False, "maxRetransmits": 0} if lossy else {}
        channel = self._connection.createDataChannel(label, negotiated=True, id=number, **options)
        channel.on("message", on_message)
        if label == "control":
            channel.on("open", self._channels_opened)
        return channel

    def _channels_opened(self) -> None:
        if self._opened.done():
            return
        self._send(self._control, Hello(PROTOCOL_VERSION, self.config.name[:64]))
        self._sender.attach(self)
        self._start(self._watch())
        if self._sender.picture is not None:
            self._start(self._send_picture(self._sender.picture))
        self._opened.set_result(None)

    def _start(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)

    def _send(self, channel: RTCDataChannel, message: Message) -> None:
        if channel.readyState == "open":
            hold_congestion_window(self._sctp)
            channel.send(encode_message(message))

    async def _watch(self) -> None:
        """Ping once a second; end the connection when nothing comes any more."""
        number = 0
        while True:
            now = time.monotonic()
            silence = now - self.statistics.wire.last_received
            if silence > self.config.silence_timeout:
                self._fail(f"nothing came from the other side for {silence:.0f} s")
                return
            self._ping = (number, now)
            self._send(self._clock, Ping(number))
            number += 1
            await asyncio.sleep(PING_EVERY)

    async def _send_picture(self, picture: bytes) -> None:
        """Send the picture piece by piece, the next when the last has left: motion and voice share the path."""
        self._send(self._picture, PictureAnnounce(len(picture), digest(picture)))
        for start in range(0, len(picture), PIECE_BYTES):
            while self._picture.bufferedAmount > 0:
                if self._picture.readyState != "open":
                    return
                await asyncio.sleep(0.002)
            self._picture.send(picture[start : start + PIECE_BYTES])
            await asyncio.sleep(PIECE_BYTES * 8 / PICTURE_BPS)

    # What the other side sends.

    def _protocol_error(self, error: object) -> None:
        self.statistics.protocol_errors += 1
        # Once at a level that is seen: a peer that sends garbage must not fill the log.
        level = logging.WARNING if self.statistics.protocol_errors == 1 else logging.DEBUG
        logger.log(level, "dropped from the other side: %s", error)

    def _control_arrived(self, data: bytes | str) -> None:
        try:
            self._handle(decode_message(data))
        except (ProtocolError, CodecError, PictureError) as error:
            self._protocol_error(error)

    def _handle(self, message: Message) -> None:
        match message:
            case Hello(version, name):
                if version != PROTOCOL_VERSION:
                    newer = "this" if version > PROTOCOL_VERSION else "the other"
                    self._fail(
                        f"the other side speaks version {version}, this one {PROTOCOL_VERSION}: update {newer} side"
                    )
                self._greeted, self.peer_name = True, name
            case MotionHeader(header):
                self._receiver.begin_motion(header)
            case VoiceClock(rtp_origin):
                self._receiver.begin_voice(rtp_origin)
            case PictureAnnounce():
                raise ProtocolError("a picture announced on the wrong channel")
            case Ping(number):
                self._send(self._clock, Pong(number, self._sender.clock.time()))
            case Pong(number, peer_time):
                self._pong(number, peer_time)
            case Bye(reason):
                if not self._ended.done():
                    self._ended.set_result(reason)

    def _pong(self, number: int, peer_time: float) -> None:
        if self._ping is None or self._ping[0] != number:
            return  # too late to tell anything
        now, sent = time.monotonic(), self._ping[1]
        self._ping = None
        round_trip = now - sent
        self.statistics.round_trip.add(round_trip)
        # The shortest round trip says most about the clocks; the bound is relaxed so that drift is followed.
        self._best_round_trip = min(self._best_round_trip * 1.02, self._best_round_trip + 0.001)
        if round_trip <= self._best_round_trip:
            self._best_round_trip = round_trip
            self._receiver.peer_epoch = (sent + now) / 2 - peer_time

    def _picture_arrived(self, data: bytes | str) -> None:
        try:
            if self._assembly is None:
                # The announcement comes first on this channel: between channels nothing keeps the order.
                message = decode_message(data)
                if not isinstance(message, PictureAnnounce):
                    raise ProtocolError("expected the announcement of a picture")
                self._assembly = PictureAssembly(message.size, message.digest)
                return
            if isinstance(data, str):
                raise ProtocolError("a piece of a picture that is none")
            picture = self._assembly.add(data)
        except (ProtocolError, PictureError) as error:
            self._protocol_error(error)
            return
        if picture is not None:
            self._receiver.receive_picture(picture)

    def _motion_arrived(self, data: bytes | str) -> None:
        if isinstance(data, str) or len(data) > MOTION_LIMIT:
            self._protocol_error("motion that is none")
            return
        acknowledgement = self._receiver.receive_motion(data, time.monotonic())
        if acknowledgement is not None and self._acknowledgements.readyState == "open":
            hold_congestion_window(self._sctp)
            self._acknowledgements.send(acknowledgement)

    def _acknowledgement_arrived(self, data: bytes | str) -> None:
        try:
            if isinstance(data, str) or len(data) > MOTION_LIMIT:
                raise ProtocolError("an acknowledgement that is none")
            self._sender.acknowledge(data)
        except (ProtocolError, CodecError) as error:
            self._protocol_error(error)

    def _voice_arrived(self, sequence: int, timestamp: int, payload: bytes) -> None:
        self._receiver.receive_voice(sequence, timestamp, payload, time.monotonic())

    # What the sender transmits.

    @property
    def takes_motion(self) -> bool:
        return self._motion.readyState == "open" and self._motion.bufferedAmount <= STALE_BYTES

    def transmit_motion(self, packet: bytes) -> None:
        hold_congestion_window(self._sctp)
        self._motion.send(packet)

    def transmit_motion_header(self, header: bytes) -> None:
        self._send(self._control, MotionHeader(header))

    def transmit_voice(self, packet: VoicePacket) -> None:
        self._track.push(packet)

    def _voice_was_sent(self, start: int) -> None:
        if self._control.readyState != "open":
            return
        self._voice_packets_sent += 1
        if self._voice_packets_sent in VOICE_CLOCK_WITH:
            self._send(self._control, VoiceClock((rtp_timestamp_of_last_packet(self._rtp_sender) - start) % 2**32))


def _description_text(description: Any, kind: str) -> str:
    """The SDP of a description that the other side sent, if it is one for a call like ours."""
    if not isinstance(description, dict) or description.get("type") != kind:
        raise ProtocolError(f"expected an {kind}")
    text = description.get("sdp")
    if not isinstance(text, str) or len(text) > DESCRIPTION_LIMIT:
        raise ProtocolError(f"{kind}: expected at most {DESCRIPTION_LIMIT} characters of SDP")
    media = [line.split()[0] for line in text.splitlines() if line.startswith("m=")]
    if sorted(media) != ["m=application", "m=audio"]:
        raise ProtocolError(f"{kind}: expected one audio and one data section")
    return text


@contextlib.contextmanager
def _described_as(kind: str) -> Iterator[None]:
    """Turns whatever a description leads aiortc to raise into a ProtocolError."""
    try:
        yield
    except Exception as error:
        raise ProtocolError(f"{kind}: not one of a call like this ({type(error).__name__}: {error})") from error
