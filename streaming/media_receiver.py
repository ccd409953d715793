"""The receiving half of a call: packets in; the motion to show and the voice to play out; outlives connections."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np

from engine.audio.voice_motion import VoiceModel
from streaming.clock import PlayoutClock, PlayoutConfig, SerialUnwrapper
from streaming.codec import CodecError, MotionDecoder, MotionMismatchError, MotionStatistics, StreamHeader
from streaming.jitter_buffer import CAPACITY as VOICE_CAPACITY
from streaming.jitter_buffer import VoiceBuffer
from streaming.media import AUDIO_RATE_HZ, RGB, Samples
from streaming.playout import MotionBuffer, MotionView
from streaming.statistics import ReceiverStatistics
from streaming.voice import VoicePacket
from streaming.voice_animation import VoiceAnimation
from streaming.voice_fill import VoiceFill

logger = logging.getLogger(__name__)

ACKNOWLEDGE_EVERY = 2
"""Motion packets for each acknowledgement. One for every packet saves a fifth of the motion's payload; but with headers
and the transport's own acknowledgement of it, each costs some 190 bytes on the wire."""
RECOVER_AFTER = 0.5
"Seconds in which most motion packets cannot be decoded, after which the decoder begins anew."
VOICE_DRIVES_AFTER = 1.0
"Seconds without motion after which the playout waits for the motion that is made of the voice."
READ_BLOCK_LIMIT = 0.1
"Seconds; a longer read than this does not lengthen the playout delay any more."


class MediaReceiver:
    """Ask `view` for the motion and `read_audio` for the voice of the moment, from any thread."""

    def __init__(
        self,
        config: PlayoutConfig | None = None,
        acknowledge_every: int = ACKNOWLEDGE_EVERY,
        motion_statistics: MotionStatistics | None = None,
        voice_model: VoiceModel | None = None,
    ) -> None:
        """acknowledge_every: motion packets for each acknowledgement, at least 1. motion_statistics: the tables of the
        motion that drives this side's avatar (`streaming.keypoint_statistics`), without which it is faces. voice_model:
        lets the other side's voice move the face where there is no motion; for avatars that are driven by faces."""
        if acknowledge_every < 1:
            raise ValueError(f"acknowledge_every: expected at least 1, got {acknowledge_every}")
        self._acknowledge_every = acknowledge_every
        self.clock = PlayoutClock(config)
        self.statistics = ReceiverStatistics()
        self.picture: RGB | None = None
        "The source picture of the other side, (H, W, 3) uint8 RGB, once it has arrived."
        self.header: StreamHeader | None = None
        "The header of the other side's motion stream, once it has arrived."
        self.motion_refused: str | None = None
        "Why the other side's motion cannot be shown; None while it can."
        self._motion_statistics = motion_statistics
        self.peer_epoch: float | None = None
        "Local time at which the other side's media clock was 0, as far as pings can tell."
        self._picture_arrived = asyncio.Event()
        self._lock = threading.Lock()
        self._motion = MotionBuffer(eases=voice_model is None)
        self._voice = VoiceBuffer()
        self._animation = None if voice_model is None else VoiceAnimation(voice_model)
        self._fill = VoiceFill()
        self._motion_arrival = -math.inf
        self._heard: tuple[float, float, float] | None = None
        self._begin()

    def _begin(self) -> None:
        self._decoder: MotionDecoder | None = None
        self._unacknowledged = self._acknowledge_every
        self._refused_since: float | None = None
        self._doubts = 0
        "Packets refused since then, less those that were decoded."
        self._rtp_origin: int | None = None
        self._rtp_times = SerialUnwrapper(32)
        self._rtp_sequence = SerialUnwrapper(16)
        self._early_voice: list[tuple[int, int, bytes, float]] = []

    # What outputs use.

    def view(self, now: float | None = None, ahead: float = 0.0) -> MotionView | None:
        """The motion to show at local time `now` (time.monotonic, the default).

        ahead: seconds until it is on display, which rendering takes: the motion of then is given if it is there
        already, else the newest that is; a guess at motion to come would cost more than the delay.
        None before the call has begun and while it begins anew: go on showing what is shown.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            media_time = self.clock.media_time(now)
            if media_time is None:
                return None
            newest = self._motion.newest
            known = None if newest is None else newest.time
            if self._animation is not None and (known is None or known < media_time):
                known = self._animation.reached
            if known is not None:
                media_time = max(media_time, min(media_time + ahead, known))
            view = self._motion.view(media_time)
            return view if self._animation is None else self._fill.view(view, media_time, self._animation)

    def read_audio(self, count: int, now: float | None = None) -> Samples:
        """The next (count,) int16 mono samples at 48 kHz, for an output that plays the first of them at `now`.

        Silence while there is no voice. Read 10 or 20 ms at a time: the playout delay grows with the block.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            block = min(count / AUDIO_RATE_HZ, READ_BLOCK_LIMIT)
            # Follows the largest block at once and forgets it slowly.
            self.clock.read_block = max(block, 0.995 * self.clock.read_block)
            media_time = self.clock.media_time(now)
            if media_time is None:
                self._heard = None
                return np.zeros(count, np.int16)
            samples = self._voice.read(count, media_time)
            position = self._voice.position
            if position is None:
                self._heard = None
            else:
                self._heard = (now, (position - count) / AUDIO_RATE_HZ, count / AUDIO_RATE_HZ)
            return samples

    def heard_time(self, now: float | None = None) -> float | None:
        """Media time of the voice that is heard at local time `now`; None if none is."""
        now = time.monotonic() if now is None else now
        heard = self._heard
        if heard is None or now - heard[0] > 0.5:
            return None
        return heard[1] + min(now - heard[0], heard[2])

    def displayed(self, view: MotionView, now: float | None = None) -> None:
        """Tell that the picture of this view is on display since `now`: what latency and skew are counted from."""
        now = time.monotonic() if now is None else now
        with self._lock:
            statistics = self.statistics
            statistics.views_concealed += view.concealed
            if self.peer_epoch is not None:
                statistics.capture_to_display.add(now - self.peer_epoch - view.shown_time)
            heard = self.heard_time(now)
            if heard is not None:
                statistics.skew.add(view.shown_time - heard)
            waiting = self.clock.waiting
            if waiting is not None:
                statistics.playout_delay.add(waiting)

    async def frames(self, rate: float = 25.0, ahead: Callable[[], float] = lambda: 0.0) -> AsyncIterator[MotionView]:
        """The views at a steady display rate, for ever; a consumer that is too slow misses some. Cancelling is safe.

        ahead: what `view` is told, asked for every frame.
        """
        begin, count = time.monotonic(), 0
        while True:
            now = time.monotonic()
            view = self.view(now, ahead())
            if view is not None:
                yield view
            count = max(count + 1, int((time.monotonic() - begin) * rate))
            await asyncio.sleep(max(begin + count / rate - time.monotonic(), 0.0))

    async def wait_for_picture(self) -> RGB:
        """The source picture of the other side, as soon as it is there."""
        await self._picture_arrived.wait()
        assert self.picture is not None
        return self.picture

    # What connections use.

    def begin(self) -> None:
        """A new connection: its streams begin anew. The picture stays until another one comes."""
        with self._lock:
            self._begin()
            self.clock.reset()
            self._motion.clear()
            self._voice.begin()
            self._fill.begin()
            if self._animation is not None:
                self._animation.begin()
            self._heard = None
            self.peer_epoch = None

    def begin_motion(self, header: bytes) -> None:
        """The motion stream's header. Raises CodecError for bytes that are none.

        Motion that is sound but not what drives this side's avatar is refused with a warning, and `motion_refused` says
        why: picture, voice and whatever was shown before stay, and another stream may begin.
        """
        parsed = StreamHeader.from_bytes(header)
        with self._lock:
            self.header = parsed
            try:
                self._decoder = MotionDecoder(parsed, self._motion_statistics)
            except MotionMismatchError as error:
                self._decoder = None
                # Once at a level that is seen: a peer that goes on like this must not fill the log.
                level = logging.WARNING if self.motion_refused is None else logging.DEBUG
                self.motion_refused = str(error)
                logger.log(level, "the other side's motion cannot be shown: %s", error)
            else:
                self.motion_refused = None

    def receive_motion(self, packet: bytes, now: float) -> bytes | None:
        """A motion packet; returns the acknowledgement to send, if one is due. Bad packets are counted and dropped."""
        with self._lock:
            statistics = self.statistics
            statistics.motion.add(packet)
            if self._decoder is None:
                statistics.motion_malformed += 1
                return None
            begin = time.perf_counter()
            try:
                tick, state = self._decoder.decode(packet)
            except CodecError:
                statistics.motion_malformed += 1
                return self._refused(now)
            self._doubts = max(self._doubts - 1, 0)
            if not self._doubts:
                self._refused_since = None
            statistics.decode.add(time.perf_counter() - begin)
            media_time = self._decoder.header.time_of(tick)
            self.clock.motion_arrived(media_time, now)
            self._motion_arrival = now
            self._motion.insert(replace(state, time=media_time))
            statistics.motion_late = self._motion.late
            if self.peer_epoch is not None:
                statistics.capture_to_arrival.add(now - self.peer_epoch - media_time)
            self._unacknowledged += 1
            if self._unacknowledged < self._acknowledge_every:
                return None
            self._unacknowledged = 0
            acknowledgement = self._decoder.acknowledgement()
            statistics.acknowledgements.add(acknowledgement)
            return acknowledgement

    def _refused(self, now: float) -> bytes | None:
        """Most of what comes cannot be decoded: after a while, begin anew and tell the sender that nothing has arrived.

        Not only where nothing can: garbage that passed for a frame which the sender then refers to spoils most packets,
        and not all.
        """
        assert self._decoder is not None
        if self._refused_since is None:
            self._refused_since = now
        self._doubts += 1
        if now - self._refused_since < RECOVER_AFTER:
            return None
        self._refused_since, self._doubts = None, 0
        self._decoder = MotionDecoder(self._decoder.header, self._motion_statistics)
        self._motion.clear()
        self.clock.forget_motion()
        return self._decoder.acknowledgement()

    def begin_voice(self, rtp_origin: int) -> None:
        """The RTP timestamp of media time 0."""
        with self._lock:
            self._rtp_origin = rtp_origin
            early, self._early_voice = self._early_voice, []
            for packet in early:
                self._insert_voice(*packet)

    def receive_voice(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """A voice packet with its RTP sequence number and timestamp."""
        with self._lock:
            self.statistics.voice.add(payload)
            if self._rtp_origin is None:
                # The origin comes over another channel: a bounded number waits for it.
                if len(self._early_voice) < VOICE_CAPACITY:
                    self._early_voice.append((sequence, timestamp, payload, now))
                return
            self._insert_voice(sequence, timestamp, payload, now)

    def _insert_voice(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        assert self._rtp_origin is not None
        position = self._rtp_times.unwrap(timestamp - self._rtp_origin)
        self.clock.voice_arrived(position / AUDIO_RATE_HZ, now)
        packet = VoicePacket(position, payload, self._rtp_sequence.unwrap(sequence))
        self._voice.insert(packet)
        if self._animation is not None:
            self._animate(self._animation, packet, now)
        statistics, voice = self.statistics, self._voice
        statistics.voice_late, statistics.voice_lost = voice.late, voice.lost
        statistics.voice_malformed = voice.malformed
        statistics.voice_concealed_ms = voice.concealed_samples * 1000 / AUDIO_RATE_HZ

    def _animate(self, animation: VoiceAnimation, packet: VoicePacket, now: float) -> None:
        """Let the animation hear the voice ahead of its playout, which waits for its motion as for a camera's."""
        animation.receive(packet)
        if animation.reached is not None and now - self._motion_arrival > VOICE_DRIVES_AFTER:
            self.clock.motion_arrived(animation.reached, now)

    def receive_picture(self, picture_rgb: RGB) -> None:
        """The source picture of the other side, decoded."""
        self.picture = picture_rgb
        self._picture_arrived.set()
