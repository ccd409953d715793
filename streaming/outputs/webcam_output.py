"""A virtual webcam through pyvirtualcam (optional, GPL-2.0: pip install 'visavis[webcam]')."""

from __future__ import annotations

import logging
import sys
from typing import Any

import cv2
import numpy as np

from streaming.media import RGB, OutputError, Samples, check_frame
from streaming.outputs.base import Output

logger = logging.getLogger(__name__)

_LINUX_SETUP = (
    "create one: sudo modprobe v4l2loopback exclusive_caps=1 card_label=visavis "
    "(on Debian and Ubuntu after: sudo apt install v4l2loopback-dkms)"
)
_OBS_SETUP = "install OBS Studio, start it once, and start and stop its virtual camera there"


def letterbox(frame_rgb: RGB, width: int, height: int) -> RGB:
    """The whole frame, as large as it fits into (height, width, 3), on black."""
    own_height, own_width = frame_rgb.shape[:2]
    if (own_height, own_width) == (height, width):
        return frame_rgb
    scale = min(width / own_width, height / own_height)
    inner_width, inner_height = max(round(own_width * scale), 1), max(round(own_height * scale), 1)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas[top : top + inner_height, left : left + inner_width] = cv2.resize(
        frame_rgb, (inner_width, inner_height), interpolation=interpolation
    )
    return canvas


class WebcamOutput(Output):
    """Every frame appears at once as the picture of a camera that other programs can open. It has no sound."""

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        rate: float = 25.0,
        device: str | None = None,
        backend: str | None = None,
    ) -> None:
        """width, height: of the camera; other frames are fitted in. device: for example /dev/video2; None: any.

        backend: one of pyvirtualcam's, or one registered with `pyvirtualcam.register_backend`.
        Raises OutputError if pyvirtualcam is not installed or there is no virtual camera.
        """
        try:
            import pyvirtualcam
        except ImportError as error:
            raise OutputError("the virtual webcam needs pyvirtualcam: pip install 'visavis[webcam]'") from error
        if backend is not None and backend not in pyvirtualcam.camera.BACKENDS:
            known = ", ".join(sorted(pyvirtualcam.camera.BACKENDS))
            raise OutputError(f"virtual webcam: there is no backend {backend!r}; use one of: {known}")
        self._size = (width, height)
        try:
            self._camera: Any = pyvirtualcam.Camera(width, height, rate, device=device, backend=backend)
        except (RuntimeError, OSError, ValueError) as error:
            setup = _LINUX_SETUP if sys.platform.startswith("linux") else _OBS_SETUP
            name = f"virtual webcam {device}" if device else "virtual webcam"
            raise OutputError(f"{name}: cannot be opened ({_one_line(error)}); {setup}") from error
        self.device: str = self._camera.device
        logger.info("virtual webcam: open %s as a camera in other programs", self.device)

    def write(self, frame_rgb: RGB, time: float) -> None:
        camera = self._camera
        if camera is None:
            raise OutputError(f"virtual webcam {self.device}: is closed already")
        try:
            camera.send(letterbox(check_frame(frame_rgb), *self._size))
        except (RuntimeError, OSError) as error:
            raise OutputError(f"virtual webcam {self.device}: stopped taking pictures ({_one_line(error)})") from error

    def write_audio(self, samples: Samples, time: float) -> None:
        """Does nothing: a camera has no sound. Programs take the voice from a microphone or from the call itself."""

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
