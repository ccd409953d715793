"""A call in which motion is missing now and then: the mouth in the gaps, with and without the voice filling in.

Both halves of a call run with real packets, in virtual time: the fitted motion of a clip and its sound go in, packets
are dropped by a seeded list, and what the receiver shows is compared with the motion that was sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.audio.sound_file import SoundFile
from engine.audio.voice_motion import VoiceModel
from engine.face.model import FaceModel
from engine.motion import FaceState
from engine.training.mouth_basis import mouth_opening
from streaming.clock import MediaClock
from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.playout import MotionView
from streaming.voice import VoicePacket

RATE = 25.0
PROCESSING = 0.012
"Seconds from a frame's capture until its motion is known."
WAY = 0.03
"Seconds that a packet is under way, and as many at most more."
BLOCK = 480
ORIGIN = 4_000_000_000


@dataclass(frozen=True)
class Gaps:
    """What is lost. An outage begins every `every` seconds."""

    loss: float = 0.0
    outage: float = 0.0
    every: float = 2.0
    voice_too: bool = True
    "Whether the voice's packets are lost as well."


GAPS = {
    "loss_20_percent": Gaps(loss=0.2),
    "loss_20_percent_and_outages_500_ms_of_motion": Gaps(loss=0.2, outage=0.5, voice_too=False),
    "outages_500_ms_of_motion": Gaps(outage=0.5, voice_too=False),
    "outages_500_ms_of_all": Gaps(outage=0.5),
}


class Speaking(Protocol):
    """A clip: its sound, how late that is, and its motion."""

    @property
    def sound(self) -> Path: ...
    @property
    def delay_ms(self) -> float | None: ...
    @property
    def states(self) -> tuple[FaceState | None, ...]: ...


class Wire:
    """Where a sender's packets go: to the receiver after their way, or nowhere."""

    takes_motion = True

    def __init__(self, network: Network) -> None:
        self._network = network

    def transmit_motion_header(self, header: bytes) -> None:
        self._network.receiver.begin_motion(header)

    def transmit_motion(self, packet: bytes) -> None:
        self._network.send(packet)

    def transmit_voice(self, packet: VoicePacket) -> None:
        self._network.send(packet)


class Network:
    """A sender, a receiver and the way between them, in virtual time."""

    def __init__(self, gaps: Gaps, model: VoiceModel | None, seed: int) -> None:
        self._gaps = gaps
        self._random = np.random.default_rng(seed)
        self._on_the_way: list[tuple[float, int, bytes | VoicePacket]] = []
        self._sent = self._voiced = 0
        self._now = 0.0
        self.receiver = MediaReceiver(voice_model=model)
        self.sender = MediaSender(clock=MediaClock(0.0))
        self.receiver.begin()
        self.receiver.begin_voice(ORIGIN)
        self.sender.attach(Wire(self))

    def advance(self, now: float) -> None:
        """Let arrive what arrives up to local time `now`."""
        while self._on_the_way and self._on_the_way[0][0] <= now:
            arrival, _, packet = heapq.heappop(self._on_the_way)
            if isinstance(packet, VoicePacket):
                timestamp = (ORIGIN + packet.start) % 2**32
                self.receiver.receive_voice(packet.sequence % 2**16, timestamp, packet.payload, arrival)
            else:
                acknowledgement = self.receiver.receive_motion(packet, arrival)
                if acknowledgement is not None:
                    self.sender.acknowledge(acknowledgement)
        self._now = now

    def send(self, packet: bytes | VoicePacket) -> None:
        gaps, now = self._gaps, self._now
        self._sent += 1
        voiced = isinstance(packet, VoicePacket)
        if isinstance(packet, VoicePacket):
            packet = replace(packet, sequence=self._voiced)
            self._voiced += 1
        # A second of both comes before anything is lost: the playout has begun.
        lost = self._random.random() < gaps.loss or (now - 1.0) % gaps.every < gaps.outage
        arrival = now + WAY * (1.0 + self._random.random())
        if now < 1.0 or not lost or (voiced and not gaps.voice_too):
            heapq.heappush(self._on_the_way, (arrival, self._sent, packet))


def play(clip: Speaking, gaps: Gaps, model: VoiceModel | None, seed: int = 0) -> list[MotionView]:
    """What is shown of the clip at 25 frames a second. model: fills gaps with the voice."""
    network = Network(gaps, model, seed)
    late = (clip.delay_ms or 0.0) / 1000
    sound = np.concatenate(list(SoundFile(clip.sound).blocks(AUDIO_RATE_HZ)))
    early = np.zeros(max(round(-late * AUDIO_RATE_HZ), 0), np.float32)
    samples = np.rint(32767 * np.concatenate((early, sound[max(round(late * AUDIO_RATE_HZ), 0) :]))).astype(np.int16)
    frames = [(number / RATE + PROCESSING, 0, state) for number, state in enumerate(clip.states) if state is not None]
    blocks = [(end / AUDIO_RATE_HZ, 1, end - AUDIO_BLOCK) for end in range(AUDIO_BLOCK, samples.size, AUDIO_BLOCK)]
    reads = [(number * BLOCK / AUDIO_RATE_HZ, 2, None) for number in range(100 * len(clip.states) // int(RATE))]
    displays = [(number / RATE + 0.005, 3, None) for number in range(len(clip.states))]
    events: list[tuple[float, int, Any]] = [*frames, *blocks, *reads, *displays]
    shown = []
    for now, kind, what in sorted(events, key=lambda event: event[:2]):
        network.advance(now)
        if kind == 0:
            network.sender.send_motion(replace(what, time=now - PROCESSING))
        elif kind == 1:
            network.sender.send_voice(samples[what : what + AUDIO_BLOCK], what / AUDIO_RATE_HZ)
        elif kind == 2:
            network.receiver.read_audio(BLOCK, now)
        elif (view := network.receiver.view(now)) is not None:
            shown.append(view)
    return shown


def measure_gaps(clips: Sequence[Speaking], model: VoiceModel, gaps: Gaps) -> dict[str, Any]:
    """Correlation of the mouth's opening with what was sent, and its error, over the frames that are guesses; largest
    steps of the opening from frame to frame. With the voice filling in and without."""
    return {
        "with_voice": _figures([play(clip, gaps, model) for clip in clips], clips),
        "without": _figures([play(clip, gaps, None) for clip in clips], clips),
    }


def _figures(shown: list[list[MotionView]], clips: Sequence[Speaking]) -> dict[str, float]:
    opening = mouth_opening(FaceModel.load())
    made, true, steps, true_steps = [], [], [], []
    frames = 0
    for views, clip in zip(shown, clips, strict=True):
        known = [(state.time, float(opening @ state.expression)) for state in clip.states if state is not None]
        times, openings = np.array(known).T
        usual = openings.mean()
        guessed = [view for view in views if view.concealed]
        frames += len(views)
        made += [float(opening @ _face(view).expression) - usual for view in guessed]
        true += (np.interp([view.media_time for view in guessed], times, openings) - usual).tolist()
        steps += np.abs(np.diff([opening @ _face(view).expression for view in views])).tolist()
        true_steps += np.abs(np.diff(np.interp([view.media_time for view in views], times, openings))).tolist()
    return {
        "guessed_share": len(made) / frames,
        "opening_correlation": float(np.corrcoef(made, true)[0, 1]),
        "opening_error_percent": float(100 * np.abs(np.subtract(made, true)).mean()),
        "step_p99_percent": float(100 * np.quantile(steps, 0.99)),
        "step_p99_sent_percent": float(100 * np.quantile(true_steps, 0.99)),
    }


def _face(view: MotionView) -> FaceState:
    assert isinstance(view.state, FaceState)
    return view.state
