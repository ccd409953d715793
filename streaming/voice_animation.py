"""The motion that a voice asks for, as soon as its packets are here: lips need what is yet to be heard.

The packets that wait in the jitter buffer for their playout are decoded here a second time, ahead, which takes a tenth
of a millisecond each. What is played in place of lost ones is not looked at: the mouth closes over a gap as the
concealment fades.
"""

from __future__ import annotations

import logging

import av
import numpy as np

from engine.audio.mel import MelConfig
from engine.audio.voice_motion import VoiceModel, VoiceMotion
from engine.motion import FaceState
from streaming.media import AUDIO_RATE_HZ, Samples
from streaming.voice import VoiceDecoder, VoicePacket, VoicePacketError, packet_samples

logger = logging.getLogger(__name__)

WAITING = 2
"Packets that have come before one that is missing counts as lost: reordering is rare, and so much is waited anyway."
SILENCE_LIMIT = AUDIO_RATE_HZ
"Samples of silence in place of a gap; over a longer one the voice begins anew."
HORIZON = 10 * AUDIO_RATE_HZ
"A packet farther than this from what was heard is a new beginning of the stream."
_STEP = AUDIO_RATE_HZ // 50


class VoiceAnimation:
    """One voice. Its motion is asked for in media time."""

    def __init__(self, model: VoiceModel, seed: int = 0) -> None:
        self._model, self._seed = model, seed
        self.begin()

    def begin(self) -> None:
        """A new stream: forget the voice."""
        self._decoder = VoiceDecoder()
        self._motion: VoiceMotion | None = None
        self._packets: dict[int, VoicePacket] = {}
        self._position: int | None = None
        "Media position of the next sample that is to be listened to."

    @property
    def reached(self) -> float | None:
        """Media time up to which the motion is known; None before any is."""
        return None if self._motion is None else self._motion.reached

    def receive(self, packet: VoicePacket) -> None:
        """A packet, in any order; late and malformed ones are dropped."""
        try:
            samples = packet_samples(packet.payload)
        except VoicePacketError:
            return
        if self._position is not None and abs(packet.start - self._position) > HORIZON:
            self._packets.clear()
            self._position = None
        if self._position is not None and packet.start + samples <= self._position:
            return
        self._packets[packet.start] = packet
        self._listen()

    def state(self, media_time: float, idle: float = 1.0) -> FaceState | None:
        """The motion at this media time, see `VoiceMotion.state`; None before the voice has begun."""
        if self._motion is None or self._position is None:
            return None
        # Nothing has come for what is heard by now: it is silence, and what comes is late.
        missing = round(media_time * AUDIO_RATE_HZ) - self._position
        if missing > 0:
            self._silence(missing)
            self._listen()
        return self._motion.state(media_time, idle)

    def neutral(self, media_time: float) -> FaceState:
        """What the motion's pose is measured from."""
        return self._model.neutral(media_time)

    def _listen(self) -> None:
        """Decode what follows without a gap, and past a gap what has waited."""
        while self._packets:
            start = min(self._packets)
            if self._position is not None and start > self._position:
                if len(self._packets) <= WAITING:
                    return
                self._silence(start - self._position)
            packet = self._packets.pop(start)
            try:
                samples = self._decoder.decode(packet.payload)
            except VoicePacketError:
                continue
            known = 0 if self._position is None else max(self._position - start, 0)
            if known < samples.size:
                self._hear(samples[known:], start + known)

    def _silence(self, count: int) -> None:
        assert self._position is not None
        if count > SILENCE_LIMIT:
            self._position += count - SILENCE_LIMIT
            self._anew(self._position)
            count = SILENCE_LIMIT
        for begin in range(0, count, _STEP):
            self._hear(np.zeros(min(_STEP, count - begin), np.int16), self._position)

    def _hear(self, samples: Samples, position: int) -> None:
        if self._motion is None or self._position is None:
            self._anew(position)
        assert self._motion is not None
        self._position = position + samples.size
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = AUDIO_RATE_HZ
        for heard in self._resampler.resample(frame):
            self._motion.push(np.asarray(heard.to_ndarray(), np.float32).reshape(-1))

    def _anew(self, position: int) -> None:
        """Listening goes on at another place; head and lids go on as they were."""
        begin = position / AUDIO_RATE_HZ
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=MelConfig().rate_hz)
        if self._motion is None:
            self._motion = VoiceMotion(self._model, seed=self._seed, begin=begin)
        else:
            self._motion.begin(begin)
