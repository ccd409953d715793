from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from importlib.resources import files

import aiohttp
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from streaming.aiortc_internals import use_only_addresses
from streaming.outputs import OutputError
from streaming.page_server import (
    JUMP_S,
    PageConfig,
    PageServer,
    PageStatus,
    PictureTrack,
    Timeline,
    without_candidates,
)

pytestmark = pytest.mark.realtime

TIMEOUT_S = 10.0


class Viewer:
    """What the page's script does, in Python: one socket, one offer, the frames and the voice that come."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.frames = []
        self.sounds = []
        self.messages = []
        self.closed = asyncio.Event()
        self._peer = RTCPeerConnection()
        self._session = aiohttp.ClientSession()
        self._tasks = []

    async def __aenter__(self):
        origin = self.url.split("/", 3)
        self._socket = await self._session.ws_connect(f"{self.url}socket", origin="/".join(origin[:3]))
        for kind in ("video", "audio"):
            self._peer.addTransceiver(kind, direction="recvonly")
        self._peer.on("track", lambda track: self._start(self._receive(track)))
        use_only_addresses(self._peer, ["127.0.0.1"])
        await self._peer.setLocalDescription(await self._peer.createOffer())
        self._start(self._read())
        return self

    async def __aexit__(self, *_):
        await self._peer.close()
        await self._session.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def offer(self):
        await self._socket.send_json({"type": "offer", "sdp": self._peer.localDescription.sdp})
        await self.until(lambda: self._peer.connectionState == "connected")

    async def send(self, text: str):
        await self._socket.send_str(text)

    async def until(self, condition):
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():  # noqa: ASYNC110 - conditions of many kinds, in a test
                await asyncio.sleep(0.01)

    def of_type(self, kind: str):
        return [message for message in self.messages if message["type"] == kind]

    def _start(self, work):
        self._tasks.append(asyncio.create_task(work))

    async def _read(self):
        async for message in self._socket:
            content = json.loads(message.data)
            self.messages.append(content)
            if content["type"] == "answer":
                await self._peer.setRemoteDescription(RTCSessionDescription(content["sdp"], "answer"))
        self.closed.set()

    async def _receive(self, track):
        while True:
            frame = await track.recv()
            (self.frames if track.kind == "video" else self.sounds).append(frame)


async def feed(page: PageServer, viewer: Viewer, until, frame=None):
    """Frames at 25 a second and a loud tone, until the condition holds."""
    begin = time.monotonic()
    wave = (12_000 * np.sin(np.arange(1920) * 2 * np.pi * 500 / 48_000)).astype(np.int16)
    picture = np.full((96, 128, 3), (40, 160, 220), np.uint8) if frame is None else frame
    number = 0
    async with asyncio.timeout(TIMEOUT_S):
        while not until():
            page.push_frame(picture() if callable(picture) else picture, number / 25)
            page.push_audio(wave, number / 25)
            number += 1
            await asyncio.sleep(max(begin + number / 25 - time.monotonic(), 0))


async def test_a_viewer_sees_the_frames_and_hears_the_voice():
    async with PageServer() as page, Viewer(page.url) as viewer:
        await viewer.offer()
        await viewer.send(json.dumps({"type": "playing"}))
        await feed(page, viewer, lambda: len(viewer.frames) >= 15 and len(viewer.sounds) >= 15)
    colour = viewer.frames[-1].to_ndarray(format="rgb24").reshape(-1, 3).mean(0)
    np.testing.assert_allclose(colour, (40, 160, 220), atol=8)
    assert (viewer.frames[-1].width, viewer.frames[-1].height) == (128, 96)
    steps = np.diff([frame.pts for frame in viewer.frames])
    assert (steps > 0).all()
    assert np.median(steps) == pytest.approx(90_000 / 25, rel=0.05)
    assert np.abs(viewer.sounds[-1].to_ndarray().astype(int)).max() > 6_000


async def test_the_voice_waits_until_the_page_plays():
    async with PageServer() as page, Viewer(page.url) as viewer:
        await viewer.offer()
        await feed(page, viewer, lambda: len(viewer.frames) >= 10)
        assert viewer.sounds == []


async def test_video_starts_at_the_bitrate_asked_for():
    """Guards the place in aiortc where the encoder is put: its own default is 500 kbit/s."""
    rng = np.random.default_rng(0)

    def noise():
        return rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)

    async with PageServer(config=PageConfig(video_bitrate_bps=1_500_000)) as page, Viewer(page.url) as viewer:
        await viewer.offer()
        await feed(page, viewer, lambda: len(viewer.frames) >= 50, frame=noise)
        stats = await viewer._peer.getStats()
    received = next(s for s in stats.values() if s.type == "transport").bytesReceived
    assert received * 8 / 2.0 > 900_000


async def test_a_viewer_who_comes_late_sees_the_last_frame_at_once():
    async with PageServer() as page:
        page.push_frame(np.full((64, 64, 3), 200, np.uint8), 5.0)
        await asyncio.sleep(0.05)
        async with Viewer(page.url) as viewer:
            await viewer.offer()
            await asyncio.sleep(0.1)
            page.push_frame(np.zeros((64, 64, 3), np.uint8), 6.0)  # aiortc hands out a frame when the next one begins
            await viewer.until(lambda: viewer.frames)
    assert viewer.frames[0].to_ndarray(format="rgb24").mean() == pytest.approx(200, abs=8)


async def test_status_reaches_the_viewer_and_its_changes_too():
    async with PageServer() as page:
        page.set_status(PageStatus("Eileen", "waiting", (("Latency", "80 ms"),)))
        async with Viewer(page.url) as viewer:
            await viewer.until(lambda: viewer.of_type("status"))
            page.set_status(PageStatus("Eileen", "connected"))
            await viewer.until(lambda: viewer.messages[-1].get("line") == "connected")
    states = viewer.of_type("status")
    assert {"type": "status", "title": "Eileen", "line": "connected", "figures": []} in states
    assert ["Latency", "80 ms"] in next(s["figures"] for s in states if s["line"] == "waiting")


async def test_the_end_is_told_to_those_who_watch_and_those_who_come():
    async with PageServer() as page:
        async with Viewer(page.url) as viewer:
            await viewer.offer()
            with page.output() as output:
                output.write(np.zeros((64, 64, 3), np.uint8), 0.0)
                output.write_audio(np.zeros(960, np.int16), 0.0)
            await viewer.until(lambda: viewer.of_type("ended"))
            await asyncio.wait_for(viewer.closed.wait(), TIMEOUT_S)
        async with Viewer(page.url) as late:
            await late.until(lambda: late.of_type("ended"))
    assert viewer.of_type("ended") == [{"type": "ended", "line": "The call has ended"}]


async def test_stopping_is_quick_and_leaves_no_task_behind():
    before = asyncio.all_tasks()
    page = PageServer()
    await page.start()
    async with Viewer(page.url) as viewer:
        await viewer.offer()
        await feed(page, viewer, lambda: len(viewer.frames) >= 3)
        begin = time.monotonic()
        await page.stop()
        await page.stop()
        assert time.monotonic() - begin < 4.0
        assert viewer.of_type("ended")
    page.push_frame(np.zeros((64, 64, 3), np.uint8), 0.0)
    page.push_audio(np.zeros(960, np.int16), 0.0)
    await asyncio.sleep(0.1)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


async def get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return response.status, await response.text(), dict(response.headers)


async def test_only_the_secret_address_shows_the_page():
    async with PageServer() as page:
        base = page.url.split("/", 3)
        origin = "/".join(base[:3])
        assert len(base[3]) > 20
        status, text, headers = await get(page.url)
        assert status == 200
        assert "<video" in text
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert (await get(page.url.rstrip("/")))[0] == 302
        for path in ("/", "/wrong/", f"/{'A' * 22}/", "/wrong/socket", "/wrong/page.js"):
            status, text, _ = await get(origin + path)
            assert status == 404, path
            assert "<video" not in text
        for path in ("nothing.js", "page_server.py", "%2e%2e/page_server.py", "..%2fpage_server.py"):
            status, text, _ = await get(page.url + path)
            assert status == 404, path
            assert "import" not in text


async def test_other_sites_are_refused():
    """A site in the user's browser can send requests here, with its own name in Host (rebinding) or in Origin."""
    async with PageServer() as page:
        assert (await get(page.url, Host="evil.example"))[0] == 403
        for origin in ("http://evil.example", "null", None):
            headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            headers |= {"Sec-WebSocket-Key": "x" * 22 + "=="} | ({"Origin": origin} if origin else {})
            assert (await get(f"{page.url}socket", **headers))[0] == 403


async def test_every_file_of_the_page_is_served_and_asks_nobody_else():
    async with PageServer() as page:
        for file in files("streaming").joinpath("page").iterdir():
            status, text, _ = await get(page.url + ("" if file.name == "index.html" else file.name))
            assert status == 200, file.name
            assert text == file.read_text()
            outside = re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+", text.replace("http://www.w3.org/2000/svg", ""))
            assert outside == [], file.name


async def test_a_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OutputError, match=f"port {port} is in use"):
            await PageServer(port=port).start()


async def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OutputError, match=r"cannot listen at 192\.0\.2\.1"):
        await PageServer(host="192.0.2.1").start()


async def test_more_windows_than_allowed_are_told_so():
    async with PageServer(config=PageConfig(max_viewers=1)) as page, Viewer(page.url) as first:
        await first.until(lambda: first.of_type("status"))
        async with Viewer(page.url) as second:
            await second.until(lambda: second.of_type("full"))
            await asyncio.wait_for(second.closed.wait(), TIMEOUT_S)
        assert page.viewer_count == 1
    assert page.viewer_count == 0


BAD_OFFERS = [
    "",
    "no json",
    "[]",
    "{}",
    '{"type": "offer"}',
    '{"type": "offer", "sdp": 7}',
    '{"type": "offer", "sdp": ""}',
    '{"type": "offer", "sdp": "v=0\\r\\nm=video 9 UDP/TLS/RTP/SAVPF 96\\r\\n"}',
    '{"type": "offer", "sdp": "' + "m=x\\r\\n" * 2000 + '"}',
    '{"type": "answer", "sdp": ""}',
    "x" * 100_000,
]


@pytest.mark.parametrize("offer", BAD_OFFERS, ids=lambda offer: offer[:24] or "empty")
async def test_a_bad_offer_ends_its_own_connection_only(offer):
    async with PageServer() as page, Viewer(page.url) as good:
        await good.offer()
        async with Viewer(page.url) as bad:
            await bad.send(offer)
            await asyncio.wait_for(bad.closed.wait(), TIMEOUT_S)
        await feed(page, good, lambda: len(good.frames) >= 2)


async def test_a_browser_that_does_not_get_through_is_told_and_let_go():
    async with PageServer(config=PageConfig(connect_timeout=0.3)) as page, Viewer(page.url) as viewer:
        sdp = viewer._peer.localDescription.sdp
        wrong = re.sub(r"a=ice-pwd:.*", "a=ice-pwd:" + "x" * 22, sdp)
        await viewer.send(json.dumps({"type": "offer", "sdp": wrong}))
        await viewer.until(lambda: viewer.of_type("unreachable"))
        await asyncio.wait_for(viewer.closed.wait(), TIMEOUT_S)


async def test_a_viewer_that_takes_nothing_blocks_nobody():
    """One that never connects and never reads; the call's own thread goes on, and another viewer sees every frame."""
    async with PageServer() as page, Viewer(page.url) as good, Viewer(page.url) as stuck:
        await stuck._socket.send_json(
            {"type": "offer", "sdp": stuck._peer.localDescription.sdp.replace("a=ice-pwd:", "a=ice-pwd:0")}
        )
        await good.offer()
        pushed = []

        def call():
            frame = np.zeros((256, 256, 3), np.uint8)
            for number in range(100):
                begin = time.perf_counter()
                page.push_frame(frame, number / 25)
                page.push_audio(np.zeros(1920, np.int16), number / 25)
                pushed.append(time.perf_counter() - begin)
                time.sleep(0.01)

        thread = threading.Thread(target=call)
        thread.start()
        await asyncio.to_thread(thread.join)
        await good.until(lambda: len(good.frames) > 30)
        dropped = [viewer.picture.dropped for viewer in page._viewers]
        assert np.median(pushed) < 0.01
        assert max(dropped) >= 90


async def test_a_flood_of_frames_is_not_queued():
    async with PageServer() as page:
        frame = np.zeros((64, 64, 3), np.uint8)
        for number in range(1000):  # the event loop does not get a turn meanwhile
            page.push_frame(frame, number / 25)
            page.push_audio(np.zeros(960, np.int16), number / 25)
        assert len(page._audio_inbox) <= 50


def test_wrong_frames_are_refused():
    async def push():
        page = PageServer()
        with pytest.raises(ValueError, match="uint8"):
            page.push_frame(np.zeros((64, 64, 3)), 0.0)
        with pytest.raises(ValueError, match="int16"):
            page.push_audio(np.zeros(960), 0.0)

    asyncio.run(push())


async def test_an_address_is_known_only_after_the_start():
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = PageServer().url


async def test_the_track_keeps_the_newest_frame_and_its_times_rise():
    track = PictureTrack()
    pictures = [np.full((96, 64), level, np.uint8) for level in (10, 20, 30)]
    track.push(pictures[0], 1.0)
    track.push(pictures[1], 1.04)
    frame = await track.recv()
    assert frame.to_ndarray()[0, 0] == 20
    assert frame.pts == round(1.04 * 90_000)
    assert track.dropped == 1
    track.push(pictures[2], 0.5)  # a time that runs backwards
    assert (await track.recv()).pts == frame.pts + 1


def placed(items: list[tuple[float, float]]) -> list[float]:
    """items: (media time, local time of arrival)."""
    timeline = Timeline()
    return [timeline.place(time, now) for time, now in items]


def test_times_of_one_clock_keep_their_distances():
    times = [100.0, 100.02, 100.04, 100.021, 100.08]
    arrivals = [5.0, 5.1, 5.11, 5.112, 5.113]
    np.testing.assert_allclose(placed(list(zip(times, arrivals, strict=True))), np.subtract(times, 100.0), atol=1e-9)


def test_a_new_clock_is_joined_on_where_the_old_one_would_be():
    shown = placed([(100.0, 5.0), (100.04, 5.04), (7.0, 5.08), (7.04, 5.12)])
    np.testing.assert_allclose(shown, [0.0, 0.04, 0.08, 0.12], atol=1e-9)


def test_stragglers_of_the_old_clock_find_their_place():
    shown = placed([(100.0, 5.0), (7.0, 5.04), (100.03, 5.05), (7.02, 5.06)])
    np.testing.assert_allclose(shown, [0.0, 0.04, 0.03, 0.06], atol=1e-9)


def test_a_pause_of_the_clock_does_not_stop_the_presentation():
    shown = placed([(1.0, 5.0), (1.04, 65.04)])
    assert shown[1] == pytest.approx(60.04)


def test_a_clock_that_runs_slightly_fast_never_jumps():
    shown = placed([(k * 0.04 * 1.0002, k * 0.04) for k in range(0, 500_000, 25)])  # five hours
    assert max(np.diff(shown)) < 1.01
    assert shown[-1] > 19_999 + JUMP_S


def test_the_browsers_addresses_are_left_out():
    sdp = "v=0\r\na=candidate:1 1 udp 1 abc.local 9 typ host\r\na=mid:0\r\na=end-of-candidates\r\n"
    assert without_candidates(sdp) == "v=0\r\na=mid:0\r\n"
