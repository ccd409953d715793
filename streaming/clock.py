"""Media time: the sender's clock, and the receiver's clock that follows it at an adaptive delay.

*Media time* is seconds on the sender's media clock, the one that counts its audio samples. *Local time* is seconds of
this process's `time.monotonic`. Every function takes local time as an argument, so that tests are tables of numbers.

The receiver sees each packet `offset = arrival - media_time` late: capture, network and queues together with the
unknown difference of the two clocks. It plays media time `now - delay`, where the delay is a high quantile of the
offsets of the last seconds. A lost packet has no offset, so loss alone never lengthens the delay; a burst of late ones
does, and is forgotten when it leaves the window.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass


class MediaClock:
    """The sender's media time: seconds since `epoch`, which is local time."""

    def __init__(self, epoch: float | None = None) -> None:
        self.epoch = time.monotonic() if epoch is None else epoch

    def time(self, now: float | None = None) -> float:
        return (time.monotonic() if now is None else now) - self.epoch


class SerialUnwrapper:
    """Extends a counter of `bits` bits, as it comes from the wire, to an integer that does not wrap."""

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._last = 0

    def unwrap(self, value: int) -> int:
        """The number nearest to the previous one that equals `value` modulo 2**bits; the first to 0."""
        half = self._modulus // 2
        self._last += (value - self._last + half) % self._modulus - half
        return self._last


class OffsetWindow:
    """Offsets (arrival - media time, seconds) of the packets that came within the last `duration` seconds."""

    def __init__(self, duration: float, capacity: int = 1024) -> None:
        self._duration = duration
        self._capacity = capacity
        self._entries: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, offset: float, now: float) -> None:
        self._entries.append((now, offset))
        insort(self._sorted, offset)
        # At least one entry stays: the newest packet is the best guess there is, however old.
        while len(self._entries) > 1 and (
            self._entries[0][0] < now - self._duration or len(self._entries) > self._capacity
        ):
            _, oldest = self._entries.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]

    def quantile(self, fraction: float) -> float:
        """The smallest offset that at least `fraction` of the window does not exceed. IndexError if empty."""
        index = math.ceil(fraction * len(self._sorted)) - 1
        return self._sorted[min(max(index, 0), len(self._sorted) - 1)]

    def clear(self) -> None:
        self._entries.clear()
        self._sorted.clear()


@dataclass(frozen=True)
class PlayoutConfig:
    """How long media waits before it is played."""

    window: float = 4.0
    "Seconds of arrivals that the delay is estimated from; a burst of late packets is forgotten after this."
    voice_quantile: float = 0.95
    "Share of voice packets that come in time; concealment bridges the rest, and one stall under 200 ms is forgiven."
    motion_quantile: float = 0.9
    "Share of motion packets that the delay lets arrive in time to interpolate; the rest is extrapolated."
    minimum_wait: float = 0.020
    "Seconds that the fastest voice packet waits at least: absorbs the scheduling jitter of a busy machine."
    margin: float = 0.004
    "Seconds added to the estimate."
    voice_waits_for_motion: float = 0.060
    "Seconds that the voice is held back at most for motion that comes later than itself (a slow tracker)."
    maximum_delay: float = 1.0
    "Seconds that media waits at most beyond the fastest packet."
    voice_timeout: float = 1.0
    "Seconds without a voice packet after which the clock follows motion alone."
    grow_rate: float = 0.25
    "Seconds of delay added per second when the delay must grow."
    shrink_rate: float = 0.06
    "Seconds of delay removed per second when it may shrink."
    jump: float = 0.25
    "A delay that is this many seconds too long is corrected at once: media in between is skipped."

    def __post_init__(self) -> None:
        if not (0 < self.voice_quantile <= 1 and 0 < self.motion_quantile <= 1):
            raise ValueError("quantiles: expected numbers above 0, at most 1")
        if min(self.window, self.maximum_delay, self.grow_rate, self.shrink_rate, self.jump) <= 0:
            raise ValueError("window, maximum_delay, rates and jump: expected positive numbers")
        if not self.shrink_rate < 1:
            raise ValueError("shrink_rate: expected less than 1, as playing twice as fast is the limit")


class PlayoutClock:
    """Maps local time to the media time that is to be played.

    It follows the voice, waits a bounded time for motion that comes later, and follows motion when there is no voice.
    The delay slews, so that what is played neither stutters nor jumps in ordinary conditions.
    """

    def __init__(self, config: PlayoutConfig | None = None) -> None:
        self.config = config or PlayoutConfig()
        self._voice = OffsetWindow(self.config.window)
        self._motion = OffsetWindow(self.config.window)
        self._voice_arrival = -math.inf
        self._motion_times: deque[float] = deque(maxlen=32)
        self._delay: float | None = None
        self._updated = 0.0
        self._hold = -math.inf
        self.read_block = 0.010
        "Seconds that the output takes from the voice buffer in one go: so much more must be there at that time."

    @property
    def delay(self) -> float | None:
        """`local time - media time` of what is played, in seconds, clock difference included. None before the start."""
        return self._delay

    @property
    def waiting(self) -> float | None:
        """Seconds that the fastest packet of the leading stream waits before it is played: the playout delay."""
        window = self._voice if len(self._voice) else self._motion
        if self._delay is None or not len(window):
            return None
        return self._delay - window.quantile(0.0)

    def voice_arrived(self, media_time: float, now: float) -> None:
        """A voice packet whose first sample has this media time arrived at local time `now`."""
        self._voice_arrival = now
        self._voice.add(now - media_time, now)
        self._update(now)

    def motion_arrived(self, media_time: float, now: float) -> None:
        """A motion packet with this capture time arrived at local time `now`."""
        self._motion.add(now - media_time, now)
        if not self._motion_times or media_time > self._motion_times[-1]:
            self._motion_times.append(media_time)
        self._update(now)

    def target(self, now: float) -> float | None:
        """The delay that the arrivals of the last seconds ask for; None while nothing has arrived."""
        config = self.config
        voice_delay = motion_delay = None
        if len(self._voice) and now - self._voice_arrival <= config.voice_timeout:
            fastest = self._voice.quantile(0.0)
            late = self._voice.quantile(config.voice_quantile)
            # A read of n seconds at media time M needs samples up to M + n: they must have come by then.
            wait = max(late - fastest, config.minimum_wait) + config.margin + self.read_block
            voice_delay = fastest + min(wait, config.maximum_delay)
        if len(self._motion):
            fastest = self._motion.quantile(0.0)
            late = self._motion.quantile(config.motion_quantile)
            # Interpolation needs the frame after the one that is shown.
            wait = late - fastest + config.margin + self.frame_interval
            motion_delay = fastest + min(wait, config.maximum_delay)
        if voice_delay is None:
            return motion_delay
        if motion_delay is None:
            return voice_delay
        return max(voice_delay, min(motion_delay, voice_delay + config.voice_waits_for_motion))

    @property
    def frame_interval(self) -> float:
        """The usual distance of motion frames in seconds, within 0 and 0.1; 0.04 before it is known."""
        times = self._motion_times
        if len(times) < 3:
            return 0.04
        steps = sorted(b - a for a, b in zip(times, list(times)[1:], strict=False))
        return min(max(steps[len(steps) // 2], 0.0), 0.1)

    def media_time(self, now: float) -> float | None:
        """Media time to play at local time `now`; None before the first packet.

        It stands still while the delay grows by a jump, and runs backwards only if that would take more than a second
        (the sender's clock was set, or its machine slept).
        """
        self._update(now)
        return None if self._delay is None else max(now - self._delay, self._hold)

    def _update(self, now: float) -> None:
        target = self.target(now)
        if target is None:
            return
        if self._delay is None:
            self._delay, self._updated = target, now
            return
        elapsed = max(now - self._updated, 0.0)
        self._updated = max(now, self._updated)
        error = target - self._delay
        if abs(error) > self.config.jump:
            self._hold = now - self._delay if 0 < error < 1.0 else -math.inf
            self._delay = target
        elif error > 0:
            self._delay += min(error, self.config.grow_rate * elapsed)
        else:
            self._delay -= min(-error, self.config.shrink_rate * elapsed)

    def forget_motion(self) -> None:
        """Forget the arrivals of motion: what came before was no motion of this sender."""
        self._motion.clear()
        self._motion_times.clear()

    def reset(self) -> None:
        """Forget the arrivals and the delay: the next packet starts anew (a reconnection, another sender)."""
        self._voice.clear()
        self.forget_motion()
        self._voice_arrival = -math.inf
        self._delay = None
        self._hold = -math.inf
