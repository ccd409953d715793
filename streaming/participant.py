"""One side of a call: an input that is captured and sent, and the other side's head rendered to outputs.

`Capture` runs where the face is, `Display` where the head is shown; a two-way call has both on each side.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from engine.avatar import DEFAULT_GENERATOR, DEFAULT_RUNTIME, LIGHT_GENERATOR, Avatar, Tracker, load_tracker
from engine.driving import Posed
from engine.generators import GeneratorError
from engine.motion import Motion
from streaming.inputs import LiveInput
from streaming.media import AUDIO_RATE_HZ, RGB, Samples
from streaming.media_receiver import MediaReceiver
from streaming.media_sender import MediaSender
from streaming.motion_track import MotionTrackPlayer
from streaming.outputs import Output
from streaming.playout import MotionView
from streaming.statistics import Distribution

logger = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 5.0
PLAY_BLOCK = 480
"Samples of voice handed to the outputs at a time: longer ones would lengthen the playout delay."
RENDERED_AT_ONCE = 2
"Frames: one begins at its time though the one before it is not done, which keeps the rate where cores are shared."
RENDERING_AT_MOST = 0.1
"Seconds by which the display looks ahead, however long rendering takes."
WARN_AFTER = 50
"Frames, before rendering is called too slow: the first ones of a call always are."
FRAMES_KEPT = 100_000
"The newest frames that `Display.frames` remembers."

Hand: TypeAlias = Callable[..., None]
"Calls its first argument with the others on the event loop's thread."


class Capture:
    """Reads an input in two threads and hands its motion and voice to a sender.

    Picture and sound keep the input's own times, moved to the sender's media clock. Frames without a face send nothing:
    the other side holds the last motion.
    """

    def __init__(
        self,
        source: LiveInput | MotionTrackPlayer,
        sender: MediaSender,
        tracker: Callable[[], Tracker] = load_tracker,
    ) -> None:
        """tracker: makes what turns the input's frames into motion, in the thread that will use it."""
        self.frames = 0
        self.frames_without_face = 0
        self.tracking = Distribution()
        "Seconds of work from a camera frame to its face state."
        self._source = source
        self._sender = sender
        self._tracker = tracker
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._ended: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Capture until the input ends. Raises InputError if it breaks, CodecError if its motion cannot be sent.

        Cancelling is safe: both ways end in `close`.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        # How the first one ends is how the capture ends.
        works = [self._capture_video] * self._source.has_picture + [self._capture_audio] * self._source.has_audio
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, number == 0, loop), daemon=True)
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()
        try:
            await self._ended
        finally:
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Stop the threads and release the input; a second call does nothing."""
        self._stopping.set()
        self._source.close()
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)

    def _guarded(self, work: Callable[[Hand], None], leads: bool, loop: asyncio.AbstractEventLoop) -> None:
        """A thread's life: how the leading one's ends, or any error, is how the capture ends."""

        def hand(send: Callable[..., None], *arguments: Any) -> None:
            loop.call_soon_threadsafe(self._send, send, *arguments)

        error: Exception | None = None
        try:
            work(hand)
        except Exception as raised:
            error = raised
        if error is None and not leads:
            return  # sound may be shorter than the picture
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(self._end, error)

    def _send(self, send: Callable[..., None], *arguments: Any) -> None:
        try:
            send(*arguments)
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._ended is None or self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    @property
    def offset(self) -> float:
        """What is added to the input's times to have them on the sender's media clock; known after the first frame."""
        return (self._source.epoch or 0.0) - self._sender.clock.epoch

    def _capture_video(self, hand: Hand) -> None:
        if isinstance(self._source, MotionTrackPlayer):
            while (state := self._source.read()) is not None and not self._stopping.is_set():
                self.frames += 1
                hand(self._sender.send_motion, replace(state, time=state.time + self.offset))
            return
        with self._tracker() as tracker:
            while (captured := self._source.read()) is not None and not self._stopping.is_set():
                at, frame = captured
                begin = time.perf_counter()
                tracked = tracker.process(frame, at + self.offset)
                self.tracking.add(time.perf_counter() - begin)
                self.frames += 1
                if tracked is None:
                    self.frames_without_face += 1
                else:
                    hand(self._sender.send_motion, tracked)

    def _capture_audio(self, hand: Hand) -> None:
        while (block := self._source.read_audio()) is not None and not self._stopping.is_set():
            at, samples = block
            hand(self._sender.send_voice, samples, at + self.offset)


@dataclass(frozen=True)
class DisplayConfig:
    """How the other side is shown."""

    rate: float = 25.0
    "Frames a second."
    size: int = 256
    "Side of the rendered frames in pixels."
    generator: str = DEFAULT_GENERATOR
    runtime: str = DEFAULT_RUNTIME


@dataclass(frozen=True)
class DisplayedFrame:
    """What is kept of each frame that was shown, for reports."""

    shown_at: float
    "Local time (time.monotonic) at which the outputs had it."
    media_time: float
    "Media time of the motion that it shows."
    concealed: bool


class Display:
    """Renders the other side's head and plays its voice, to any number of outputs, until cancelled.

    Times given to the outputs are local time since `run` began: what is written is what a person here saw and heard.
    """

    def __init__(self, receiver: MediaReceiver, outputs: Sequence[Output], config: DisplayConfig | None = None) -> None:
        self.config = config or DisplayConfig()
        self.rendering = Distribution()
        "Seconds of work for one frame."
        self._rendering_takes = 0.0
        self._warned = False
        self._told_of_motion = False
        self._measured_from: Motion | None = None
        self.shown = 0
        "Frames shown so far."
        self.frames: deque[DisplayedFrame] = deque(maxlen=FRAMES_KEPT)
        self.receiver = receiver
        self._outputs = outputs
        self._origin = 0.0
        # Threads of their own: the event loop stays free for packets.
        self._executor = ThreadPoolExecutor(RENDERED_AT_ONCE, thread_name_prefix="render")
        self._free = asyncio.Semaphore(RENDERED_AT_ONCE)
        self._in_order: asyncio.Queue[tuple[MotionView, asyncio.Future[RGB]]] = asyncio.Queue()
        self._writing = threading.Lock()
        "Outputs are given frames and voice from two threads, one at a time."

    async def run(self) -> None:
        """Raises OutputError. With a picture that cannot be animated the voice goes on, and a warning is logged."""
        self._origin = time.monotonic()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._render_views())
                tasks.create_task(self._show())
                tasks.create_task(self._play())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # callers know our errors, not how many tasks there are
        finally:
            self._executor.shutdown(wait=True)

    async def _render_views(self) -> None:
        loop = asyncio.get_running_loop()
        picture, avatar = None, None
        await self._free.acquire()
        async for view in self.receiver.frames(self.config.rate, lambda: self._rendering_takes):
            if picture is None or picture is not self.receiver.picture:
                picture = await self.receiver.wait_for_picture()
                try:
                    avatar = await loop.run_in_executor(self._executor, self._avatar, picture)
                    self._measured_from = None
                except ValueError as error:
                    # The other side chose the picture: a bad one must not cost us the voice.
                    avatar = None
                    logger.warning("the other side's picture cannot be animated: %s", error)
                continue  # that took a moment: this view is late by now
            if avatar is None:
                continue
            state = self._driven(avatar, view)
            if state is None:
                continue
            self._in_order.put_nowait((view, loop.run_in_executor(self._executor, self._render, avatar, state)))
            await self._free.acquire()  # here, so that the next view is one of its time

    async def _show(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            view, rendering = await self._in_order.get()
            await loop.run_in_executor(None, self._write, await rendering)
            self._free.release()  # now only: frames must not pile up before an output that is slow
            self.receiver.displayed(view)
            self.shown += 1
            self.frames.append(DisplayedFrame(time.monotonic(), view.shown_time, view.concealed))

    def _avatar(self, picture: RGB) -> Avatar:
        config = self.config
        # A square picture is a head crop already, as `visavis call` sends it: its geometry is kept.
        crop: Literal["auto", "none"] = "none" if picture.shape[0] == picture.shape[1] else "auto"
        return Avatar.from_image(
            picture,
            generator=config.generator,
            runtime=config.runtime,
            size=config.size,
            crop=crop,
            at_once=RENDERED_AT_ONCE,
        )

    def _driven(self, avatar: Avatar, view: MotionView) -> Posed | None:
        """What the avatar is to look like; None for motion that cannot drive it, which must not cost us the voice.

        The receiver refuses other motion than it was told to expect (`MediaReceiver.motion_refused`); this is for one
        that was told something else than the generator needs.
        """
        try:
            if view.origin is not None and view.origin is not self._measured_from:
                avatar.begin(view.origin)
                self._measured_from = view.origin
            return avatar.transfer(view.state)
        except GeneratorError as error:
            if not self._told_of_motion:
                self._told_of_motion = True
                logger.warning("the other side's motion cannot be shown: %s", error)
            return None

    def _render(self, avatar: Avatar, state: Posed) -> RGB:
        begin = time.perf_counter()
        frame = avatar.render_state(state)
        took = time.perf_counter() - begin
        self.rendering.add(took)
        # The running mean, over half a second or so.
        self._rendering_takes += 0.1 * (min(took, RENDERING_AT_MOST) - self._rendering_takes)
        slow = self._rendering_takes > RENDERED_AT_ONCE / self.config.rate
        if slow and not self._warned and len(self.rendering) > WARN_AFTER:
            self._warned = True
            logger.warning(
                "rendering takes %.0f ms a frame, too long for %g frames a second: the picture stutters%s",
                1000 * self._rendering_takes,
                self.config.rate,
                "" if self.config.generator == LIGHT_GENERATOR else f"; --generator {LIGHT_GENERATOR} is lighter",
            )
        return frame

    def _write(self, frame: RGB) -> None:
        with self._writing:
            for output in self._outputs:
                output.write(frame, time.monotonic() - self._origin)

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        blocks = 0
        while True:
            due = self._origin + blocks * PLAY_BLOCK / AUDIO_RATE_HZ
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            samples = self.receiver.read_audio(PLAY_BLOCK, due)
            await loop.run_in_executor(None, self._play_block, samples, due - self._origin)
            blocks += 1

    def _play_block(self, samples: Samples, at: float) -> None:
        with self._writing:
            for output in self._outputs:
                output.write_audio(samples, at)
