"""What is shown of the other side, also when the other side sends nonsense."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
import pytest

from engine.face.images import load_image
from engine.motion import FaceState
from streaming.codec import CodecConfig, MotionEncoder, StreamHeader, default_statistics
from streaming.media_receiver import MediaReceiver
from streaming.outputs import MemoryOutput, OutputError
from streaming.participant import RENDERED_AT_ONCE, WARN_AFTER, Display, DisplayConfig
from visavis.demo import PORTRAIT

pytestmark = pytest.mark.realtime


async def feed_motion(receiver: MediaReceiver) -> None:
    """A still head at 25 Hz, for ever."""
    size = default_statistics().count
    begin = time.monotonic()
    encoder = None
    while True:
        now = time.monotonic()
        state = FaceState(np.zeros(3), np.zeros(2), 0.25, np.zeros(size), np.zeros(2), time=now - begin)
        if encoder is None:
            encoder = MotionEncoder(StreamHeader.begin(state, CodecConfig(), origin=state.time))
            receiver.begin_motion(encoder.header.to_bytes())
        receiver.receive_motion(encoder.encode(state, encoder.header.tick_of(state.time)), now)
        await asyncio.sleep(0.04)


async def until(condition) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.05)


async def test_a_picture_without_a_face_costs_neither_the_voice_nor_the_next_picture(caplog) -> None:
    receiver, output = MediaReceiver(), MemoryOutput()
    receiver.begin()
    display = Display(receiver, [output])
    tasks = [asyncio.create_task(feed_motion(receiver)), asyncio.create_task(display.run())]
    try:
        with caplog.at_level(logging.WARNING):
            receiver.receive_picture(np.full((256, 256, 3), 120, np.uint8))
            await until(lambda: "cannot be animated" in caplog.text)
        assert display.shown == 0
        receiver.receive_picture(load_image(PORTRAIT))
        await until(lambda: display.shown > 3)
        assert not tasks[1].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_output_that_fails_ends_the_display_with_its_own_error() -> None:
    class Full(MemoryOutput):
        def write_audio(self, samples, time):
            raise OutputError("the disk is full")

    with pytest.raises(OutputError, match="disk is full"):
        await asyncio.wait_for(Display(MediaReceiver(), [Full()]).run(), 10)


async def test_a_machine_that_is_too_slow_is_told_so_once(caplog) -> None:
    receiver = MediaReceiver()
    receiver.begin()
    receiver.receive_picture(load_image(PORTRAIT))
    display = Display(receiver, [MemoryOutput()], DisplayConfig(rate=1000))  # no machine renders that
    tasks = [asyncio.create_task(feed_motion(receiver)), asyncio.create_task(display.run())]
    try:
        with caplog.at_level(logging.WARNING):
            await until(lambda: display.shown > WARN_AFTER + 30)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert caplog.text.count("too long for 1000 frames a second") == 1
    assert "--generator mesh is lighter" in caplog.text


async def test_frames_do_not_pile_up_before_a_slow_output() -> None:
    class Slow(MemoryOutput):
        def write(self, frame, at):
            time.sleep(0.2)
            super().write(frame, at)

    receiver = MediaReceiver()
    receiver.begin()
    receiver.receive_picture(load_image(PORTRAIT))
    display = Display(receiver, [Slow()], DisplayConfig(generator="mesh"))
    tasks = [asyncio.create_task(feed_motion(receiver)), asyncio.create_task(display.run())]
    try:
        await until(lambda: display.shown > 8)
        assert len(display.rendering) <= display.shown + RENDERED_AT_ONCE
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
