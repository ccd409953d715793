"""Where a call or a rendering comes from: a camera, a video file with sound, a voice alone, a recorded motion track."""

from __future__ import annotations

from streaming.inputs.base import LiveInput
from streaming.inputs.camera import Camera
from streaming.inputs.microphone import Microphone
from streaming.inputs.video_file import NoPictureError, VideoFile, VideoFilePlayer
from streaming.inputs.voice_only import SoundFilePlayer, VoiceOnly
from streaming.media import InputError
from streaming.motion_track import MotionTrack

__all__ = [
    "Camera",
    "InputError",
    "LiveInput",
    "Microphone",
    "MotionTrack",
    "SoundFilePlayer",
    "VideoFile",
    "VideoFilePlayer",
    "VoiceOnly",
    "open_input",
    "open_live_input",
]

CAMERA = "camera"
"`camera`, `camera:1` and `camera:/dev/video2` name cameras; everything else is a file."


def open_input(spec: str) -> VideoFile | MotionTrack:
    """A file to be read from end to end, as fast as it goes: a motion track (.npz) or a video. Raises InputError."""
    if _camera_device(spec) is not None:
        raise InputError(f"{spec}: a camera has no end; name a video file or a motion track (.npz)")
    return MotionTrack.load(spec) if spec.endswith(".npz") else VideoFile(spec)


def open_live_input(spec: str, rate: float = 25.0, loop: bool = False, microphone: str | None = None) -> LiveInput:
    """A camera, a video file or a sound file in real time, at most `rate` frames a second. Raises InputError.

    loop: a video file starts again at its end. microphone: with a camera only; empty: the default one, None: no sound.
    """
    device = _camera_device(spec)
    if device is None:
        try:
            return VideoFilePlayer(VideoFile(spec, max_side=1280), rate=rate, loop=loop)
        except NoPictureError:
            return SoundFilePlayer(spec)
    return Camera(device, rate=rate, microphone=Microphone(microphone) if microphone is not None else None)


def _camera_device(spec: str) -> str | None:
    """The device that the spec names (empty: any), or None if it names a file."""
    if spec.startswith("/dev/video"):
        return spec
    kind, _, device = spec.partition(":")
    return device if kind == CAMERA else None
