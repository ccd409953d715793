"""The sending half of a call: takes motion and voice with their media times; outlives connections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from engine.motion import Motion
from streaming.clock import MediaClock
from streaming.codec import CodecConfig, CodecError, MotionEncoder, MotionStatistics, StreamHeader, default_statistics
from streaming.media import RGB, Samples
from streaming.motion_kind import FACE, KEYPOINTS, MotionKind, alike, kind_of
from streaming.playout import interpolate
from streaming.source_transfer import encode_picture
from streaming.statistics import SenderStatistics
from streaming.voice import VoiceConfig, VoiceEncoder, VoicePacket

TIME_TOLERANCE = 0.004
"Seconds by which a capture time may miss its tick of the motion stream without being moved there."


class Transport(Protocol):
    """What the sender needs of a connection."""

    @property
    def takes_motion(self) -> bool:
        """False while what was sent before still waits: newer motion is worth more than older."""

    def transmit_motion(self, packet: bytes) -> None: ...

    def transmit_motion_header(self, header: bytes) -> None: ...

    def transmit_voice(self, packet: VoicePacket) -> None: ...


class MediaSender:
    """Send with `send_motion` and `send_voice`, on the event loop's thread, in the order of capture.

    `clock` is the media clock: capture times are seconds on it. A file or a sound card counts its own samples; then
    set `clock.epoch` so that `clock.time(now)` of the moment of capture is what the samples say, within a few ms.
    """

    def __init__(
        self,
        *,
        picture_rgb: RGB | None = None,
        voice: VoiceConfig | None = None,
        codec: CodecConfig | None = None,
        identity: Sequence[float] = (),
        clock: MediaClock | None = None,
        keypoint_statistics: MotionStatistics | None = None,
    ) -> None:
        """picture_rgb: the source picture that the other side animates, (H, W, 3) uint8 RGB; None sends none.
        codec: its `fps` is the rate of the frames that will be sent. identity: identity coefficients of the driving
        face, which the other side may use. keypoint_statistics: the codec's tables for the keypoints that will be sent
        (`streaming.keypoint_statistics`); those of faces are known.
        Raises PictureError for a picture that cannot be sent."""
        self.clock = clock or MediaClock()
        self.picture = None if picture_rgb is None else encode_picture(picture_rgb)
        "The JPEG that each new connection is given once."
        self.statistics = SenderStatistics()
        self._codec = codec or CodecConfig()
        self._identity = tuple(identity)
        self._statistics: dict[MotionKind[Any], MotionStatistics] = {FACE: default_statistics()}
        if keypoint_statistics is not None:
            self._statistics[KEYPOINTS] = keypoint_statistics
        self._voice = VoiceEncoder(voice)
        self._encoder: MotionEncoder | None = None
        self._last: Motion | None = None
        self._transport: Transport | None = None

    def attach(self, transport: Transport) -> None:
        """A connection is ready: what is sent from now on goes there, with a new motion stream."""
        self._transport = transport
        self._encoder = None

    def detach(self, transport: Transport) -> None:
        """The connection is gone: what is sent is dropped until the next one."""
        if self._transport is transport:
            self._transport = self._encoder = None

    def acknowledge(self, acknowledgement: bytes) -> None:
        """The other side acknowledged motion. Raises CodecError for bytes that are no acknowledgement."""
        if self._encoder is not None:
            self._encoder.acknowledge(acknowledgement)

    def send_motion(self, state: Motion) -> None:
        """Send the motion of one frame; `state.time` is its capture time. Motion of another kind than before begins a
        new stream. Raises CodecError for motion that there are no tables for: a state of another face model than the
        codec's, or keypoints of which nobody told."""
        transport, previous, self._last = self._transport, self._last, state
        if transport is None or not transport.takes_motion:
            self.statistics.motion_unsent += 1
            return
        begin = time.monotonic()
        kind = kind_of(state)
        if self._encoder is None or self._encoder.header.kind is not kind:
            if kind not in self._statistics:
                raise CodecError("keypoints cannot be sent without their tables: MediaSender(keypoint_statistics=...)")
            statistics = self._statistics[kind]
            # The ticks are aligned with the frames, so that a steady camera needs no correction.
            header = StreamHeader.begin(state, self._codec, statistics, state.time, self._identity)
            self._encoder = MotionEncoder(header, statistics)
            transport.transmit_motion_header(header.to_bytes())
        header = self._encoder.header
        tick = header.tick_of(state.time)
        try:
            packet = self._encoder.encode(_at(previous, state, header.time_of(tick)), tick)
        except CodecError:
            if kind.count(state) != header.count:
                raise
            self.statistics.motion_unsent += 1  # a second frame for one tick
            return
        transport.transmit_motion(packet)
        end = time.monotonic()
        self.statistics.motion.add(packet)
        self.statistics.encode.add(end - begin)
        self.statistics.capture_to_send.add(self.clock.time(end) - state.time)

    def send_voice(self, samples: Samples, time: float) -> None:
        """Send a block of voice: (N,) int16, mono, 48 kHz; time: capture time of its first sample. Any N will do; 10 or
        20 ms add the least latency."""
        for packet in self._voice.encode(samples, time):
            if self._transport is not None:
                self.statistics.voice.add(packet.payload)
                self._transport.transmit_voice(packet)


def _at(previous: Motion | None, state: Motion, time: float) -> Motion:
    """The state at a tick's time: between the previous one and this one if the tick is earlier than the frame.

    A tick that is later (by half a tick at most) takes the frame as it is, since guessing ahead would amplify noise.
    """
    if previous is None or not alike(previous, state):
        return state
    step = state.time - previous.time
    early = state.time - time
    if not TIME_TOLERANCE < early < step <= 0.2:
        return state
    return interpolate(previous, state, 1 - early / step)
