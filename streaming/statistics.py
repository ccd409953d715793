"""What a call measures about itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streaming.aiortc_internals import WireCounters


class Distribution:
    """The newest values of one quantity, and their quantiles."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._values: deque[float] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        self._values.append(value)

    def quantile(self, fraction: float) -> float:
        """NaN while there is no value."""
        return float(np.quantile(self._values, fraction)) if self._values else float("nan")

    def summary(self) -> dict[str, float]:
        """The 5, 50 and 95 % quantiles, the least, the largest and the count."""
        quantiles = {"min": 0.0, "p05": 0.05, "p50": 0.5, "p95": 0.95, "max": 1.0}
        return {name: self.quantile(fraction) for name, fraction in quantiles.items()} | {"n": len(self)}


@dataclass
class PayloadCount:
    """Packets and bytes of one kind of payload, without any header."""

    packets: int = 0
    bytes: int = 0

    def add(self, payload: Sized) -> None:
        self.packets += 1
        self.bytes += len(payload)


@dataclass
class SenderStatistics:
    """What was sent since the sender was made, over all connections."""

    motion: PayloadCount = field(default_factory=PayloadCount)
    voice: PayloadCount = field(default_factory=PayloadCount)
    motion_unsent: int = 0
    "States that were not sent: no connection, or the one before still waited."
    capture_to_send: Distribution = field(default_factory=Distribution)
    "Seconds from the capture time of a frame until its motion was sent."
    encode: Distribution = field(default_factory=Distribution)
    "Seconds of work in the motion encoder for a frame."


@dataclass
class ReceiverStatistics:
    """What was received and shown since the receiver was made, over all connections."""

    motion: PayloadCount = field(default_factory=PayloadCount)
    voice: PayloadCount = field(default_factory=PayloadCount)
    acknowledgements: PayloadCount = field(default_factory=PayloadCount)
    "Those that were sent for the motion received."
    motion_late: int = 0
    "States that came after their time."
    motion_malformed: int = 0
    "Packets that were no motion, or of a stream that was not announced."
    voice_late: int = 0
    "Packets that came after their time."
    voice_lost: int = 0
    "Packets that were not there in time."
    voice_malformed: int = 0
    "Packets that are not Opus as we accept it."
    voice_concealed_ms: float = 0.0
    "Voice made up in place of what was missing."
    views_concealed: int = 0
    "Frames shown whose motion is a guess."
    decode: Distribution = field(default_factory=Distribution)
    "Seconds of work in the motion decoder for a packet."
    capture_to_arrival: Distribution = field(default_factory=Distribution)
    "Seconds from capture to the arrival of motion. Needs the peer's clock, which is known after the first ping."
    capture_to_display: Distribution = field(default_factory=Distribution)
    "Seconds from capture until the frame was shown."
    skew: Distribution = field(default_factory=Distribution)
    "Media time of the shown motion minus that of the voice heard then, seconds: negative when the lips are late."
    playout_delay: Distribution = field(default_factory=Distribution)
    "Seconds that the fastest packet waits before it is played, at each frame shown."


@dataclass
class PeerStatistics:
    """What one connection measures."""

    wire: WireCounters = field(default_factory=WireCounters)
    round_trip: Distribution = field(default_factory=Distribution)
    "Seconds from a ping to its answer."
    protocol_errors: int = 0
    "Messages of the other peer that were refused."


def as_table(statistics: Any) -> dict[str, Any]:
    """A statistics object as plain nested dicts of numbers, for JSON."""
    if isinstance(statistics, Distribution):
        return statistics.summary()
    table: dict[str, Any] = {}
    for name, value in vars(statistics).items():
        if isinstance(value, dict):
            table[name] = {key: as_table(entry) for key, entry in value.items()}
        else:
            table[name] = value if isinstance(value, int | float) else as_table(value)
    return table
