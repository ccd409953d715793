"""Keeps native libraries off the terminal: MediaPipe, TensorFlow Lite and libjpeg know no Python logging."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def quiet_native_log() -> Iterator[None]:
    """Send what is written to file descriptor 2 nowhere while inside. Python errors are not affected: they are raised.

    The descriptor belongs to the whole process, so keep it short; blocks in several threads wait for each other.
    """
    with _lock:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # no descriptor 2, as in a program without a terminal: nothing to silence
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
