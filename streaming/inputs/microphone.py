"""A microphone through sounddevice (optional: pip install 'visavis[audio]')."""

from __future__ import annotations

import threading
import time as clocks
from collections import deque
from typing import Any

import numpy as np

from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ, InputError, Samples

QUEUE_BLOCKS = 50
"One second: a reader that comes later loses the oldest sound."
SILENCE_S = 5.0
"A microphone that delivers nothing for so long counts as dead."
DRIFT_LIMIT_S = 0.05
"Sample count and clock may differ by so much before the time is taken from the clock again (after lost blocks)."


class Microphone:
    """20 ms blocks from a sound device, with times on the clock that `start` is given."""

    def __init__(self, device: str = "") -> None:
        """device: number or part of a name as `python -m sounddevice` lists them; empty: the system's default.

        Raises InputError if sounddevice, its PortAudio library or the device is missing.
        """
        try:
            import sounddevice
        except ImportError as error:
            raise InputError(
                "the microphone needs the sounddevice package: pip install 'visavis[audio]' "
                "(or go on without: --microphone none)"
            ) from error
        except OSError as error:
            raise InputError(
                "the microphone needs the PortAudio library: sudo apt install libportaudio2 "
                "(or go on without: --microphone none)"
            ) from error
        self._blocks: deque[tuple[float, Samples]] = deque(maxlen=QUEUE_BLOCKS)
        self._arrived = threading.Condition()
        self._closed = False
        self._origin = 0.0
        self._next_time: float | None = None
        name: str | int | None = int(device) if device.isdecimal() else (device or None)
        try:
            self._stream: Any = sounddevice.InputStream(
                device=name,
                samplerate=AUDIO_RATE_HZ,
                channels=1,
                dtype="int16",
                blocksize=AUDIO_BLOCK,
                latency="low",
                callback=self._on_block,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise InputError(
                f"microphone {device or '(default)'}: cannot be opened ({error}); "
                "list the devices with: python -m sounddevice (or go on without: --microphone none)"
            ) from error

    def start(self, origin: float) -> None:
        """Begin to record; origin: the moment of `time.monotonic` that is time 0."""
        self._origin = origin
        self._stream.start()

    def read(self) -> tuple[float, Samples] | None:
        """The oldest block not read yet and its time; None after `close`. Raises InputError if there is none."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._blocks or self._closed, timeout=SILENCE_S):
                raise InputError(f"microphone: delivered nothing for {SILENCE_S:g} s; plug it in again and restart")
            return None if self._closed else self._blocks.popleft()

    def close(self) -> None:
        with self._arrived:
            if self._closed:
                return
            self._closed = True
            self._arrived.notify_all()
        self._stream.close()

    def _on_block(self, recorded: Any, count: int, times: Any, status: Any) -> None:
        """Called by PortAudio in a thread of its own."""
        waited = max(times.currentTime - times.inputBufferAdcTime, 0.0)  # from the first sample's capture until now
        heard = clocks.monotonic() - self._origin - waited
        if self._next_time is None or abs(heard - self._next_time) > DRIFT_LIMIT_S:
            self._next_time = heard
        with self._arrived:
            self._blocks.append((self._next_time, np.array(recorded[:, 0], np.int16)))
            self._arrived.notify_all()
        self._next_time += count / AUDIO_RATE_HZ
