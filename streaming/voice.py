"""Voice as Opus, with our own settings on both ends: 48 kHz mono int16 in and out.

The encoder hands out ready packets, so that the RTP sender adds nothing of its own; a packet's `start` is the media
position of the first sample that its decoder will give back, with the encoder's lookahead already taken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streaming.media import AUDIO_RATE_HZ, Samples

TIME_BASE = Fraction(1, AUDIO_RATE_HZ)

PACKET_BYTES_LIMIT = 1275
"The largest Opus frame (RFC 6716, section 3.2.1). A packet of ours holds one frame; larger ones are refused."
PACKET_SAMPLES_LIMIT = AUDIO_RATE_HZ * 120 // 1000
"The longest Opus packet, 120 ms."

GAP_LIMIT = AUDIO_RATE_HZ
"Samples of silence that fill a gap in the input; a longer gap is a jump of the media position."
SLIP_LIMIT = AUDIO_RATE_HZ // 50
"Samples that a block's time may differ from the count of the samples before it without being taken for a gap."

HANGOVER_MS = 200
"Milliseconds of silence that are still sent: the ends of words are soft."
KEEP_ALIVE_MS = 480
"Milliseconds between packets during silence, which keep the receiver's clock."


class VoicePacketError(ValueError):
    """A packet is not Opus as we accept it."""


@dataclass(frozen=True)
class VoiceConfig:
    """How the voice is encoded."""

    bitrate_bps: int = 20_000
    "Opus payload, 6,000 to 64,000; 16,000 to 24,000 is wideband speech."
    frame_ms: int = 20
    "Length of a packet, 10, 20, 40 or 60 ms: longer ones save headers and cost latency."
    silence_dbfs: float | None = None
    "Send next to nothing while the voice is below this level, like -55, since headers cost most; None always sends."
    fec_loss_percent: int = 0
    "Above 0: spend bits on in-band error correction for this loss. Browsers use it; our receiver conceals instead."
    complexity: int = 9
    "0 to 10: encoder effort."

    def __post_init__(self) -> None:
        if not 6_000 <= self.bitrate_bps <= 64_000:
            raise ValueError(f"bitrate_bps: expected 6000 to 64000, got {self.bitrate_bps}")
        if self.frame_ms not in (10, 20, 40, 60):
            raise ValueError(f"frame_ms: expected 10, 20, 40 or 60, got {self.frame_ms}")
        if self.silence_dbfs is not None and not -96 <= self.silence_dbfs <= 0:
            raise ValueError(f"silence_dbfs: expected -96 to 0, got {self.silence_dbfs}")
        if not 0 <= self.fec_loss_percent <= 100:
            raise ValueError(f"fec_loss_percent: expected 0 to 100, got {self.fec_loss_percent}")
        if not 0 <= self.complexity <= 10:
            raise ValueError(f"complexity: expected 0 to 10, got {self.complexity}")

    @property
    def frame_samples(self) -> int:
        return AUDIO_RATE_HZ * self.frame_ms // 1000


@dataclass(frozen=True)
class VoicePacket:
    """One Opus packet in media time."""

    start: int
    "Media position of the first decoded sample, in samples."
    payload: bytes
    sequence: int = 0
    "RTP sequence number, unwrapped: neighbours differ by one, whatever their times are."


class VoiceEncoder:
    """Cuts a stream of sample blocks into Opus packets."""

    def __init__(self, config: VoiceConfig | None = None) -> None:
        self.config = config or VoiceConfig()
        self._context = self._open()
        self._pending = np.zeros(0, np.int16)
        self._position: int | None = None
        self._lookahead: int | None = None
        self._silent = 0

    def _open(self) -> av.AudioCodecContext:
        config = self.config
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, av.AudioCodecContext)
        context.bit_rate = config.bitrate_bps
        context.format = av.AudioFormat("s16")
        context.layout = av.AudioLayout("mono")
        context.sample_rate = AUDIO_RATE_HZ
        context.time_base = TIME_BASE
        context.options = {
            "application": "voip",
            "frame_duration": str(config.frame_ms),
            "compression_level": str(config.complexity),
            "fec": str(int(config.fec_loss_percent > 0)),
            "packet_loss": str(config.fec_loss_percent),
        }
        return context

    def encode(self, samples: Samples, time: float) -> list[VoicePacket]:
        """Packets that are complete after this block. samples: (N,) int16 mono; time: media time of the first, seconds.

        Blocks follow one another without gaps as long as their times agree with the number of samples within 20 ms; a
        longer gap up to a second is filled with silence, anything else starts anew at the block's own time.
        """
        if samples.ndim != 1 or samples.dtype != np.int16:
            raise ValueError(f"samples: expected (N,) int16, got {samples.shape} {samples.dtype}")
        start = round(time * AUDIO_RATE_HZ)
        if self._position is None:
            self._position = start
        gap = start - (self._position + self._pending.size)
        if SLIP_LIMIT < gap <= GAP_LIMIT:
            samples = np.concatenate((np.zeros(gap, np.int16), samples))
        elif abs(gap) > SLIP_LIMIT:
            self._pending, self._position = np.zeros(0, np.int16), start
        self._pending = np.concatenate((self._pending, samples))
        packets = []
        size = self.config.frame_samples
        while self._pending.size >= size:
            frame = av.AudioFrame.from_ndarray(self._pending[None, :size], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE_HZ, self._position, TIME_BASE
            packets += [
                self._packet(bytes(packet), packet.pts) for packet in self._context.encode(frame) if self._speaks()
            ]
            self._pending = self._pending[size:]
            self._position += size
        return packets

    def _packet(self, payload: bytes, pts: int | None) -> VoicePacket:
        assert self._position is not None
        if self._lookahead is None:
            # libopus looks ahead; libavcodec takes that off the first time stamp, but not right after a jump.
            self._lookahead = self._position - (self._position if pts is None else pts)
        return VoicePacket(self._position - self._lookahead, payload)

    def _speaks(self) -> bool:
        """Whether the frame that was just encoded is to be sent."""
        threshold = self.config.silence_dbfs
        if threshold is None:
            return True
        frame = self._pending[: self.config.frame_samples].astype(np.float64)
        loud = float(np.mean(frame**2)) > (32768 * 10 ** (threshold / 20)) ** 2
        self._silent = 0 if loud else self._silent + self.config.frame_ms
        return self._silent <= HANGOVER_MS or self._silent % KEEP_ALIVE_MS < self.config.frame_ms


_SILK, _HYBRID = 12, 16
_FRAME_SAMPLES = (
    *((480, 960, 1920, 2880) * 3),  # SILK: narrow, medium, wide band
    *((480, 960) * 2),  # hybrid
    *((120, 240, 480, 960) * 4),  # CELT
)


def packet_samples(payload: bytes) -> int:
    """Samples that an Opus packet decodes to at 48 kHz, from its first bytes (RFC 6716, section 3.1)."""
    if not payload:
        raise VoicePacketError("an empty voice packet")
    count = (1, 2, 2)[payload[0] & 3] if payload[0] & 3 < 3 else (payload[1] & 63 if len(payload) > 1 else 0)
    samples = _FRAME_SAMPLES[payload[0] >> 3] * count
    if not 0 < samples <= PACKET_SAMPLES_LIMIT:
        raise VoicePacketError(f"a voice packet of {samples} samples; expected 1 to {PACKET_SAMPLES_LIMIT}")
    return samples


def concealment_packet(payload: bytes) -> bytes:
    """A one-byte packet in the mode of `payload` without any frame data: decoders take it for a loss of 10 ms.

    RFC 6716, section 3.2.1: a frame of no bytes means that it was lost or not sent. This reaches libopus' own
    concealment (and comfort noise) through any decoder interface.
    """
    mode = payload[0] >> 3
    if mode < _SILK:
        ten_ms = mode & ~3
    elif mode < _HYBRID:
        ten_ms = mode & ~1
    else:
        ten_ms = mode & ~3 | 2
    return bytes([ten_ms << 3 | payload[0] & 4])


CONCEALMENT_SAMPLES = AUDIO_RATE_HZ // 100
"Samples of one call of `VoiceDecoder.conceal`."


class VoiceDecoder:
    """Opus packets in order to samples; what is missing is concealed."""

    def __init__(self) -> None:
        self._context = self._open()
        self._last_payload: bytes | None = None

    @staticmethod
    def _open() -> av.AudioCodecContext:
        context = av.CodecContext.create("libopus", "r")
        assert isinstance(context, av.AudioCodecContext)
        context.format = av.AudioFormat("s16")
        context.layout = av.AudioLayout("mono")
        context.sample_rate = AUDIO_RATE_HZ
        return context

    def decode(self, payload: bytes) -> Samples:
        """(N,) int16. Raises VoicePacketError for bytes that are not an Opus packet of 10 bytes to a second; what comes
        later decodes as if this packet had been lost."""
        expected = packet_samples(payload)
        if len(payload) > PACKET_BYTES_LIMIT:
            raise VoicePacketError(f"a voice packet of {len(payload)} bytes; at most {PACKET_BYTES_LIMIT} are accepted")
        samples = self._decode(payload)
        if samples.size != expected:
            raise VoicePacketError(f"a voice packet decoded to {samples.size} samples instead of {expected}")
        self._last_payload = payload
        return samples

    def conceal(self) -> Samples:
        """CONCEALMENT_SAMPLES that continue the voice fading out, in place of a packet that did not come."""
        if self._last_payload is None:
            return np.zeros(CONCEALMENT_SAMPLES, np.int16)
        samples = self._decode(concealment_packet(self._last_payload))
        return samples if samples.size == CONCEALMENT_SAMPLES else np.zeros(CONCEALMENT_SAMPLES, np.int16)

    def _decode(self, payload: bytes) -> Samples:
        try:
            frames = self._context.decode(av.Packet(payload))
        except av.EOFError:
            # Some malformed packets count as an end of stream, after which the context accepts nothing more.
            self._context, self._last_payload = self._open(), None
            raise VoicePacketError("a voice packet that ends the stream") from None
        except av.FFmpegError as error:
            raise VoicePacketError(f"a voice packet that does not decode: {error.strerror}") from None
        blocks = [frame.to_ndarray().reshape(-1) for frame in frames]
        return np.concatenate(blocks).astype(np.int16) if blocks else np.zeros(0, np.int16)


class VoiceTrack(MediaStreamTrack):
    """The audio track of a call: hands the packets that are pushed to the RTP sender, which sends them at once.

    `on_sent(start)` is called once the packet with that start was sent: when the sender asks for the next one.
    """

    kind = "audio"

    def __init__(self, on_sent: Callable[[int], None] | None = None, capacity: int = 10) -> None:
        super().__init__()
        self._queue: asyncio.Queue[VoicePacket] = asyncio.Queue(maxsize=capacity)
        self._on_sent = on_sent
        self._sent: int | None = None
        self.dropped = 0
        "Packets that were never sent, because the connection took none."

    def push(self, packet: VoicePacket) -> None:
        """Queue a packet; the oldest is dropped when the queue is full, since old voice is worth nothing."""
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(packet)

    async def recv(self) -> Any:  # aiortc sends an av.Packet as it is
        if self.readyState != "live":
            raise MediaStreamError
        if self._sent is not None and self._on_sent is not None:
            self._on_sent(self._sent)
        voice = await self._queue.get()
        self._sent = voice.start
        packet = av.Packet(voice.payload)
        packet.pts, packet.time_base = voice.start, TIME_BASE
        return packet
