from __future__ import annotations

import errno
import sys
import threading
import time

import numpy as np
import pytest

from streaming.inputs import Camera, InputError, Microphone, open_input, open_live_input
from streaming.inputs.base import RateLimiter
from streaming.inputs.camera import camera_problem

pytestmark = pytest.mark.realtime

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 device names")


@linux_only
@pytest.mark.parametrize("spec", ["/dev/video99", "camera:99", "camera:/dev/video99"])
def test_a_missing_camera_is_named(spec):
    with pytest.raises(InputError, match="camera /dev/video99: there is no such camera") as caught:
        open_live_input(spec)
    assert "\n" not in str(caught.value)


@linux_only
def test_a_file_that_is_no_camera_is_refused(tmp_path):
    (tmp_path / "video7").write_bytes(b"no camera")
    with pytest.raises(InputError, match="video7"):
        Camera(str(tmp_path / "video7"))


def test_a_camera_in_use_says_what_to_do():
    text = camera_problem("/dev/video0", OSError(errno.EBUSY, "Device or resource busy"))
    assert text.startswith("camera /dev/video0: another program uses it; close that program")


def test_a_camera_cannot_be_read_to_its_end():
    with pytest.raises(InputError, match="no end"):
        open_input("camera")


class ScriptedGrabber:
    """Stands where a driver would be: frames at given distances in time, then an error or silence."""

    def __init__(self, distances: list[float], error: str | None = None) -> None:
        self.distances = list(distances)
        self.error = error
        self.closed = False
        self.count = 0
        self._end = threading.Event()

    def grab(self):
        if not self.distances:
            if self.error:
                raise InputError(self.error)
            self._end.wait(0.05)
            return np.zeros((4, 4, 3), np.uint8)
        time.sleep(self.distances.pop(0))
        self.count += 1
        return np.full((4, 4, 3), self.count, np.uint8)

    def close(self):
        self.closed = True


def test_a_late_reader_gets_the_newest_frame_and_its_time():
    grabber = ScriptedGrabber([0.0] + [0.04] * 5, error="gone")
    with Camera("7", grabber=grabber, rate=25) as camera:
        first_time, _ = camera.read()
        time.sleep(0.4)
        later_time, frame = camera.read()
        assert frame[0, 0, 0] >= 5
        assert later_time - first_time > 0.1
        assert camera.dropped >= 3


def test_a_camera_that_dies_ends_in_one_clear_error():
    with Camera("7", grabber=ScriptedGrabber([0.0], error="camera 7: stopped delivering")) as camera:
        assert camera.read() is not None
        for _ in range(2):
            with pytest.raises(InputError, match="stopped delivering"):
                camera.read()


def test_close_wakes_the_reader_and_releases_the_device():
    grabber = ScriptedGrabber([10.0])
    grabber.distances = [0.2]
    camera = Camera("7", grabber=grabber)
    results = []
    reader = threading.Thread(target=lambda: results.append(camera.read()))
    reader.start()
    camera.close()
    camera.close()
    reader.join(timeout=2)
    assert results == [None]
    assert grabber.closed
    assert camera.read() is None
    assert camera.read_audio() is None


def test_a_microphone_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match=r"pip install 'visavis\[audio\]'"):
        Microphone()


def accepted(rate: float, times) -> list[float]:
    limiter = RateLimiter(rate)
    return [time for time in times if limiter.accept(time)]


def test_frames_at_the_rate_all_pass_in_spite_of_jitter():
    times = np.arange(100) / 25 + np.random.default_rng(0).uniform(-0.004, 0.004, 100)
    assert len(accepted(25, times)) == 100


@pytest.mark.parametrize(("source", "expected"), [(30, 25), (60, 25), (15, 15), (24, 24)])
def test_a_rate_is_reduced_on_the_long_run(source, expected):
    passed = accepted(25, np.arange(10 * source) / source)
    assert len(passed) / 10 == pytest.approx(expected, abs=0.2)
    assert max(np.diff(passed)) <= 1 / 25 + 1 / source + 1e-9


def test_a_pause_gives_credit_for_one_frame_only():
    assert len(accepted(25, [0.0, *(10.0 + np.arange(50) / 1000)])) <= 4
