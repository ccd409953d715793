"""Speech with the times of its phonemes, from the espeak-ng library: only needed to make the demo material again."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RETRIEVE_AUDIO = 1
_PHONEME_EVENTS = 1
_END_OF_LIST, _PHONEME = 0, 7
_PARAMETER_RATE = 1
_UTF8 = 1


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


@dataclass(frozen=True)
class Phoneme:
    start: float
    "Seconds."
    name: str
    "In espeak-ng's notation."


@dataclass(frozen=True)
class Speech:
    samples: NDArray[np.int16]
    "(N,) mono."
    rate: int
    phonemes: list[Phoneme]


def speak(text: str, voice: str = "en-us+f3", words_per_minute: int = 150) -> Speech:
    """Say `text`. Raises RuntimeError where the espeak-ng library or the voice is missing."""
    path = ctypes.util.find_library("espeak-ng")
    if path is None:
        raise RuntimeError("the espeak-ng library is missing; install it (Debian: apt-get install espeak-ng)")
    library = ctypes.CDLL(path)
    rate = library.espeak_Initialize(_RETRIEVE_AUDIO, 0, None, _PHONEME_EVENTS)
    if rate <= 0:
        raise RuntimeError("espeak-ng found no voice data")
    audio = bytearray()
    phonemes: list[Phoneme] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    def collect(wave, count, events):  # type: ignore[no-untyped-def]
        if wave and count > 0:
            audio.extend(ctypes.string_at(wave, count * 2))
        index = 0
        while events[index].type != _END_OF_LIST:
            if events[index].type == _PHONEME:
                phonemes.append(Phoneme(events[index].audio_position_ms / 1000, events[index].id.string.decode()))
            index += 1
        return 0

    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {voice!r}")
    library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return Speech(np.frombuffer(bytes(audio), np.int16), rate, phonemes)
