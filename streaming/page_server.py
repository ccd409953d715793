"""The page on which a browser of this machine shows the rendered head and plays the voice.

    async with PageServer(port=8080) as page:
        print(page.url)                                   # holds a secret; whoever has it may watch
        page.set_status(PageStatus("Eileen", "connected", (("Latency", "84 ms"),)))
        page.push_frame(frame_rgb, time.monotonic())      # from any thread, never blocks
        page.push_audio(samples, time.monotonic())
        page.end("Eileen left the call")

The page opens a WebSocket over which it offers a WebRTC connection and is told the status. Each viewer has a picture
track (VP8) and a voice track (Opus) with time stamps of one clock, so that the browser keeps lips and voice together.
Between us and a viewer stands a slot for the newest frame and a short queue for the voice: a slow browser loses
frames, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import json
import logging
import secrets
import socket
import threading
import time as clocks
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import av
import cv2
import numpy as np
from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import VIDEO_TIME_BASE, MediaStreamError
from numpy.typing import NDArray

from streaming.aiortc_internals import start_vp8_encoder, use_only_addresses
from streaming.media import RGB, OutputError, Samples, check_frame, check_samples
from streaming.outputs.base import Output
from streaming.voice import VoiceConfig, VoiceEncoder, VoicePacket, VoiceTrack

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
DESCRIPTION_LIMIT = 65_536
"Bytes of a message from the page, at most."
JUMP_S = 1.0
"Times that are so far from where the clock should be belong to another clock (a new call), which is joined on."
AUDIO_INBOX = 50
"Pieces of sound that wait for the event loop at most; a second at 20 ms."
SEND_TIMEOUT_S = 5.0
"A browser that takes no status for so long is let go."

_FILES = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class PageConfig:
    """Who may watch, and how."""

    max_viewers: int = 4
    "Browser windows at the same time; each costs a video encoder, 4 to 10 % of a core at 25 frames a second."
    video_bitrate_bps: int = 1_500_000
    "VP8, 250,000 to 1,500,000; a browser on another machine may ask for less."
    voice_bitrate_bps: int = 64_000
    "Opus, from us to the browser; on one machine it costs nothing to be generous."
    connect_timeout: float = 15.0
    "Seconds until a viewer whose browser does not get through is let go."


@dataclass(frozen=True)
class PageStatus:
    """What the page says about the call."""

    title: str = ""
    "Whose head it is."
    line: str = ""
    "The state of the call in a few words."
    figures: tuple[tuple[str, str], ...] = ()
    "Label and value of what was measured, shown in this order beside what the browser measures itself."


class PageOutput(Output):
    """The page as an output: frames and voice go to its viewers; closing tells them that the call has ended."""

    def __init__(self, page: PageServer) -> None:
        self._page = page

    def write(self, frame_rgb: RGB, time: float) -> None:
        self._page.push_frame(frame_rgb, time)

    def write_audio(self, samples: Samples, time: float) -> None:
        self._page.push_audio(samples, time)

    def close(self) -> None:
        self._page.end()


class Timeline:
    """Places media times on one presentation clock that never jumps, though the media's clock may."""

    def __init__(self) -> None:
        self._offsets: list[float] = []  # the current clock's and, for stragglers, the one's before
        self._reference: tuple[float, float] | None = None  # a presentation time and when it was given out

    def place(self, time: float, now: float) -> float:
        """Presentation time, seconds from 0, for a media time that arrives at local time `now`."""
        if self._reference is None:
            self._reference, self._offsets = (0.0, now), [-time]
        shown, then = self._reference
        expected = shown + (now - then)
        for offset in self._offsets:
            if abs(time + offset - expected) <= JUMP_S:
                break
        else:
            offset = expected - time
            self._offsets = [offset, *self._offsets[:1]]
        self._reference = (time + offset, now)
        return time + offset


class PictureTrack(MediaStreamTrack):
    """A video track with room for one frame: the newest that the encoder has not taken yet."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._frame: tuple[float, NDArray[np.uint8]] | None = None
        self._arrived = asyncio.Event()
        self._last_pts = -1
        self.dropped = 0
        "Frames that were replaced by newer ones before the encoder took them."

    def push(self, picture_i420: NDArray[np.uint8], time: float) -> None:
        """picture_i420: (3/2 H, W), as OpenCV lays it out. time: presentation time in seconds."""
        self.dropped += self._frame is not None
        self._frame = (time, picture_i420)
        self._arrived.set()

    async def recv(self) -> av.VideoFrame:
        while self._frame is None:
            if self.readyState != "live":
                raise MediaStreamError
            self._arrived.clear()
            await self._arrived.wait()
        (time, picture), self._frame = self._frame, None
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        # One clock tick at least: a decoder takes two frames with one time stamp for parts of the same.
        frame.pts = self._last_pts = max(round(time / VIDEO_TIME_BASE), self._last_pts + 1)
        frame.time_base = VIDEO_TIME_BASE
        return frame

    def stop(self) -> None:
        super().stop()
        self._arrived.set()


class PageServer:
    """Serves the page, and one connection to each browser that shows it. Started and stopped on one event loop."""

    def __init__(self, host: str = LOOPBACK, port: int = 0, config: PageConfig | None = None) -> None:
        """host: the address to listen at; other than loopback ones let other machines in. port: 0 for any free one."""
        self.config = config or PageConfig()
        self._host = host
        self._port = port
        self._token = secrets.token_urlsafe(16)
        self._status = PageStatus()
        self._ended: str | None = None
        self._viewers: set[_Viewer] = set()
        self._runner: web.AppRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # What other threads hand over, guarded by the lock.
        self._lock = threading.Lock()
        self._timeline = Timeline()
        self._frame_inbox: tuple[float, NDArray[np.uint8]] | None = None
        self._audio_inbox: deque[tuple[float, Samples]] = deque(maxlen=AUDIO_INBOX)
        self._status_inbox: tuple[PageStatus, str | None] | None = None
        self._delivery_scheduled = False
        # What the event loop alone touches.
        self._newest: tuple[float, NDArray[np.uint8]] | None = None
        self._voice = VoiceEncoder(VoiceConfig(bitrate_bps=self.config.voice_bitrate_bps, frame_ms=10))

    @property
    def url(self) -> str:
        """The address of the page, secret part included. RuntimeError before `start`."""
        if self._runner is None:
            raise RuntimeError("the page has no address before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{self._port}/{self._token}/"

    @property
    def viewer_count(self) -> int:
        """Browser windows that show the page at this moment."""
        return len(self._viewers)

    async def start(self) -> None:
        """Raises OutputError if the port is in use or the address is not ours."""
        app = web.Application(middlewares=[self._check_request])
        app.router.add_get("/{token}", self._redirect)
        app.router.add_get("/{token}/socket", self._serve_socket)
        app.router.add_get("/{token}/{name:[a-z.]*}", self._serve_file)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise OutputError(_listen_problem(self._host, self._port, error)) from error
        self._port = runner.addresses[0][1]
        self._runner = runner
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Tell the viewers that it is over and close everything; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        with self._lock:
            self._loop = None
        self._ended = self._ended or "The program was closed"
        await asyncio.gather(*(viewer.end(self._ended) for viewer in list(self._viewers)))
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def output(self) -> PageOutput:
        """The page behind the interface of outputs."""
        return PageOutput(self)

    def push_frame(self, frame_rgb: RGB, time: float) -> None:
        """Show a frame, (H, W, 3) uint8; odd sizes lose their last row or column.

        time: seconds on any steady clock that the sound shares, `time.monotonic()` at display if there is no better
        one. From any thread; never blocks: an older frame that no viewer has taken yet is dropped.
        """
        height, width = (side // 2 * 2 for side in check_frame(frame_rgb).shape[:2])
        picture = cv2.cvtColor(np.ascontiguousarray(frame_rgb[:height, :width]), cv2.COLOR_RGB2YUV_I420)
        with self._lock:
            self._frame_inbox = (self._timeline.place(time, clocks.monotonic()), np.asarray(picture, np.uint8))
            self._schedule_delivery()

    def push_audio(self, samples: Samples, time: float) -> None:
        """Play sound, (N,) int16 mono 48 kHz.

        time: of the first sample, as for `push_frame`. From any thread; never blocks.
        """
        samples = check_samples(samples).copy()
        with self._lock:
            self._audio_inbox.append((self._timeline.place(time, clocks.monotonic()), samples))
            self._schedule_delivery()

    def set_status(self, status: PageStatus) -> None:
        """Show another status. From any thread."""
        with self._lock:
            self._status_inbox = (status, None)
            self._schedule_delivery()

    def end(self, line: str = "The call has ended") -> None:
        """Tell the viewers that nothing more will come. From any thread."""
        with self._lock:
            status = self._status_inbox[0] if self._status_inbox else self._status
            self._status_inbox = (status, line)
            self._schedule_delivery()

    def _schedule_delivery(self) -> None:
        """Wake the event loop once, however much is handed over before it gets to it. Under the lock."""
        if self._loop is None or self._delivery_scheduled:
            return
        with suppress(RuntimeError):  # the loop was closed without `stop`
            self._loop.call_soon_threadsafe(self._deliver)
            self._delivery_scheduled = True

    def _deliver(self) -> None:
        with self._lock:
            frame, self._frame_inbox = self._frame_inbox, None
            sounds = list(self._audio_inbox)
            self._audio_inbox.clear()
            status, self._status_inbox = self._status_inbox, None
            self._delivery_scheduled = False
        if frame is not None:
            self._newest = frame
            for viewer in self._viewers:
                viewer.picture.push(frame[1], frame[0])
        for time, samples in sounds:
            for packet in self._voice.encode(samples, time):
                for viewer in self._viewers:
                    viewer.push_voice(packet)
        if status is not None:
            self._status, ended = status
            self._ended = ended or self._ended
            for viewer in self._viewers:
                viewer.status_changed.set()

    @web.middleware
    async def _check_request(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Only the page's own address with its token: other sites must not reach us through the user's browser."""
        if _is_loopback(self._host) and not _is_loopback(urlsplit(f"//{request.host}").hostname or ""):
            raise web.HTTPForbidden(text="This page is served to this machine only.\n")
        token = request.match_info.get("token", "")
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            raise web.HTTPNotFound(text="There is no such page. Use the whole address that the program printed.\n")
        response: web.StreamResponse = await handler(request)
        return response

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"/{self._token}/")

    async def _serve_file(self, request: web.Request) -> web.StreamResponse:
        found = _FILES.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(text="There is no such file.\n")
        name, kind = found
        body = files("streaming").joinpath("page", name).read_bytes()
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        """One viewer, from its first to its last message."""
        if request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="This connection is for the page itself.\n")
        channel = web.WebSocketResponse(max_msg_size=DESCRIPTION_LIMIT, heartbeat=10.0, timeout=2.0)
        await channel.prepare(request)
        if len(self._viewers) >= self.config.max_viewers:
            line = (
                f"The call is open in as many windows as it may ({self.config.max_viewers}). Close one and reconnect."
            )
            await channel.send_json({"type": "full", "line": line})
            await channel.close()
            return channel
        viewer = _Viewer(channel, self.config, _local_addresses() if _is_loopback(self._host) else None)
        self._viewers.add(viewer)
        logger.info("page: a viewer joined (%d)", len(self._viewers))
        status = asyncio.create_task(self._send_status(viewer))
        try:
            if self._newest is not None:
                viewer.picture.push(self._newest[1], self._newest[0])
            await viewer.serve()
        finally:
            self._viewers.discard(viewer)
            status.cancel()
            await asyncio.gather(status, return_exceptions=True)
            await viewer.close()
            logger.info("page: a viewer left (%d)", len(self._viewers))
        return channel

    async def _send_status(self, viewer: _Viewer) -> None:
        """Every change of the status, the newest only: ends with the call, or when the viewer takes it no more."""
        while await viewer.send_status(self._status):
            if self._ended is not None:
                await viewer.end(self._ended)
                return
            await viewer.status_changed.wait()
            viewer.status_changed.clear()


class _Viewer:
    """One browser window: its WebSocket and its WebRTC connection."""

    def __init__(self, channel: web.WebSocketResponse, config: PageConfig, addresses: list[str] | None) -> None:
        self.picture = PictureTrack()
        self.status_changed = asyncio.Event()
        self._voice = VoiceTrack()
        self._channel = channel
        self._config = config
        self._addresses = addresses
        self._connection: RTCPeerConnection | None = None
        self._connected = asyncio.Event()
        self._playing = False

    def push_voice(self, packet: VoicePacket) -> None:
        # A browser that is not playing yet queues what comes, and then plays it all late for many seconds.
        if self._playing:
            self._voice.push(packet)

    async def serve(self) -> None:
        """Answer the page's offer, note that it plays, and stay until it leaves or the connection fails."""
        watch: asyncio.Task[None] | None = None
        try:
            async for message in self._channel:
                if message.type != aiohttp.WSMsgType.TEXT:
                    break
                if self._connection is not None:
                    self._playing = True  # the page's second and last message
                    continue
                answer = await self._answer(message.data)
                if answer is None:
                    break
                await self._send({"type": "answer", "sdp": answer})
                watch = asyncio.create_task(self._give_up_unless_connected())
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    async def send_status(self, status: PageStatus) -> bool:
        return await self._send(
            {
                "type": "status",
                "title": status.title,
                "line": status.line,
                "figures": [list(pair) for pair in status.figures],
            }
        )

    async def end(self, line: str) -> None:
        """Say that the call is over, then hang up."""
        await self._send({"type": "ended", "line": line})
        await self._hang_up()

    async def close(self) -> None:
        connection = self._connection
        self.picture.stop()
        self._voice.stop()
        if connection is not None:
            await connection.close()
        await self._hang_up()

    async def _answer(self, text: str) -> str | None:
        """The answer to the page's offer; None if it is not one."""
        try:
            message = json.loads(text)
            if message["type"] != "offer":
                raise ValueError("not an offer")
            sdp = without_candidates(message["sdp"])
            if self._addresses is not None:
                # Loopback has no bandwidth to be estimated; without this the browser's guess reduces the quality.
                sdp = "".join(line for line in sdp.splitlines(keepends=True) if "goog-remb" not in line)
            offer = RTCSessionDescription(sdp=sdp, type="offer")
            connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
            self._connection = connection
            connection.on("connectionstatechange", self._state_changed)
            sender = _send_only(connection, self.picture, "video/VP8")
            start_vp8_encoder(sender, self._config.video_bitrate_bps)
            _send_only(connection, self._voice, "audio/opus")
            await connection.setRemoteDescription(offer)
            if self._addresses is not None:
                use_only_addresses(connection, self._addresses)
            await connection.setLocalDescription(await connection.createAnswer())
            return str(connection.localDescription.sdp)
        except Exception as error:  # parsing a foreign description fails in a dozen ways; all mean: not our page
            logger.warning("page: refused an offer (%s: %s)", type(error).__name__, error)
            return None

    async def _state_changed(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.connectionState == "connected":
            self._connected.set()
        elif connection.connectionState == "failed":
            await self._hang_up()

    async def _give_up_unless_connected(self) -> None:
        try:
            await asyncio.wait_for(self._connected.wait(), self._config.connect_timeout)
        except TimeoutError:
            await self._send({"type": "unreachable", "line": "The browser and the program found no way to each other"})
            await self._hang_up()

    async def _send(self, message: dict[str, Any]) -> bool:
        """Whether the browser took it in time; if not, it is let go."""
        try:
            await asyncio.wait_for(self._channel.send_json(message), SEND_TIMEOUT_S)
        except (ConnectionError, RuntimeError, TimeoutError):
            await self._hang_up()
            return False
        return True

    async def _hang_up(self) -> None:
        with suppress(ConnectionError, RuntimeError, TimeoutError):
            await asyncio.wait_for(self._channel.close(), SEND_TIMEOUT_S)


def without_candidates(sdp: str) -> str:
    """A description without the browser's addresses, so that its checks tell us where it is.

    Browsers hide their addresses behind names that take a second to resolve; the machine is the same anyway.
    """
    hidden = ("a=candidate:", "a=end-of-candidates")
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith(hidden))


def _send_only(connection: RTCPeerConnection, track: MediaStreamTrack, codec: str) -> RTCRtpSender:
    transceiver = connection.addTransceiver(track, direction="sendonly")
    capabilities = RTCRtpSender.getCapabilities(track.kind).codecs
    transceiver.setCodecPreferences([known for known in capabilities if known.mimeType in (codec, "video/rtx")])
    return transceiver.sender


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _local_addresses() -> list[str]:
    """Where a browser on this machine reaches us: loopback, and the address towards the internet if there is one.

    Some browsers bind their sockets to the latter alone.
    """
    addresses = [LOOPBACK]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # an address for documentation; nothing is sent by connecting a datagram socket
        addresses.append(probe.getsockname()[0])
    return list(dict.fromkeys(addresses))


def _listen_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"page: port {port} is in use; close the other program or choose another port (0: any free one)"
    if error.errno == errno.EACCES:
        return f"page: port {port} needs administrator rights; choose one above 1023 (0: any free one)"
    return f"page: cannot listen at {host} port {port} ({error.strerror or error}); use {LOOPBACK}"
