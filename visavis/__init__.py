"""visavis: a video call that sends a face, not a video of it.

>>> from visavis import Avatar
>>> avatar = Avatar.from_image("me.jpg")
>>> frame = avatar.render(motion)   # (256, 256, 3) RGB

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.avatar import Avatar as Avatar
    from engine.face.motion_tracker import MotionTracker as MotionTracker
    from engine.motion import FaceState as FaceState
    from streaming.codec import MotionDecoder as MotionDecoder
    from streaming.codec import MotionEncoder as MotionEncoder

__version__ = "0.1.0"

_HOMES = {
    "Avatar": "engine.avatar",
    "FaceState": "engine.motion",
    "MotionTracker": "engine.face.motion_tracker",
    "MotionEncoder": "streaming.codec",
    "MotionDecoder": "streaming.codec",
}

__all__ = ["Avatar", "FaceState", "MotionDecoder", "MotionEncoder", "MotionTracker", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'visavis' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
