"""`visavis call`: face and voice in, the other's talking head on a page, in a file, in a virtual webcam."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from engine.audio.voice_motion import VoiceModel
from engine.avatar import load_tracker
from engine.face.portrait import head_picture
from streaming.inputs import InputError, LiveInput, Microphone, VoiceOnly, open_live_input
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.motion_tables import motion_tables
from streaming.motion_track import MotionTrack, MotionTrackPlayer
from streaming.outputs import FileOutput, Output
from streaming.page_server import PageOutput, PageServer, PageStatus
from streaming.participant import Capture, Display, DisplayConfig
from streaming.peer import IceConfig, PeerConfig
from streaming.session import Session, SessionConfig

if TYPE_CHECKING:
    from visavis.commands import Call

logger = logging.getLogger(__name__)

RATE = 25.0
PICTURE_SIDE = 512
STATUS_EVERY_S = 1.0


def call(options: Call) -> int:
    """Run until somebody leaves or Ctrl-C. Raises the project's errors."""
    return asyncio.run(_call(options))


async def _call(options: Call) -> int:
    console = Console(stderr=True)
    picture = head_picture(options.source, PICTURE_SIDE) if options.source is not None else None
    source = _open_capture(options)
    tables = motion_tables(options.generator, options.size)
    sender = MediaSender(picture_rgb=picture, keypoint_statistics=tables)
    # Tables are for motion of another kind than a voice can say.
    receiver = MediaReceiver(motion_statistics=tables, voice_model=VoiceModel.load() if tables is None else None)
    tracker = partial(load_tracker, options.generator, options.runtime, options.size)
    async with AsyncExitStack() as stack:
        if source is not None:
            stack.callback(source.close)
        page = await stack.enter_async_context(PageServer(port=options.page_port))
        outputs: list[Output] = [PageOutput(page)]
        if options.record is not None:
            outputs.append(stack.enter_context(FileOutput(options.record, options.size, options.size, RATE)))
        if options.webcam:
            from streaming.outputs.webcam_output import WebcamOutput

            outputs.append(stack.enter_context(WebcamOutput(options.size, options.size, RATE)))
        config = SessionConfig(options.server, options.room, options.token, _peer_config(options))
        display = Display(receiver, outputs, DisplayConfig(RATE, options.size, options.generator, options.runtime))
        session = await stack.enter_async_context(Session(config, sender, receiver))
        console.print(f"open this page to see and hear the call: {page.url}")
        page.set_status(PageStatus(options.room, "waiting for the other side"))
        capture = Capture(source, sender, tracker) if source is not None else None
        reason = await _until_the_end(session, capture, display, page, options.room)
        console.print(f"the call ended: {reason}")
        page.end(f"The call ended: {reason}")
        await asyncio.sleep(0.3)  # the page hears of it before its server goes
    return 0


async def _until_the_end(
    session: Session,
    capture: Capture | None,
    display: Display,
    page: PageServer,
    room: str,
) -> str:
    """Run everything until the first part ends, and say why. What failed raises."""
    leaving = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    ending = {
        asyncio.create_task(session.ended()): "the other side left",
        asyncio.create_task(leaving.wait()): "you left",
        asyncio.create_task(display.run()): "the display stopped",
        asyncio.create_task(_report(session, display, page, room)): "the page stopped",
    }
    if capture is not None:
        ending[asyncio.create_task(capture.run())] = "the input ended"
    try:
        done, _ = await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return ", ".join(ending[task] for task in done)
    finally:
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def _report(session: Session, display: Display, page: PageServer, room: str) -> None:
    """Keep the page's status line true."""
    shown_before = 0
    while True:
        await asyncio.sleep(STATUS_EVERY_S)
        if not session.is_connected:
            page.set_status(
                PageStatus(room, "connecting" if session.connections == 0 else "connection lost, trying again")
            )
            continue
        statistics = display.receiver.statistics
        shown, shown_before = display.shown - shown_before, display.shown
        figures = [("Frames a second", f"{shown / STATUS_EVERY_S:.0f}")]
        if len(statistics.capture_to_display):
            figures.append(("Latency", f"{1000 * statistics.capture_to_display.quantile(0.5):.0f} ms"))
        page.set_status(PageStatus(room, "connected", tuple(figures)))


def _open_capture(options: Call) -> LiveInput | MotionTrackPlayer | None:
    if options.camera == "none":
        return None
    if options.camera == "off":
        if options.microphone == "none":
            raise InputError("--camera off sends your voice alone: leave out --microphone none")
        return VoiceOnly(Microphone("" if options.microphone == "auto" else options.microphone))
    if options.camera.endswith(".npz"):
        return MotionTrackPlayer(MotionTrack.load(options.camera))
    microphone = {"none": None, "auto": ""}.get(options.microphone, options.microphone)
    try:
        try:
            return open_live_input(options.camera, rate=RATE, microphone=microphone)
        except InputError as error:
            if options.microphone != "auto":
                raise
            source = open_live_input(options.camera, rate=RATE, microphone=None)
            logger.warning("calling without voice: %s", error)
            return source
    except InputError as error:
        raise InputError(f"{error} (or call with --camera none, to watch and listen only)") from error


def _peer_config(options: Call) -> PeerConfig:
    ice = IceConfig(
        stun_url=options.stun,
        turn_url=options.turn,
        turn_username=options.turn_user,
        turn_password=options.turn_password,
    )
    return PeerConfig(ice=ice)
