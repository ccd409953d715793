"""A whole call as its users have it: a meeting point, two `visavis call`, and a browser on one side's page."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import find_chromium, measure_page
from streaming.inputs import VideoFile
from streaming.signalling import new_token
from visavis.demo import DRIVING, PORTRAIT

pytestmark = pytest.mark.realtime

START_S = 40.0

LIGHT = ("--generator", "mesh")
"What is tested is the call; both callers, the browser and a neural generator are too much for two cores."


class Program:
    """A visavis command in a process of its own; `async with` ends it."""

    def __init__(self, *arguments: str | Path) -> None:
        self._command = [sys.executable, "-u", "-m", "visavis", *map(str, arguments)]
        self.said: list[str] = []

    async def __aenter__(self) -> Program:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), 20)

    async def address(self) -> str:
        """The address that the program prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            async for line in self.process.stdout:
                self.said.append(line.decode())
                if found := re.search(r"http://\S+", self.said[-1]):
                    return found.group(0)
        raise AssertionError(f"no address in: {''.join(self.said)}")

    async def end(self, within_s: float) -> tuple[int, str]:
        """Exit status and everything it said."""
        rest, _ = await asyncio.wait_for(self.process.communicate(), within_s)
        assert self.process.returncode is not None
        return self.process.returncode, "".join(self.said) + rest.decode()


async def test_two_callers_and_the_recording(tmp_path: Path) -> None:
    recording, token = tmp_path / "call.mp4", new_token()
    async with Program("serve", "--port", "0") as server:
        room = ["--room", "test", "--token", token, "--server", await server.address(), "--page-port", "0"]
        async with Program("call", *room, *LIGHT, "--camera", "none", "--record", recording) as watching:
            await watching.address()
            async with Program("call", *room, "--camera", DRIVING, "--source", PORTRAIT) as talking:
                wrong = ["--room", "test", "--token", "not-the-token", *room[4:]]
                async with Program("call", *wrong, "--camera", "none") as intruder:
                    status, said = await intruder.end(START_S)
                    assert status == 1
                    assert "token" in said.strip().splitlines()[-1]
                assert (await talking.end(60))[0] == 0
            status, said = await watching.end(20)
            assert status == 0, said
            assert "the other side left" in said
    video = VideoFile(recording)
    shown = [frame for _, frame in video.frames()]
    assert len(shown) > 0.6 * VideoFile(DRIVING).duration * 25
    assert abs(video.read_audio()).max() > 3000


async def test_a_voice_alone_moves_the_picture(tmp_path: Path) -> None:
    recording, sound, token = tmp_path / "call.mp4", tmp_path / "voice.wav", new_token()
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(np.tile(VideoFile(DRIVING).read_audio(), 3)[: 6 * 48_000].tobytes())
    async with Program("serve", "--port", "0") as server:
        room = ["--room", "test", "--token", token, "--server", await server.address(), "--page-port", "0"]
        async with Program("call", *room, *LIGHT, "--camera", "none", "--record", recording) as watching:
            await watching.address()
            async with Program("call", *room, "--camera", sound, "--source", PORTRAIT) as talking:
                assert (await talking.end(60))[0] == 0
            assert (await watching.end(20))[0] == 0
    shown = [frame.astype(int) for _, frame in VideoFile(recording).frames()]
    assert len(shown) > 12
    assert max(abs(frame - shown[0]).mean() for frame in shown) > 1


@pytest.mark.browser
async def test_a_browser_sees_and_hears_the_call() -> None:
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    token = new_token()
    async with Program("serve", "--port", "0") as server:
        room = ["--room", "test", "--token", token, "--server", await server.address(), "--page-port", "0"]
        async with Program("call", *room, *LIGHT, "--camera", "none") as watching:
            page = await watching.address()
            async with Program("call", *room, "--camera", DRIVING, "--source", PORTRAIT) as talking:
                await talking.address()
                figures = await measure_page(page, seconds=5)
    assert (figures.width, figures.height) == (256, 256)
    assert figures.movement > 1
    assert figures.decoded_fps > 15  # on a machine that also runs both callers and the browser without a GPU
    assert figures.audio_energy > 0
    assert figures.line == "connected"
    assert not figures.errors


async def test_a_taken_port_is_one_clear_line() -> None:
    async with Program("serve", "--port", "0") as server:
        port = (await server.address()).rsplit(":", 1)[1]
        async with Program("serve", "--port", port) as second:
            status, said = await second.end(START_S)
    assert status == 1
    assert said.startswith(f"visavis: port {port}")
    assert len(said.strip().splitlines()) == 1
