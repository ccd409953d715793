"""The voice on its way to the loudspeaker: packets in any order in, samples at the playout clock's media time out.

Packets stay encoded until their samples are needed, so that every millisecond of the playout delay is there for them
to arrive in. What has not come by then is concealed by the decoder, fading to silence; what comes later is dropped.
The output follows the clock: small differences by leaving out or repeating a pitch period, large ones by a jump.
"""

from __future__ import annotations

import numpy as np

from streaming.media import AUDIO_RATE_HZ, Samples
from streaming.time_scale import NEEDED, cross_fade, lengthen, shorten
from streaming.voice import CONCEALMENT_SAMPLES, VoiceDecoder, VoicePacket, VoicePacketError, packet_samples

CAPACITY = 150
"Packets that are kept: 3 seconds of 20 ms packets."
HORIZON = 10 * AUDIO_RATE_HZ
"A packet farther than this from what is played is taken for a new beginning of the stream."
DEAD_BAND = AUDIO_RATE_HZ // 125
"Samples (8 ms) that the output may differ from the clock before a pitch period is left out or repeated."
JUMP = AUDIO_RATE_HZ // 10
"Samples (100 ms) of difference above which the output jumps."
SMOOTHING = 0.15
"Weight of the newest difference in its running mean: reads come with a few milliseconds of scheduling jitter."
FADE_OUT = 3 * CONCEALMENT_SAMPLES
"Samples of concealment at full level; from there it fades within as many again."
JOIN = 96
"Samples (2 ms) over which a jump is blended."


class VoiceBuffer:
    """A jitter buffer for one voice."""

    def __init__(self) -> None:
        self._decoder = VoiceDecoder()
        self._packets: dict[int, VoicePacket] = {}
        self._decoded = np.zeros(0, np.int16)
        self._next: int | None = None
        self._last_sequence: int | None = None
        self._concealed_run = 0
        self._difference = 0.0
        self.received = 0
        "Packets that were put in."
        self.late = 0
        "Packets that came after their time."
        self.lost = 0
        "Packets that were not there in time, by their sequence numbers."
        self.malformed = 0
        "Packets that did not decode."
        self.concealed_samples = 0
        "Samples made up in place of missing ones, until the concealment faded to silence."
        self.stretched_samples = 0
        "Samples that were left out or repeated to follow the clock."

    def begin(self) -> None:
        """A new stream: forget all packets; the counters go on."""
        self._decoder = VoiceDecoder()
        self._restart(None)

    def insert(self, packet: VoicePacket) -> None:
        """Put in a packet, in any order. Duplicates, late and malformed ones are counted and dropped."""
        try:
            samples = packet_samples(packet.payload)
        except VoicePacketError:
            self.malformed += 1
            return
        self.received += 1
        if self._next is not None and abs(packet.start - self._next) > HORIZON:
            self._restart(None)
        if self._next is not None and packet.start + samples <= self._next:
            self.late += 1
            return
        self._packets[packet.start] = packet
        if len(self._packets) > CAPACITY:
            del self._packets[min(self._packets)]

    @property
    def position(self) -> int | None:
        """Media position of the sample that the next `read` would begin with; None before the first read."""
        return None if self._next is None else self._next - self._decoded.size

    def read(self, count: int, media_time: float) -> Samples:
        """The next (count,) int16 samples for the output, the first to be heard at this media time."""
        wanted = round(media_time * AUDIO_RATE_HZ)
        if self._next is None:
            if not self._packets or wanted + count <= min(self._packets):
                return np.zeros(count, np.int16)
            self._restart(wanted)
        self._follow(wanted)
        self._fill(count)
        samples, self._decoded = self._decoded[:count], self._decoded[count:]
        return samples

    def _follow(self, wanted: int) -> None:
        """Bring the position nearer to the wanted one."""
        assert self._next is not None
        difference = wanted - (self._next - self._decoded.size)
        self._difference += SMOOTHING * (difference - self._difference)
        if abs(difference) > JUMP:
            self._jump(wanted)
        elif self._difference > DEAD_BAND and difference > 0:
            self._fill(NEEDED + JOIN, conceal=False)
            self._stretch(shorten(self._decoded))
        elif self._difference < -DEAD_BAND and difference < 0:
            self._fill(NEEDED, conceal=False)
            self._stretch(lengthen(self._decoded))

    def _stretch(self, samples: Samples) -> None:
        change = samples.size - self._decoded.size
        self.stretched_samples += abs(change)
        # `_next` stays: it is the media position after the last decoded sample; so the position moves by the change.
        self._difference += change
        self._decoded = samples

    def _jump(self, wanted: int) -> None:
        assert self._next is not None
        position = self._next - self._decoded.size
        leaving = self._decoded[:JOIN].copy()
        if position <= wanted < self._next:
            self._decoded = self._decoded[wanted - position :]
        else:
            self._restart(wanted)
        self._difference = 0.0
        if leaving.size == JOIN:
            self._fill(JOIN)
            self._decoded[:JOIN] = cross_fade(leaving, self._decoded[:JOIN])

    def _restart(self, position: int | None) -> None:
        self._next = position
        self._decoded = np.zeros(0, np.int16)
        self._difference = 0.0
        if position is None:
            self._packets.clear()
            self._last_sequence = None

    def _fill(self, count: int, conceal: bool = True) -> None:
        """Decode until `count` samples are there; without `conceal`, only as far as packets follow without a gap."""
        while self._decoded.size < count:
            block = self._next_packet()
            if block is None:
                if not conceal:
                    return
                block = self._conceal()
            self._decoded = np.concatenate((self._decoded, block))

    def _next_packet(self) -> Samples | None:
        """The samples of the packet that is due, or None if it is not there. Moves `_next` past them."""
        assert self._next is not None
        while self._packets:
            start = min(self._packets)
            if start > self._next:
                return None
            packet = self._packets.pop(start)
            if start + packet_samples(packet.payload) <= self._next:
                self.late += 1
                continue
            try:
                block = self._decoder.decode(packet.payload)
            except VoicePacketError:
                self.malformed += 1
                continue
            self._count_lost(packet.sequence)
            self._concealed_run = 0
            block = block[self._next - start :]
            self._next += block.size
            return block
        return None

    def _count_lost(self, sequence: int) -> None:
        if self._last_sequence is not None and sequence > self._last_sequence:
            self.lost += sequence - self._last_sequence - 1
        self._last_sequence = max(sequence, self._last_sequence or sequence)

    def _conceal(self) -> Samples:
        """Up to 10 ms in place of what is missing. Moves `_next` past them."""
        assert self._next is not None
        size = CONCEALMENT_SAMPLES
        following = self._packets.get(min(self._packets)) if self._packets else None
        if following is not None:
            size = min(size, following.start - self._next)
        # Nothing was lost when the sender paused: then the decoder's comfort noise goes on for as long as it takes.
        paused = (
            following is not None and self._last_sequence is not None and following.sequence == self._last_sequence + 1
        )
        run = 0 if paused else self._concealed_run
        if run >= 2 * FADE_OUT:
            block = np.zeros(size, np.int16)
        else:
            self.concealed_samples += size
            block = self._decoder.conceal()[:size]
            level = np.clip((2 * FADE_OUT - run - np.arange(size)) / FADE_OUT, 0.0, 1.0)
            block = np.rint(block * level).astype(np.int16)
        self._concealed_run += size
        self._next += size
        return block
