"""One of the demo's two processes: python -m visavis.demo.peer OPTIONS. Prints nothing; its report is a JSON file."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import tyro

from engine.avatar import DEFAULT_GENERATOR, DEFAULT_RUNTIME, load_tracker
from engine.face.portrait import head_picture
from streaming.inputs import open_live_input
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.motion_tables import motion_tables
from streaming.outputs import FileOutput
from streaming.participant import Capture, Display, DisplayConfig
from streaming.peer import LOOPBACK, IceConfig, PeerConfig
from streaming.session import Session, SessionConfig
from streaming.statistics import as_table

RATE = 25.0
PICTURE_SIDE = 512
SETTLING_S = 1.5
"Pause between the connection and the first frame: the picture crosses first, and the other side gets it ready."


@dataclass(frozen=True)
class DemoPeer:
    """A side of the demo's call."""

    role: Literal["send", "receive"]
    url: str
    room: str
    token: str
    report: Path
    source: Path | None = None
    driving: Path | None = None
    seconds: float = 0.0
    record: Path | None = None
    size: int = 256
    generator: str = DEFAULT_GENERATOR
    runtime: str = DEFAULT_RUNTIME


async def send(options: DemoPeer) -> dict[str, Any]:
    assert options.source is not None
    assert options.driving is not None
    picture, tables = head_picture(options.source, PICTURE_SIDE), motion_tables(options.generator, options.size)
    sender, receiver = MediaSender(picture_rgb=picture, keypoint_statistics=tables), MediaReceiver()
    tracker = partial(load_tracker, options.generator, options.runtime, options.size)
    async with Session(_session_config(options), sender, receiver) as session:
        await session.connected()
        await asyncio.sleep(SETTLING_S)
        capture = Capture(open_live_input(str(options.driving), rate=RATE, loop=True), sender, tracker)
        begin, wire_before = time.monotonic(), _wire_bytes(session)
        try:
            async with asyncio.timeout(options.seconds):
                await capture.run()
        except TimeoutError:
            pass  # the clip is repeated for as long as the demo lasts
        seconds = time.monotonic() - begin
        wire = {kind: count - wire_before[kind] for kind, count in _wire_bytes(session).items()}
        await asyncio.sleep(0.3)  # what is on its way arrives before the goodbye
        return {
            "seconds": seconds,
            "epoch": sender.clock.epoch,
            "offset": capture.offset,
            "frames": capture.frames,
            "frames_without_face": capture.frames_without_face,
            "tracking": as_table(capture.tracking),
            "sender": as_table(sender.statistics),
            "picture_bytes": len(sender.picture or b""),
            "wire_bytes": wire,
        }


def _wire_bytes(session: Session) -> dict[str, int]:
    """Bytes sent so far, with all headers, by kind of datagram."""
    return {kind: count.bytes for kind, count in session.statistics.wire.sent.items()}


async def receive(options: DemoPeer) -> dict[str, Any]:
    assert options.record is not None
    tables = motion_tables(options.generator, options.size)
    sender, receiver = MediaSender(), MediaReceiver(motion_statistics=tables)
    config = DisplayConfig(RATE, options.size, options.generator, options.runtime)
    with FileOutput(options.record, options.size, options.size, RATE) as output:
        display = Display(receiver, [output], config)
        async with Session(_session_config(options), sender, receiver) as session:
            showing = asyncio.create_task(display.run())
            ending = asyncio.create_task(session.ended())
            try:
                await asyncio.wait((showing, ending), return_when=asyncio.FIRST_COMPLETED)
                if showing.done():
                    await showing
            finally:
                for task in (showing, ending):
                    task.cancel()
                await asyncio.gather(showing, ending, return_exceptions=True)
            if not display.frames:
                raise RuntimeError(
                    "no motion arrived, so there was nothing to show; does the driving video show a face?"
                )
            return {
                "frames": [[frame.shown_at, frame.media_time, frame.concealed] for frame in display.frames],
                "rendering": as_table(display.rendering),
                "receiver": as_table(receiver.statistics),
                "peer": as_table(session.statistics),
            }


def _session_config(options: DemoPeer) -> SessionConfig:
    peer = PeerConfig(ice=IceConfig(addresses=(LOOPBACK,)), name=options.role)
    return SessionConfig(options.url, options.room, options.token, peer)


def main(arguments: list[str] | None = None) -> int:
    options = tyro.cli(DemoPeer, args=arguments)
    cv2.setNumThreads(1)  # two processes share the machine; more threads a process only get into each other's way
    begin = time.monotonic()
    try:
        result = asyncio.run(send(options) if options.role == "send" else receive(options))
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{options.role}: {error}", file=sys.stderr)
        return 1
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result["cpu_share"] = (usage.ru_utime + usage.ru_stime) / (time.monotonic() - begin)
    result["memory_mb"] = usage.ru_maxrss / 1024
    options.report.write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
