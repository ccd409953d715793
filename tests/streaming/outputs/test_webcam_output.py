from __future__ import annotations

import sys
from typing import ClassVar

import numpy as np
import pytest

from streaming.outputs import OutputError
from streaming.outputs.webcam_output import WebcamOutput, letterbox

pytestmark = pytest.mark.realtime

pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="the extra `webcam` is not installed")


class MemoryCamera:
    """A device in memory, as pyvirtualcam describes its backends."""

    opened: ClassVar[list[MemoryCamera]] = []

    def __init__(self, *, width, height, fps, fourcc, device, **options):
        if device == "busy":
            raise RuntimeError("device is\nin use.")
        self.width, self.height, self.fps = width, height, fps
        self.frames = []
        self.closed = 0
        self.broken = False
        MemoryCamera.opened.append(self)

    def send(self, frame):
        if self.broken:
            raise RuntimeError("device went away")
        self.frames.append(frame.reshape(self.height, self.width, 3).copy())

    def device(self):
        return "memory"

    def native_fourcc(self):
        return None

    def close(self):
        self.closed += 1


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setattr(MemoryCamera, "opened", [])
    monkeypatch.setitem(pyvirtualcam.camera.BACKENDS, "memory", MemoryCamera)
    pyvirtualcam.register_backend("memory", MemoryCamera)
    return "memory"


def test_frames_reach_the_device_unchanged(backend):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)
    with WebcamOutput(64, 48, 25, backend=backend) as output:
        for number, frame in enumerate(frames):
            output.write(frame, number / 25)
            output.write_audio(np.zeros(960, np.int16), number / 25)
        assert output.device == "memory"
    camera = MemoryCamera.opened[0]
    assert camera.fps == 25
    np.testing.assert_array_equal(camera.frames, frames)
    output.close()
    assert camera.closed == 1
    with pytest.raises(OutputError, match="closed"):
        output.write(frames[0], 1.0)


def test_frames_of_other_sizes_are_fitted_in(backend):
    with WebcamOutput(640, 480, backend=backend) as output:
        output.write(np.full((256, 256, 3), 200, np.uint8), 0.0)
    frame = MemoryCamera.opened[0].frames[0]
    assert (frame[:, 80:560] == 200).all()
    assert (frame[:, :80] == 0).all()
    assert (frame[:, 560:] == 0).all()


@pytest.mark.parametrize(("height", "width"), [(100, 300), (300, 100), (1, 1), (999, 3)])
def test_letterbox_keeps_the_shape_of_the_picture(height, width):
    frame = letterbox(np.full((height, width, 3), 255, np.uint8), 200, 100)
    assert frame.shape == (100, 200, 3)
    rows, columns = np.nonzero(frame[..., 0])
    inner = (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert inner[0] == 100 or inner[1] == 200
    assert inner[0] * width / height == pytest.approx(inner[1], abs=1.5)


def test_a_device_in_use_is_one_line_with_the_way_out(backend):
    with pytest.raises(OutputError, match="in use") as caught:
        WebcamOutput(device="busy", backend=backend)
    assert "\n" not in str(caught.value)
    if sys.platform.startswith("linux"):
        assert "sudo modprobe v4l2loopback" in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="v4l2loopback is the Linux device")
def test_a_missing_device_names_the_command_to_run():
    with pytest.raises(OutputError, match="sudo modprobe v4l2loopback"):
        WebcamOutput(device="/dev/video99", backend="v4l2loopback")


def test_an_unknown_backend_is_refused():
    with pytest.raises(OutputError, match="no backend 'nonsense'"):
        WebcamOutput(backend="nonsense")


def test_a_device_that_goes_away_is_reported(backend):
    with WebcamOutput(64, 48, backend=backend) as output:
        MemoryCamera.opened[0].broken = True
        with pytest.raises(OutputError, match="went away"):
            output.write(np.zeros((48, 64, 3), np.uint8), 0.0)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(OutputError, match=r"pip install 'visavis\[webcam\]'"):
        WebcamOutput()
