"""A real call through a bad network on this machine: how long the head stands still, and what the voice waits.

    python -m benchmarks.impaired_call

Both peers and the network between them run in one process; motion and voice are synthetic, in real time. Nothing is
rendered: what is measured is the playout.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field

import numpy as np

from benchmarks.impaired_path import LOOPBACK, ImpairedPath, PathConditions
from engine.motion import FaceState
from streaming.codec import default_statistics
from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ, Samples
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.peer import IceConfig, Peer, PeerConfig
from streaming.statistics import Distribution

FRAME_INTERVAL = 0.04
PROCESSING = 0.012
"Seconds from the capture of a frame until its motion is known, as landmark tracking takes."
READ = 480
DISPLAY_RATE = 50.0


@dataclass(frozen=True)
class Scenario:
    """One call."""

    name: str
    seconds: float = 8.0
    conditions: PathConditions = field(default_factory=PathConditions)
    outage: float = 0.0
    "Seconds without any datagram, beginning at 40 % of the call."
    seed: int = 0


@dataclass
class CallReport:
    """What one call showed. Times in seconds; distributions as in `streaming.statistics.Distribution.summary`."""

    name: str
    open_after: float
    motion_sent: int = 0
    motion_received: int = 0
    voice_sent: int = 0
    voice_lost: int = 0
    voice_late: int = 0
    longest_freeze: float = 0.0
    "The longest time for which the shown motion did not advance."
    playout_delay: dict[str, float] = field(default_factory=dict)
    playout_delay_at_end: float = math.nan
    skew: dict[str, float] = field(default_factory=dict)
    capture_to_display: dict[str, float] = field(default_factory=dict)
    machine_late: dict[str, float] = field(default_factory=dict)
    "How late this machine runs what is due, in the same process: other figures mean little if this is large."
    motion_bps: float = 0.0
    voice_bps: float = 0.0
    wire_bps: float = 0.0
    "All datagrams of the sending peer with UDP and IP headers."


def moving_face(time: float, expression_size: int) -> FaceState:
    """A head that nods, turns and talks, as smoothly as people do."""
    mouth = 0.3 * math.sin(2 * math.pi * 3 * time) * max(math.sin(2 * math.pi * 0.3 * time), 0.0)
    return FaceState(
        rotation=np.array([0.1 * math.sin(1.3 * time), 0.25 * math.sin(0.9 * time), 0.03 * math.sin(0.7 * time)]),
        translation=np.array([0.02 * math.sin(0.8 * time), 0.01 * math.sin(1.1 * time)]),
        scale=0.25,
        expression=np.array([mouth] + [0.0] * (expression_size - 1)),
        gaze=np.array([0.05 * math.sin(2 * time), 0.0]),
        time=time,
    )


def talking_voice(time: float, count: int) -> Samples:
    """A buzz with the rhythm of syllables."""
    times = time + np.arange(count) / AUDIO_RATE_HZ
    loudness = np.maximum(np.sin(2 * np.pi * 3 * times), 0.0)
    wave = sum(np.sin(2 * np.pi * 120 * harmonic * times) / harmonic for harmonic in range(1, 8))
    return np.asarray(4000 * loudness * wave, np.int16)


async def send_media(sender: MediaSender, seconds: float) -> None:
    """Send synthetic motion and voice in real time, each when a camera and a microphone would have it."""
    size = default_statistics().count
    begin = sender.clock.time()
    frames = blocks = 0
    while (elapsed := sender.clock.time() - begin) < seconds:
        block = AUDIO_BLOCK / AUDIO_RATE_HZ
        while (blocks + 1) * block <= elapsed:
            start = begin + blocks * block
            sender.send_voice(talking_voice(start, AUDIO_BLOCK), start)
            blocks += 1
        while frames * FRAME_INTERVAL + PROCESSING <= elapsed:
            sender.send_motion(moving_face(begin + frames * FRAME_INTERVAL, size))
            frames += 1
        await asyncio.sleep(0.004)


async def watch_machine(lateness: Distribution) -> None:
    """Measure how late this event loop runs what is due, for ever."""
    while True:
        due = time.monotonic() + 0.01
        await asyncio.sleep(0.01)
        lateness.add(time.monotonic() - due)


async def play_voice(receiver: MediaReceiver) -> None:
    """Take the voice like a sound card does, for ever."""
    begin, count = time.monotonic(), 0
    while True:
        await asyncio.sleep(max(begin + count * READ / AUDIO_RATE_HZ - time.monotonic(), 0.0))
        receiver.read_audio(READ)
        count += 1


async def watch(receiver: MediaReceiver, shown: list[tuple[float, float]]) -> None:
    """Take the motion like a display does, for ever; append (local time, newest media time shown)."""
    async for view in receiver.frames(DISPLAY_RATE):
        receiver.displayed(view)
        shown.append((time.monotonic(), view.shown_time))


def longest_freeze(shown: list[tuple[float, float]]) -> float:
    """The longest local time between two advances of what is shown."""
    longest, last_time, last_shown = 0.0, *(shown[0] if shown else (0.0, 0.0))
    for now, media_time in shown:
        if media_time > last_shown:
            longest, last_time, last_shown = max(longest, now - last_time), now, media_time
    return longest


async def connect(a: Peer, b: Peer, path: ImpairedPath) -> None:
    """Connect two peers through the path."""
    offer = await path.rewrite(await a.create_offer())
    await a.accept_answer(await path.rewrite(await b.accept_offer(offer)))
    await asyncio.gather(a.connected(), b.connected())


async def run_call(
    scenario: Scenario, script: Callable[[ImpairedPath], Coroutine[None, None, None]] | None = None
) -> CallReport:
    """Hold one call and report. script: changes the path while the call runs, besides the scenario's own outage."""
    config = PeerConfig(IceConfig(addresses=(LOOPBACK,)))
    sender, receiver = MediaSender(), MediaReceiver()
    shown: list[tuple[float, float]] = []
    lateness = Distribution()
    async with ImpairedPath(scenario.conditions, scenario.seed) as path:
        a, b = Peer(config, sender, MediaReceiver()), Peer(config, MediaSender(), receiver)
        helpers: list[asyncio.Task[None]] = []
        try:
            begin = time.monotonic()
            await connect(a, b, path)
            report = CallReport(scenario.name, time.monotonic() - begin)
            wire_before = _sent_bytes(a)
            helpers = [asyncio.create_task(play_voice(receiver)), asyncio.create_task(watch(receiver, shown))]
            helpers += [asyncio.create_task(_interrupt(path, scenario)), asyncio.create_task(watch_machine(lateness))]
            if script is not None:
                helpers.append(asyncio.create_task(script(path)))
            await send_media(sender, scenario.seconds)
            report.wire_bps = (_sent_bytes(a) - wire_before) * 8 / scenario.seconds
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await a.close()
            await b.close()
    statistics = receiver.statistics
    report.motion_sent, report.motion_received = sender.statistics.motion.packets, statistics.motion.packets
    report.voice_sent, report.voice_lost = sender.statistics.voice.packets, statistics.voice_lost
    report.voice_late = statistics.voice_late
    report.longest_freeze = longest_freeze(shown)
    report.playout_delay = statistics.playout_delay.summary()
    report.playout_delay_at_end = receiver.clock.waiting or math.nan
    report.skew = statistics.skew.summary()
    report.capture_to_display = statistics.capture_to_display.summary()
    report.machine_late = lateness.summary()
    report.motion_bps = sender.statistics.motion.bytes * 8 / scenario.seconds
    report.voice_bps = sender.statistics.voice.bytes * 8 / scenario.seconds
    return report


def _sent_bytes(peer: Peer) -> int:
    return sum(count.bytes for count in peer.statistics.wire.sent.values())


async def _interrupt(path: ImpairedPath, scenario: Scenario) -> None:
    if scenario.outage == 0:
        return
    await asyncio.sleep(0.4 * scenario.seconds)
    path.conditions = PathConditions(outage=True)
    await asyncio.sleep(scenario.outage)
    path.conditions = scenario.conditions


SCENARIOS = (
    Scenario("no loss"),
    Scenario("5 % loss", conditions=PathConditions(loss=0.05)),
    Scenario("20 % loss", conditions=PathConditions(loss=0.2)),
    Scenario("500 ms outage", outage=0.5),
    Scenario("200 ms round trip", conditions=PathConditions(delay=0.1)),
    Scenario("10 % in bursts, 200 ms, jitter 30 ms", conditions=PathConditions(0.1, 4, 0.1, 0.03)),
)


def main(arguments: list[str] | None = None) -> None:
    """Run all scenarios and print a line for each; with --json, all that was measured."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    for scenario in SCENARIOS:
        report = asyncio.run(run_call(scenario))
        if as_json:
            print(json.dumps(asdict(report)))
            continue
        print(
            f"{report.name}: open after {report.open_after:.2f} s,"
            f" motion {report.motion_received}/{report.motion_sent}, voice"
            f" lost {report.voice_lost} late {report.voice_late} of {report.voice_sent}, longest freeze"
            f" {report.longest_freeze * 1000:.0f} ms, playout delay p50 {report.playout_delay['p50'] * 1000:.0f}"
            f" p95 {report.playout_delay['p95'] * 1000:.0f} end {report.playout_delay_at_end * 1000:.0f} ms, skew p05"
            f" {report.skew['p05'] * 1000:.0f} p95 {report.skew['p95'] * 1000:.0f} ms, capture to display p50"
            f" {report.capture_to_display['p50'] * 1000:.0f} p95 {report.capture_to_display['p95'] * 1000:.0f} ms,"
            f" motion {report.motion_bps / 1000:.2f} voice {report.voice_bps / 1000:.1f}"
            f" wire {report.wire_bps / 1000:.1f} kbps, machine late p95 {report.machine_late['p95'] * 1000:.0f}"
            f" max {report.machine_late['max'] * 1000:.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
