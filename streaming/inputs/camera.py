"""A camera, with a microphone beside it if one is asked for."""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time as clocks
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import av
import numpy as np

from streaming.inputs.base import LiveInput, RateLimiter
from streaming.inputs.microphone import Microphone
from streaming.media import RGB, InputError, Samples

logger = logging.getLogger(__name__)

SILENCE_S = 5.0
"A camera that delivers nothing for so long counts as dead."

_PROBLEMS = {
    errno.ENOENT: "there is no such camera",
    errno.ENODEV: "there is no such camera; was it unplugged?",
    errno.EBUSY: "another program uses it; close that program",
    errno.EACCES: "not allowed to use it; join the device's group (sudo usermod -aG video $USER) and log in again",
    errno.ENOTTY: "is not a camera",
    errno.EINVAL: "delivers no picture (some cameras have a second node without one); try the next number",
}


def find_cameras() -> list[str]:
    """The video devices of this machine, on Linux; elsewhere they are only known by number."""
    return sorted((str(path) for path in Path("/dev").glob("video*")), key=lambda name: (len(name), name))


class _Grabber(ABC):
    """One way to read a camera. `grab` blocks for the next frame and raises InputError."""

    @abstractmethod
    def grab(self) -> RGB: ...

    @abstractmethod
    def close(self) -> None: ...


class _V4l2Grabber(_Grabber):
    """Through FFmpeg, which says why a device cannot be opened; OpenCV only says that it cannot."""

    def __init__(self, device: str, width: int, height: int, rate: float) -> None:
        self._device = device
        options = {"video_size": f"{width}x{height}", "framerate": f"{rate:g}"}
        try:
            self._container = av.open(device, mode="r", format="v4l2", options=options)
        except (OSError, av.FFmpegError) as error:
            raise InputError(camera_problem(device, error)) from error
        self._frames = self._container.decode(video=0)

    def grab(self) -> RGB:
        try:
            frame = next(self._frames, None)
        except (OSError, av.FFmpegError) as error:
            raise InputError(camera_problem(self._device, error)) from error
        if frame is None:
            raise InputError(f"camera {self._device}: stopped delivering; plug it in again and restart")
        return np.asarray(frame.reformat(format="rgb24", threads=1).to_ndarray(), np.uint8)

    def close(self) -> None:
        self._container.close()


class _OpenCvGrabber(_Grabber):
    """Systems without V4L2."""

    def __init__(self, device: str, width: int, height: int, rate: float) -> None:
        import cv2

        self._device = device
        self._capture: Any = cv2.VideoCapture(int(device))
        if not self._capture.isOpened():
            raise InputError(
                f"camera {device}: cannot be opened; close other programs that use it, allow this program to use the "
                "camera in the system's privacy settings, or name another number: camera:1"
            )
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FPS, rate),
        ):
            self._capture.set(setting, value)

    def grab(self) -> RGB:
        delivered, image_bgr = self._capture.read()
        if not delivered:
            raise InputError(f"camera {self._device}: stopped delivering; plug it in again and restart")
        return np.ascontiguousarray(image_bgr[..., ::-1], np.uint8)

    def close(self) -> None:
        self._capture.release()


def camera_problem(device: str, error: BaseException) -> str:
    """One line that names the device, the reason and the way out."""
    code = getattr(error, "errno", None) or 0
    reason = _PROBLEMS.get(code, f"cannot be read ({getattr(error, 'strerror', None) or error})")
    others = [name for name in find_cameras() if name != device]
    found = (
        f"found instead: {', '.join(others)}" if others else "no other camera was found; a video file serves as well"
    )
    return f"camera {device}: {reason}; {found}"


class Camera(LiveInput):
    """The newest frame of a camera, and the microphone's sound on the same clock. Time 0 is when it was opened."""

    def __init__(
        self,
        device: str = "",
        rate: float = 25.0,
        width: int = 640,
        height: int = 480,
        microphone: Microphone | None = None,
        grabber: _Grabber | None = None,
    ) -> None:
        """device: a number or a path such as /dev/video0; empty: the first one found. width, height: a wish.

        Raises InputError if it does not exist, is in use, or delivers no first frame within SILENCE_S.
        """
        linux = sys.platform.startswith("linux")
        if not device:
            device = next(iter(find_cameras()), "/dev/video0") if linux else "0"
        elif linux and device.isdecimal():
            device = f"/dev/video{device}"
        self.device = device
        self.has_audio = microphone is not None
        self._microphone = microphone
        self._limiter = RateLimiter(rate)
        open_device = _V4l2Grabber if linux else _OpenCvGrabber
        self._grabber = grabber or open_device(device, width, height, max(rate, 30.0))
        self._start = self.epoch = clocks.monotonic()
        if microphone is not None:
            microphone.start(self._start)
        self._changed = threading.Condition()
        self._newest: tuple[float, RGB] | None = None
        self._error: InputError | None = None
        self._closed = False
        # A daemon: a driver that never returns from a read must not keep the program from ending.
        self._thread = threading.Thread(target=self._grab_frames, name=f"camera {device}", daemon=True)
        self._thread.start()

    def read(self) -> tuple[float, RGB] | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest or self._error or self._closed, timeout=SILENCE_S):
                raise InputError(
                    f"camera {self.device}: delivered nothing for {SILENCE_S:g} s; unplug it, plug it in and restart"
                )
            if self._closed:
                return None
            if self._newest is None:
                assert self._error is not None
                raise self._error
            newest, self._newest = self._newest, None
            return newest

    def read_audio(self) -> tuple[float, Samples] | None:
        return self._microphone.read() if self._microphone is not None else None

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        if self._microphone is not None:
            self._microphone.close()
        self._thread.join(timeout=1.0)
        if self._thread.is_alive():
            logger.warning("camera %s: does not let go of a read; it is released when the program ends", self.device)
        else:
            self._grabber.close()

    def _grab_frames(self) -> None:
        """Keep the newest frame only: a driver queues several, and a late reader would see old ones."""
        while not self._closed:
            try:
                image = self._grabber.grab()
            except InputError as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            time = clocks.monotonic() - self._start
            if not self._limiter.accept(time):
                continue
            with self._changed:
                self.dropped += self._newest is not None
                self._newest = (time, image)
                self._changed.notify_all()
