"""A microphone without a camera, and a sound file as if it were one: the voice alone moves the face over there."""

from __future__ import annotations

import threading
import time as clocks
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.audio.sound_file import SoundError, SoundFile
from streaming.inputs.base import LiveInput
from streaming.inputs.microphone import Microphone
from streaming.media import AUDIO_BLOCK, AUDIO_RATE_HZ, RGB, InputError, Samples


class VoiceOnly(LiveInput):
    """A microphone. Time 0 is when this was made."""

    has_audio = True
    has_picture = False

    def __init__(self, microphone: Microphone) -> None:
        self._microphone = microphone
        self.epoch = clocks.monotonic()
        microphone.start(self.epoch)

    def read(self) -> tuple[float, RGB] | None:
        return None

    def read_audio(self) -> tuple[float, Samples] | None:
        return self._microphone.read()

    def close(self) -> None:
        self._microphone.close()


class SoundFilePlayer(LiveInput):
    """A sound file in real time from the first read on; the last block is filled up with silence."""

    has_audio = True
    has_picture = False

    def __init__(self, path: str | Path) -> None:
        """Raises InputError for what is no sound."""
        try:
            self._blocks = _whole_blocks(SoundFile(path))
        except SoundError as error:
            raise InputError(str(error)) from error
        self.epoch: float | None = None
        self._read = 0
        self._closed = threading.Event()

    def read(self) -> tuple[float, RGB] | None:
        return None

    def read_audio(self) -> tuple[float, Samples] | None:
        if self.epoch is None:
            self.epoch = clocks.monotonic()
        samples = next(self._blocks, None)
        if samples is None:
            return None
        time = self._read / AUDIO_RATE_HZ
        self._read += samples.size
        # As from a microphone: a block is there when its last sample was heard.
        self._closed.wait(max(self.epoch + self._read / AUDIO_RATE_HZ - clocks.monotonic(), 0.0))
        return None if self._closed.is_set() else (time, samples)

    def close(self) -> None:
        self._closed.set()


def _whole_blocks(sound: SoundFile) -> Iterator[Samples]:
    held = np.zeros(0, np.int16)
    for wave in sound.blocks(AUDIO_RATE_HZ):
        held = np.concatenate((held, np.rint(wave * 32767).astype(np.int16)))
        while held.size >= AUDIO_BLOCK:
            yield held[:AUDIO_BLOCK]
            held = held[AUDIO_BLOCK:]
    if held.size:
        yield np.concatenate((held, np.zeros(AUDIO_BLOCK - held.size, np.int16)))
