"""A call without a camera, over a real connection, and what is shown of it."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from benchmarks.impaired_call import LOOPBACK, connect, moving_face, talking_voice
from benchmarks.impaired_path import ImpairedPath, PathConditions
from engine.audio.voice_motion import VoiceModel
from engine.face.images import load_image
from streaming.codec import default_statistics
from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.outputs import MemoryOutput
from streaming.participant import Display, DisplayConfig
from streaming.peer import IceConfig, Peer, PeerConfig
from visavis.demo import PORTRAIT

pytestmark = pytest.mark.realtime

CONFIG = PeerConfig(IceConfig(addresses=(LOOPBACK,)), name="test")


@pytest.fixture(scope="module")
def model() -> VoiceModel:
    return VoiceModel.load()


async def talk(sender: MediaSender, seconds: float, camera_from: float | None = None) -> None:
    """Send a voice in real time, and from some second on motion beside it."""
    size, begin = default_statistics().count, sender.clock.time()
    blocks = frames = 0
    while (elapsed := sender.clock.time() - begin) < seconds:
        while (blocks + 1) * AUDIO_BLOCK <= elapsed * AUDIO_RATE_HZ:
            at = begin + blocks * AUDIO_BLOCK / AUDIO_RATE_HZ
            sender.send_voice(talking_voice(at, AUDIO_BLOCK), at)
            blocks += 1
        if camera_from is not None and elapsed > camera_from + frames * 0.04:
            sender.send_motion(moving_face(begin + elapsed, size))
            frames += 1
        await asyncio.sleep(0.005)


async def test_a_voice_moves_the_face_through_a_network_that_loses_a_fifth(model):
    sender, receiver = MediaSender(), MediaReceiver(voice_model=model)
    views = []

    async def watch() -> None:
        async for view in receiver.frames():
            receiver.read_audio(480)
            views.append(view)

    async with ImpairedPath(PathConditions(loss=0.2), seed=1) as path:
        a, b = Peer(CONFIG, sender, MediaReceiver()), Peer(CONFIG, MediaSender(), receiver)
        watching = asyncio.create_task(watch())
        try:
            async with asyncio.timeout(30):
                await connect(a, b, path)
                await talk(sender, 2.5)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await a.close()
            await b.close()
    assert len(views) > 20
    assert not any(view.concealed for view in views)
    expressions = np.stack([view.state.expression for view in views])
    assert expressions.std(axis=0).max() > 0.0005
    assert np.abs(np.diff(expressions, axis=0)).max() < 0.15


async def test_what_is_shown_begins_from_the_source_and_a_camera_takes_over(model):
    """Nothing but the display between: motion begins a second after the voice."""
    receiver, output = MediaReceiver(voice_model=model), MemoryOutput()
    receiver.begin()
    receiver.receive_picture(load_image(PORTRAIT))
    sender = MediaSender()

    class Direct:
        takes_motion = True
        sequence = 0

        def transmit_motion_header(self, header):
            receiver.begin_motion(header)

        def transmit_motion(self, packet):
            receiver.receive_motion(packet, time.monotonic())

        def transmit_voice(self, packet):
            self.sequence += 1
            receiver.receive_voice(self.sequence, packet.start, packet.payload, time.monotonic())

    sender.attach(Direct())
    receiver.begin_voice(0)
    display = Display(receiver, [output], DisplayConfig(generator="mesh"))
    showing = asyncio.create_task(display.run())
    try:
        await talk(sender, 1.5)
        assert not showing.done()
        alone = display.shown
        async with asyncio.timeout(20):
            while display.shown < 5:
                await talk(sender, 0.5)
            await talk(sender, 1.5, camera_from=0.0)
        assert not showing.done()
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
    assert display.shown > alone
    assert len(receiver.statistics.skew) > 0
