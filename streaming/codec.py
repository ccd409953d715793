"""Motion as packets of a few bytes, each decodable from acknowledged frames alone.

The sender turns a motion (`FaceState` or `Keypoints`) and its tick (index on the media clock of `StreamHeader.fps`)
into one packet; the receiver turns packets into motions, in any order, and sends acknowledgements back. A packet refers
only to frames that the receiver said it has, so a lost packet costs its own frame and nothing else. While nothing is
acknowledged, packets refer to no frame (*key frames*, some 25 bytes of a face, some 50 of ten keypoints).

    sender                                             receiver
    header = StreamHeader.begin(first_motion)  ──reliable──►  decoder = MotionDecoder(StreamHeader.from_bytes(...))
    packet = encoder.encode(motion, tick)      ──lossy────►   tick, motion = decoder.decode(packet)
    encoder.acknowledge(message)               ◄────lossy──   message = decoder.acknowledgement()

A stream carries one kind of motion, coded with one set of tables: those of faces ship and are the default; those of
keypoints belong to the network that finds them (`streaming.keypoint_statistics`), so both sides are given them.

A packet is range-coded as a whole: the tick of its reference modulo 127, the distance to it, which frames before it
help to predict, the confidence, and the residuals. Bytes that the encoder would not have written are refused. A first
byte of 255 marks a key frame: version, whole tick, and a check sum that also covers the stream header, because a key
frame is what everything else builds on. Other packets have no check sum of their own: the transport (DTLS) has one,
and a byte of it would be an eighth of the bitrate.

Both sides stay equal bit by bit because they share tables and compute in integers (`streaming.motion_statistics`). A
receiver that restarts says that it has nothing, and gets key frames. A sender that restarts begins a stream with a
new header. Key frames of the old one are refused by their check sum; its other packets because they refer to frames
that the new stream does not have, its acknowledgements by four bits: nearly always, so let a new stream have a channel
of its own where that is to be had.

What is too much for one packet goes out in several: where the residuals of a frame do not fit, it is coded half way (or
a quarter, ...) to where the motion is, and the next frames go the rest. That ends only if a key frame without any
residual fits, so an encoder refuses more coordinates than that allows, at the step that is asked for.
"""

from __future__ import annotations

import math
import secrets
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

from engine.motion import Motion
from streaming.motion_kind import FACE, KINDS, NOMINAL_SCALE_LIMITS, MotionKind, kind_of
from streaming.motion_prediction import HISTORY, Frame, Prediction, decoded_frame, first_prediction, predict
from streaming.motion_statistics import (
    MAX_DISTANCE,
    UNITS,
    IntArray,
    MotionStatistics,
)
from streaming.range_coder import TOTAL, CodecError, RangeDecoder, RangeEncoder
from streaming.residual_coding import choose_residuals, read_residuals, write_residuals

__all__ = [
    "PACKET_LIMIT_BYTES",
    "CodecConfig",
    "CodecError",
    "MotionDecoder",
    "MotionEncoder",
    "MotionMismatchError",
    "MotionStatistics",
    "StreamHeader",
]

VERSION = 1
PACKET_LIMIT_BYTES = 150
"No packet is longer: longer ones at 25 Hz can fill the window of a lossy SCTP association."

_REFERENCE_BITS = 7
_REFERENCE_MODULUS = 127
"One less than 2**7: a packet that begins with seven ones is a key frame."
_KEY_MARK = 0xFF
_KEY_HEAD = struct.Struct(">BB3sH")  # mark, version, tick, check sum
_KEY_TICK_BITS = 24
_LATE_LIMIT = 64
"A packet may arrive after one that is so many ticks newer."
_MEMORY = _LATE_LIMIT + MAX_DISTANCE + HISTORY
"Ticks of frames that either side keeps: what the oldest packet that is still accepted may refer to."

_ACKNOWLEDGED = 16
"Frames in an acknowledgement, the newest one included."
_ACKNOWLEDGEMENT = struct.Struct(">HH")  # 4 bits of the stream and 12 of the newest tick, mask of the ticks before it
_NOTHING = struct.Struct(">B")

_HALVINGS = 24
"Coordinates are less than so many bits long: a way halved so often is no way any more."

_CONFIDENCE_LEVELS = 8
_PRICES = (1.0, 0.5, 1.7, 2.6)
"Relative prices of a bit that are tried for each frame."


class MotionMismatchError(CodecError):
    """The stream is sound, but of motion or tables that this side does not have; the message says what to change."""


@dataclass(frozen=True)
class CodecConfig:
    """What the sender may choose; all of it reaches the receiver in the stream header."""

    step: float = 0.00173
    "Quantisation step of faces, outer-eye-corner distances (RMS of the landmarks). None is off by more than 8/7 of it."
    keypoint_step: float = 0.005
    "Quantisation step of keypoints, half pictures: 0.6 pixels of 256."
    fps: int = 25
    "Ticks per second of the media clock."
    bit_price: float = 0.12
    "Squared error, in steps², that a saved bit may cost."

    def __post_init__(self) -> None:
        for name, step in (("step", self.step), ("keypoint_step", self.keypoint_step)):
            if not 1 <= round(step * UNITS) <= 0xFFFF:
                raise ValueError(f"{name} {step}: expected {1 / UNITS:.5f} to {0xFFFF / UNITS:.1f}")
        if not 1 <= self.fps <= 240:
            raise ValueError(f"fps {self.fps}: expected 1 to 240")
        if not 0 <= self.bit_price <= 1:
            raise ValueError(f"bit_price {self.bit_price}: expected 0 to 1")


@dataclass(frozen=True)
class StreamHeader:
    """What both sides agree on before the first packet; crosses once, on the reliable channel."""

    stream: int
    "Random 32 bits, new for every start of a sender."
    fps: int
    "Ticks per second."
    step_units: int
    "Quantisation step, 1/UNITS outer-eye-corner distance or half picture."
    nominal_scale: float
    "About the scale of the states that follow, frame units: precision is relative to it. 1 of keypoints."
    origin: float
    "Media time of tick 0, seconds."
    count: int
    "E of the face model, or K."
    model_digest: bytes
    "(8 bytes) the face model that the expression belongs to, or the weights of the network that found the keypoints."
    statistics_digest: bytes
    "(4 bytes) the tables of the codec."
    identity: tuple[float, ...] = ()
    "The sender's identity coefficients, if it tells them; float32 on the wire."
    kind: MotionKind[Any] = FACE
    "Of the motion that follows."

    _FIXED = struct.Struct(">2sBIBHfdB8s4sB")
    _IDENTITY_LIMIT = 128
    LIMIT_BYTES = 40 + 4 * _IDENTITY_LIMIT

    def __post_init__(self) -> None:
        low, high = NOMINAL_SCALE_LIMITS
        if not (
            0 <= self.stream <= 0xFFFFFFFF
            and 1 <= self.fps <= 240
            and 1 <= self.step_units <= 0xFFFF
            and low <= self.nominal_scale <= high  # false for NaN
            and math.isfinite(self.origin)
            and 1 <= self.count <= self.kind.count_limit
            and len(self.model_digest) == 8
            and len(self.statistics_digest) == 4
            and len(self.identity) <= self._IDENTITY_LIMIT
            and all(map(math.isfinite, self.identity))
        ):
            raise CodecError(f"stream header: a field is out of range: {self}")
        # As the wire carries them, so that both sides compute with the same numbers.
        object.__setattr__(self, "nominal_scale", _as_float32(self.nominal_scale))
        object.__setattr__(self, "identity", tuple(map(_as_float32, self.identity)))

    @classmethod
    def begin(
        cls,
        motion: Motion,
        config: CodecConfig | None = None,
        statistics: MotionStatistics | None = None,
        origin: float = 0.0,
        identity: Sequence[float] = (),
    ) -> StreamHeader:
        """A new stream for motion such as `motion`: a face about as large, or as many keypoints.

        origin: media time of tick 0. Raises CodecError for motion that the statistics are not for.
        """
        config = config or CodecConfig()
        statistics = statistics or default_statistics()
        kind = statistics.kind
        if kind_of(motion) is not kind:
            raise CodecError(f"the motion statistics are those of {kind.noun}, the motion is {kind_of(motion).noun}")
        return cls(
            stream=secrets.randbits(32),
            fps=config.fps,
            step_units=round((config.step if kind is FACE else config.keypoint_step) * UNITS),
            nominal_scale=kind.nominal_scale(motion),
            origin=origin,
            count=statistics.count,
            model_digest=statistics.model_digest.tobytes(),
            statistics_digest=statistics.digest,
            identity=tuple(map(float, identity)),
            kind=kind,
        )

    def to_bytes(self) -> bytes:
        """At most LIMIT_BYTES."""
        fixed = self._FIXED.pack(
            self.kind.mark,
            VERSION,
            self.stream,
            self.fps,
            self.step_units,
            self.nominal_scale,
            self.origin,
            self.count,
            self.model_digest,
            self.statistics_digest,
            len(self.identity),
        )
        body = fixed + struct.pack(f">{len(self.identity)}f", *self.identity)
        return body + zlib.crc32(body).to_bytes(4)

    @classmethod
    def from_bytes(cls, data: bytes) -> StreamHeader:
        """Raises CodecError for what is none, is damaged, or is of another version."""
        kinds = {kind.mark: kind for kind in KINDS}
        if not cls._FIXED.size + 4 <= len(data) <= cls.LIMIT_BYTES or data[:2] not in kinds:
            raise CodecError(f"not a motion stream header ({len(data)} bytes)")
        if data[2] != VERSION:
            raise CodecError(f"motion stream of version {data[2]}, this side speaks {VERSION}: update the older side")
        body, check = data[:-4], data[-4:]
        fixed = cls._FIXED.unpack_from(body)
        identities = fixed[-1]
        if zlib.crc32(body).to_bytes(4) != check or len(body) != cls._FIXED.size + 4 * identities:
            raise CodecError("motion stream header: damaged")
        names = [field.name for field in fields(cls) if field.name not in ("identity", "kind")]
        identity = struct.unpack_from(f">{identities}f", body, cls._FIXED.size)
        return cls(**dict(zip(names, fixed[2:-1], strict=True)), identity=identity, kind=kinds[data[:2]])

    def tick_of(self, time: float) -> int:
        """The tick nearest to a media time; at least 0."""
        return max(0, round((time - self.origin) * self.fps))

    def time_of(self, tick: int) -> float:
        """Media time of a tick."""
        return self.origin + tick / self.fps

    @cached_property
    def check(self) -> int:
        """32 bits of everything in the header: what packets and acknowledgements are tied to."""
        return zlib.crc32(self.to_bytes())

    def _statistics(self, statistics: MotionStatistics | None) -> MotionStatistics:
        """The given tables or those that ship, if they are the ones that this stream was coded with."""
        statistics = statistics or default_statistics()
        theirs, own = (self.kind, self.count, self.model_digest), statistics.model_digest.tobytes()
        if self.kind is not statistics.kind:
            raise MotionMismatchError(
                f"the stream carries {self.kind.noun}, this side's generator is driven by {statistics.kind.noun}: "
                "both sides must use generators that are driven by the same motion"
            )
        if theirs != (statistics.kind, statistics.count, own):
            raise MotionMismatchError(
                f"the stream's face model ({self.count} coefficients, {self.model_digest.hex()}) is not this "
                f"side's ({statistics.count}, {own.hex()}): both sides must run the same version"
                if self.kind is FACE
                else f"the stream's {self.count} keypoints (weights {self.model_digest.hex()}) are not those of this "
                f"side's network ({statistics.count}, weights {own.hex()}): both sides must use the same weights"
            )
        if self.statistics_digest != statistics.digest:
            raise MotionMismatchError(
                "the stream was coded with other motion statistics: both sides must run the same version"
                + ("" if self.kind is FACE else ", and have the same motion_statistics.npz beside the weights, or none")
            )
        return statistics


class MotionEncoder:
    """Motions in, packets out. Remembers what it sent in the last few seconds, and which of it arrived."""

    def __init__(
        self, header: StreamHeader, statistics: MotionStatistics | None = None, bit_price: float = CodecConfig.bit_price
    ) -> None:
        """Raises MotionMismatchError for tables that are not the header's, CodecError for more coordinates than the
        step lets into a packet."""
        self.header = header
        self._statistics = header._statistics(statistics)
        self._check_packets_suffice()
        self._bit_price = bit_price
        self._sent: dict[int, Frame] = {}
        self._acknowledged: set[int] = set()
        self._last_tick = -1

    def encode(self, motion: Motion, tick: int) -> bytes:
        """The packet of this frame, 1 to PACKET_LIMIT_BYTES bytes. Ticks must rise; they may skip.

        Motion beyond what the wire carries is clamped (`streaming.motion_kind` states the ranges). Its time is not
        sent: the receiver computes it from the tick. Raises CodecError, and changes nothing, for a tick that does not
        rise or motion that is not of this stream's kind and count.
        """
        if not self._last_tick < tick < 1 << 40:
            raise CodecError(f"tick {tick}: expected more than the last one, {self._last_tick}")
        target = self._statistics.coordinates(motion, self.header.nominal_scale)
        reference = self._reference(tick)
        confidence = _confidence_level(motion.confidence, reference.confidence_level if reference else None)
        packet, frame = self._packet(target, tick, reference, confidence)
        self._last_tick = tick
        self._sent[tick] = frame
        for old in [sent for sent in self._sent if sent <= tick - _MEMORY]:
            del self._sent[old]
            self._acknowledged.discard(old)
        return packet

    def acknowledge(self, message: bytes) -> None:
        """Take what `MotionDecoder.acknowledgement` made. Raises CodecError, and changes nothing, for anything else.

        Old or repeated messages do no harm. Frames that this encoder no longer remembers are ignored.
        """
        if len(message) == _NOTHING.size:
            if message[0] != self.header.check & 0xFF:
                raise CodecError("acknowledgement of another stream")
            self._acknowledged.clear()
            return
        if len(message) != _ACKNOWLEDGEMENT.size:
            raise CodecError(f"acknowledgement of {len(message)} bytes, expected {_ACKNOWLEDGEMENT.size}")
        head, mask = _ACKNOWLEDGEMENT.unpack(message)
        if head >> 12 != self.header.check & 0xF:
            raise CodecError("acknowledgement of another stream")
        newest = self._last_tick - (self._last_tick - head) % (1 << 12)
        received = [newest - back for back in range(_ACKNOWLEDGED) if back == 0 or mask >> (_ACKNOWLEDGED - back) & 1]
        if mask & 1 or any(
            tick < 0 or (tick not in self._sent and tick > self._last_tick - _MEMORY) for tick in received
        ):
            raise CodecError("acknowledgement of a frame that was never sent")
        self._acknowledged.update(tick for tick in received if tick in self._sent)

    def reconstruction(self, tick: int) -> Motion:
        """The motion that the receiver gets from the packet of this tick. KeyError if too old or never sent."""
        return _motion(self._sent[tick], self._statistics, self.header)

    def _reference(self, tick: int) -> Frame | None:
        newest = max(self._acknowledged, default=None)
        if newest is None or tick - newest > MAX_DISTANCE:
            return None
        return self._sent[newest]

    def _packet(self, target: IntArray, tick: int, reference: Frame | None, confidence: int) -> tuple[bytes, Frame]:
        if reference is None:
            distance, step = 0, self.header.step_units
            prediction = first_prediction(self._statistics, step)
        else:
            distance = tick - reference.tick
            step = _step(self.header, distance)
            older_ticks = [
                t for t in range(reference.tick - 1, reference.tick - HISTORY - 1, -1) if t in self._acknowledged
            ]
            older = [self._sent[t] for t in older_ticks]
            prediction = predict(self._statistics, reference, older, distance, step, self.header.fps)
        whole = target
        head = RangeEncoder()
        if reference is not None:
            head.encode_bits((reference.tick + self.header.check) % _REFERENCE_MODULUS, _REFERENCE_BITS)
            head.encode(_distance_table(reference.distance), distance - 1)
            head.encode(_HISTORY_TABLE, sum(1 << (reference.tick - t - 1) for t in older_ticks))
            head.encode(_CONFIDENCE_TABLES[reference.confidence_level], confidence)
        else:
            head.encode_bits(confidence, 3)
        for halving in range(1, _HALVINGS + 1):
            body, residuals = self._best_body(head, prediction, target, step)
            if len(body) + _KEY_HEAD.size <= PACKET_LIMIT_BYTES:
                break
            # A jump too far for one packet: half of it now.
            target = (target + prediction.coordinates) // 2 if halving < _HALVINGS - 1 else prediction.coordinates
        else:
            # After wild motion so much is expected that even standing still is long to say; a key frame expects none.
            assert reference is not None, "the packet of a key frame without residuals was measured"
            return self._packet(whole, tick, None, confidence)
        frame = decoded_frame(prediction, residuals, tick, distance, confidence, step)
        if reference is None:
            low_tick = (tick & ((1 << _KEY_TICK_BITS) - 1)).to_bytes(3)
            return _KEY_HEAD.pack(_KEY_MARK, VERSION, low_tick, _key_check(self.header, low_tick, body)) + body, frame
        return body, frame

    def _check_packets_suffice(self) -> None:
        """A key frame without residuals must fit; see the top of this file."""
        prediction = first_prediction(self._statistics, self.header.step_units)
        coder = RangeEncoder()
        coder.encode_bits(0, 3)
        write_residuals(coder, self._statistics, prediction, [0] * self._statistics.size)
        size = _KEY_HEAD.size + len(coder.finish())
        if size > PACKET_LIMIT_BYTES - 1:
            raise CodecError(
                f"{self._statistics.count} {self.header.kind.noun} at a step of {self.header.step_units / UNITS:.5f} "
                f"need packets of more than {PACKET_LIMIT_BYTES} bytes: choose a larger step, or a network with fewer"
            )

    def _best_body(
        self, head: RangeEncoder, prediction: Prediction, target: IntArray, step: int
    ) -> tuple[bytes, list[int]]:
        """The cheapest of a few ways to quantise, with bytes as the cost: bits that do not fill one are not saved."""
        best: tuple[float, bytes, list[int]] | None = None
        for price in _PRICES if self._bit_price else (1.0,):
            residuals = choose_residuals(self._statistics, prediction, target, step, price * self._bit_price)
            if best is not None and residuals == best[2]:
                continue
            coder = head.copy()
            write_residuals(coder, self._statistics, prediction, residuals)
            body = coder.finish()
            error = target - prediction.coordinates - np.array(residuals, dtype=np.int64) * step
            cost = float(error @ error) + self._bit_price * step * step * 8 * len(body)
            if best is None or cost < best[0]:
                best = cost, body, residuals
        assert best is not None  # the loop runs at least once
        return best[1], best[2]


class MotionDecoder:
    """Packets in, motions out, in whatever order they come. Remembers the frames of the last few seconds."""

    def __init__(self, header: StreamHeader, statistics: MotionStatistics | None = None) -> None:
        self.header = header
        self._statistics = header._statistics(statistics)
        self._frames: dict[int, Frame] = {}
        self._newest: int | None = None

    def decode(self, packet: bytes) -> tuple[int, Motion]:
        """Tick and motion of one packet; a repeated packet gives the same again.

        Raises CodecError, and changes nothing, for bytes that are no packet of this stream, that come more than a few
        seconds late, or that refer to a frame that this decoder does not have.
        """
        if not 1 <= len(packet) <= PACKET_LIMIT_BYTES:
            raise CodecError(f"packet of {len(packet)} bytes, expected 1 to {PACKET_LIMIT_BYTES}")
        frame = self._key_frame(packet) if packet[0] >> 1 == _REFERENCE_MODULUS else self._inter_frame(packet)
        known = self._frames.get(frame.tick)
        if known is not None and (known.coordinates != frame.coordinates).any():
            raise CodecError(f"a second, different frame for tick {frame.tick}")
        motion = _motion(frame, self._statistics, self.header)
        if known is None:
            self._frames[frame.tick] = frame
            self._newest = frame.tick if self._newest is None else max(self._newest, frame.tick)
            for old in [tick for tick in self._frames if tick <= self._newest - _MEMORY]:
                del self._frames[old]
        return frame.tick, motion

    def acknowledgement(self) -> bytes:
        """What arrived lately, for the sender: 4 bytes, or 1 byte while nothing has. Send it after each packet."""
        if self._newest is None:
            return _NOTHING.pack(self.header.check & 0xFF)
        mask = sum(
            1 << (_ACKNOWLEDGED - back) for back in range(1, _ACKNOWLEDGED) if self._newest - back in self._frames
        )
        return _ACKNOWLEDGEMENT.pack((self.header.check & 0xF) << 12 | self._newest & 0xFFF, mask)

    def _key_frame(self, packet: bytes) -> Frame:
        if len(packet) < _KEY_HEAD.size:
            raise CodecError(f"key frame of {len(packet)} bytes")
        mark, version, low_tick, check = _KEY_HEAD.unpack_from(packet)
        body = packet[_KEY_HEAD.size :]
        if mark != _KEY_MARK or version != VERSION:
            raise CodecError(f"motion packet of version {version}, this side speaks {VERSION}: update the older side")
        if check != _key_check(self.header, low_tick, body):
            raise CodecError("key frame: damaged, or of another stream")
        tick = int.from_bytes(low_tick)
        if self._newest is not None:
            modulus = 1 << _KEY_TICK_BITS
            tick = self._newest + (tick - self._newest + modulus // 2) % modulus - modulus // 2
            if tick < max(0, self._newest - _LATE_LIMIT):
                raise CodecError(f"key frame {self._newest - tick} ticks late")
        coder = RangeDecoder(body)
        confidence = coder.decode_bits(3)
        step = self.header.step_units
        return self._frame(coder, first_prediction(self._statistics, step), tick, 0, confidence, step)

    def _inter_frame(self, packet: bytes) -> Frame:
        if self._newest is None:
            raise CodecError("no key frame has arrived yet")
        coder = RangeDecoder(packet)
        reference_tick = (
            self._newest - (self._newest + self.header.check - coder.decode_bits(_REFERENCE_BITS)) % _REFERENCE_MODULUS
        )
        reference = self._frames.get(reference_tick)
        if reference is None:
            raise CodecError("refers to a frame that is not here")
        distance = coder.decode(_distance_table(reference.distance)) + 1
        history = coder.decode(_HISTORY_TABLE)
        older = []
        for back in range(1, HISTORY + 1):
            if history >> (back - 1) & 1:
                if reference_tick - back not in self._frames:
                    raise CodecError("builds on a frame that is not here")
                older.append(self._frames[reference_tick - back])
        confidence = coder.decode(_CONFIDENCE_TABLES[reference.confidence_level])
        step = _step(self.header, distance)
        prediction = predict(self._statistics, reference, older, distance, step, self.header.fps)
        return self._frame(coder, prediction, reference_tick + distance, distance, confidence, step)

    def _frame(
        self, coder: RangeDecoder, prediction: Prediction, tick: int, distance: int, confidence: int, step: int
    ) -> Frame:
        residuals = read_residuals(coder, self._statistics, prediction, step)
        coder.finish()
        return decoded_frame(prediction, residuals, tick, distance, confidence, step)


@lru_cache(maxsize=1)
def default_statistics() -> MotionStatistics:
    """The tables of faces, which ship, loaded once."""
    return MotionStatistics.load()


def _motion(frame: Frame, statistics: MotionStatistics, header: StreamHeader) -> Motion:
    confidence = frame.confidence_level / (_CONFIDENCE_LEVELS - 1)
    return statistics.motion(frame.coordinates, header.nominal_scale, header.time_of(frame.tick), confidence)


def _step(header: StreamHeader, distance: int) -> int:
    """Quantisation step of a frame, units: a little coarser the farther its reference is.

    Small movements that stay below the step add up over a distance and are coded there, so the error at equal steps
    falls by up to an eighth; this keeps it equal instead, and saves the bits.
    """
    return header.step_units * (8 * distance - 1) // (7 * distance)


def _confidence_level(confidence: float, previous: int | None) -> int:
    """The nearest level, but the previous one while that is nearly as near: a wavering confidence costs no bits."""
    exact = confidence * (_CONFIDENCE_LEVELS - 1)
    if previous is not None and abs(exact - previous) < 0.75:
        return previous
    return round(exact)


def _key_check(header: StreamHeader, low_tick: bytes, body: bytes) -> int:
    return zlib.crc32(low_tick + body, header.check) & 0xFFFF


def _as_float32(value: float) -> float:
    return float(struct.unpack(">f", struct.pack(">f", value))[0])


def _table(weights: Sequence[int]) -> tuple[int, ...]:
    """Cumulative frequencies in proportion to integer weights, each at least one."""
    free, total = TOTAL - len(weights), sum(weights)
    frequencies = [1 + free * weight // total for weight in weights]
    frequencies[weights.index(max(weights))] += TOTAL - sum(frequencies)
    return tuple(accumulate(frequencies, initial=0))


@lru_cache(maxsize=MAX_DISTANCE + 1)
def _distance_table(previous: int) -> tuple[int, ...]:
    """Distances 1, 2, ... to the reference, given the reference's own: round trips rarely change between frames."""
    return _table([max(1, (4096 if d == previous else 160) >> abs(d - previous)) for d in range(1, MAX_DISTANCE + 1)])


# Bit i of the symbol: whether the frame i + 1 ticks before the reference helps to predict. Mostly all of them do.
_HISTORY_WEIGHTS = (24, 12, 20, 150, 20_000)
"By how many of them do."
_HISTORY_TABLE = _table([_HISTORY_WEIGHTS[symbol.bit_count()] for symbol in range(1 << HISTORY)])
_CONFIDENCE_TABLES = [
    _table([4000 if level == previous else 40 >> abs(level - previous) for level in range(_CONFIDENCE_LEVELS)])
    for previous in range(_CONFIDENCE_LEVELS)
]
