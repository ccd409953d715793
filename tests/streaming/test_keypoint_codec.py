"""Keypoints through the motion codec: the same promises as for faces, and nothing mixed up with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.motion import KEYPOINT_LIMIT, FaceState, Keypoints
from streaming.codec import (
    PACKET_LIMIT_BYTES,
    CodecConfig,
    CodecError,
    MotionDecoder,
    MotionEncoder,
    MotionMismatchError,
    MotionStatistics,
    StreamHeader,
    default_statistics,
)
from streaming.keypoint_statistics import keypoint_statistics
from streaming.motion_statistics import UNITS

DIGEST = b"weights1"
MakeMotions = Callable[..., list[Keypoints]]


def same(a: Keypoints, b: Keypoints) -> bool:
    equal = np.array_equal(a.points, b.points) and np.array_equal(a.jacobians, b.jacobians)
    return equal and (a.time, a.confidence) == (b.time, b.confidence)


def still(count: int) -> Keypoints:
    return Keypoints(np.linspace(-0.5, 0.5, 2 * count).reshape(count, 2), np.tile(np.eye(2), (count, 1, 1)))


class Line:
    """A sender, a receiver, and a path on which acknowledgements take `delay` ticks."""

    def __init__(self, statistics: MotionStatistics, step: float = CodecConfig.keypoint_step, delay: int = 1) -> None:
        first = still(statistics.count)
        self.header = StreamHeader.begin(first, CodecConfig(keypoint_step=step), statistics)
        self.encoder = MotionEncoder(self.header, statistics)
        self.decoder = MotionDecoder(StreamHeader.from_bytes(self.header.to_bytes()), statistics)
        self.delay = delay
        self.packets: list[bytes] = []
        self._way_back: list[tuple[int, bytes]] = []

    def send(self, motion: Keypoints, tick: int) -> bytes:
        while self._way_back and self._way_back[0][0] <= tick:
            self.encoder.acknowledge(self._way_back.pop(0)[1])
        self.packets.append(self.encoder.encode(motion, tick))
        return self.packets[-1]

    def receive(self, packet: bytes, sent: int, now: int) -> Keypoints:
        tick, motion = self.decoder.decode(packet)
        assert tick == sent
        assert isinstance(motion, Keypoints)
        expected = self.encoder.reconstruction(sent)
        assert isinstance(expected, Keypoints)
        assert same(motion, expected)
        self._way_back.append((now + 1 + self.delay, self.decoder.acknowledgement()))
        return motion

    @property
    def keys(self) -> list[int]:
        return [tick for tick, packet in enumerate(self.packets) if packet[0] == 0xFF]


@pytest.mark.parametrize("count", [1, 2, 10, 15, 20])
@pytest.mark.parametrize("step", [0.004, 0.02])
def test_no_coordinate_is_off_by_much_more_than_a_step(moving_keypoints: MakeMotions, count: int, step: float):
    statistics = keypoint_statistics(count, DIGEST)
    line = Line(statistics, step)
    for tick, motion in enumerate(moving_keypoints(count, 30, seed=1)):
        decoded = line.receive(line.send(motion, tick), tick, tick)
        off = statistics.coordinates(decoded, 1.0) - statistics.coordinates(motion, 1.0)
        assert np.abs(off).max() <= step * 8 / 7 * UNITS + 2  # and what float32 rounds
        assert decoded.time == pytest.approx(tick / 25)
        assert decoded.confidence == 1.0
    assert line.keys == [0, 1]


@pytest.mark.parametrize("count", [10, 15])
def test_packets_are_short_and_key_frames_fit_whole(moving_keypoints: MakeMotions, count: int):
    statistics = keypoint_statistics(count, DIGEST)
    line = Line(statistics)
    motions = moving_keypoints(count, 60)
    first = line.receive(line.send(motions[0], 0), 0, 0)
    assert np.abs(first.points - motions[0].points).max() < 0.02  # not half way there
    for tick in range(1, 60):
        line.receive(line.send(motions[tick], tick), tick, tick)
    assert max(map(len, line.packets)) <= PACKET_LIMIT_BYTES
    open_code = 872 / 8 / 10  # bytes a keypoint
    assert np.mean([len(packet) for packet in line.packets[2:]]) < 0.5 * open_code * count


def test_keypoints_at_rest_cost_almost_nothing(moving_keypoints: MakeMotions):
    statistics = keypoint_statistics(10, DIGEST)
    line = Line(statistics)
    motion = moving_keypoints(10, 1)[0]
    for tick in range(40):
        line.receive(line.send(motion, tick), tick, tick)
    assert np.mean([len(packet) for packet in line.packets[15:]]) <= 4


@pytest.mark.parametrize("loss", [0.05, 0.3, 0.8])
def test_every_packet_that_arrives_decodes_whatever_else_was_lost_or_overtaken(
    moving_keypoints: MakeMotions, loss: float
):
    statistics = keypoint_statistics(10, DIGEST)
    rng = np.random.default_rng(0)
    line = Line(statistics)
    arrivals: list[tuple[float, int, bytes]] = []
    received = 0
    for tick, motion in enumerate(moving_keypoints(10, 100)):
        packet = line.send(motion, tick)
        if rng.random() >= loss:
            arrivals.append((tick + rng.uniform(0, 6), tick, packet))
        arrivals.sort()
        while arrivals and arrivals[0][0] <= tick:
            _, sent, packet = arrivals.pop(0)
            line.receive(packet, sent, tick)
            received += 1
    assert received + len(arrivals) == pytest.approx(100 * (1 - loss), abs=15)


@pytest.mark.parametrize(
    "changes",
    [
        {"points": 1e9},
        {"points": -1e9},
        {"jacobians": 1e9},
        {"jacobians": 0.0},
        {"points": 3.0, "jacobians": -12.0},
    ],
    ids=str,
)
def test_extremes_are_clamped_and_reached_and_no_packet_is_too_long(
    moving_keypoints: MakeMotions, changes: dict[str, float]
):
    count = 15
    statistics = keypoint_statistics(count, DIGEST)
    usual = moving_keypoints(count, 40)
    alternating = (-1.0) ** np.arange(count)
    extreme = replace(
        usual[0], **{name: np.full_like(getattr(usual[0], name), value) for name, value in changes.items()}
    )
    extreme = replace(extreme, points=extreme.points * alternating[:, None])
    for motions in (usual[:5] + [extreme] * 60 + usual[20:], [extreme, usual[0]] * 10):
        line = Line(statistics)
        for tick, motion in enumerate(motions):
            decoded = line.receive(line.send(motion, tick), tick, tick)
            if tick == 64:
                np.testing.assert_allclose(decoded.points, np.clip(extreme.points, -4, 4), atol=0.02)
        assert max(map(len, line.packets)) <= PACKET_LIMIT_BYTES


def test_random_jumps_stay_within_the_limit():
    count = 15
    statistics = keypoint_statistics(count, DIGEST)
    rng = np.random.default_rng(0)
    line = Line(statistics)
    for tick in range(80):
        spread = 10 ** rng.uniform(-3, 5)
        motion = Keypoints(rng.normal(size=(count, 2)) * spread, rng.normal(size=(count, 2, 2)) * spread)
        packet = line.send(motion, tick)
        assert len(packet) <= PACKET_LIMIT_BYTES
        if rng.random() < 0.7:
            line.receive(packet, tick, tick)


def test_more_keypoints_than_a_packet_holds_are_refused_at_once(moving_keypoints: MakeMotions):
    motion = moving_keypoints(KEYPOINT_LIMIT, 1)[0]
    statistics = keypoint_statistics(KEYPOINT_LIMIT, DIGEST)
    header = StreamHeader.begin(motion, statistics=statistics)
    with pytest.raises(CodecError, match=r"64 keypoints at a step of 0.00500 need packets .* choose a larger step"):
        MotionEncoder(header, statistics)
    coarse = StreamHeader.begin(motion, CodecConfig(keypoint_step=0.5), statistics)
    assert len(MotionEncoder(coarse, statistics).encode(motion, 0)) <= PACKET_LIMIT_BYTES


# What does not belong together


def test_header_survives_the_wire_and_says_what_it_carries():
    header = Line(keypoint_statistics(10, DIGEST)).header
    data = header.to_bytes()
    assert StreamHeader.from_bytes(data) == header
    assert (header.kind.name, header.count, header.model_digest) == ("keypoints", 10, DIGEST)
    assert header.nominal_scale == 1.0
    for i in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[i] ^= 1 << bit
            with pytest.raises(CodecError):
                StreamHeader.from_bytes(bytes(damaged))


def test_random_headers_are_refused():
    rng = np.random.default_rng(0)
    data = Line(keypoint_statistics(10, DIGEST)).header.to_bytes()
    for _ in range(2000):
        noise = rng.bytes(rng.integers(0, 80))
        for start in (b"", b"vk\x01", b"vm\x01"):
            with pytest.raises(CodecError):
                StreamHeader.from_bytes(start + noise)
        with pytest.raises(CodecError):
            StreamHeader.from_bytes(data[: rng.integers(0, len(data))])


@pytest.mark.parametrize("count", [0, KEYPOINT_LIMIT + 1, 255])
def test_a_header_with_a_count_that_no_network_has_is_refused(count: int):
    with pytest.raises(CodecError, match="out of range"):
        replace(Line(keypoint_statistics(10, DIGEST)).header, count=count)


def test_what_two_sides_differ_in_is_told():
    statistics = keypoint_statistics(10, DIGEST)
    header = Line(statistics).header
    with pytest.raises(MotionMismatchError, match="carries keypoints, this side's generator is driven by face states"):
        MotionDecoder(header, default_statistics())
    face_header = StreamHeader.begin(FaceState(np.zeros(3), np.zeros(2), 0.2, np.zeros(24), np.zeros(2)))
    with pytest.raises(MotionMismatchError, match="carries face states, this side's generator is driven by keypoints"):
        MotionDecoder(face_header, statistics)
    with pytest.raises(MotionMismatchError, match=r"10 keypoints \(weights .* both sides must use the same weights"):
        MotionDecoder(header, keypoint_statistics(10, b"weights2"))
    with pytest.raises(MotionMismatchError, match=r"side's network \(15, .* both sides must use the same weights"):
        MotionDecoder(header, keypoint_statistics(15, DIGEST))
    other = replace(statistics, mean=statistics.mean + 1)
    with pytest.raises(MotionMismatchError, match=r"same motion_statistics\.npz beside the weights, or none"):
        MotionDecoder(header, other)


def test_an_encoder_takes_its_own_motion_only(moving_keypoints: MakeMotions):
    statistics = keypoint_statistics(10, DIGEST)
    encoder = Line(statistics).encoder
    with pytest.raises(CodecError, match="15 keypoints, the motion statistics are for 10"):
        encoder.encode(moving_keypoints(15, 1)[0], 0)
    face = FaceState(np.zeros(3), np.zeros(2), 0.2, np.zeros(24), np.zeros(2))
    with pytest.raises(CodecError, match="are those of keypoints, the motion is face states"):
        encoder.encode(face, 0)
    with pytest.raises(CodecError, match="are those of face states, the motion is keypoints"):
        StreamHeader.begin(moving_keypoints(10, 1)[0])
    encoder.encode(moving_keypoints(10, 1)[0], 0)  # nothing has changed


def test_random_and_mutated_packets_raise_codec_error_or_give_sane_keypoints(moving_keypoints: MakeMotions):
    statistics = keypoint_statistics(10, DIGEST)
    rng = np.random.default_rng(0)
    line = Line(statistics)
    for tick, motion in enumerate(moving_keypoints(10, 60)):
        packet = line.send(motion, tick)
        if tick % 20 < 4:
            line.receive(packet, tick, tick)
    raised = decoded = 0
    for number in range(12_000):
        if number % 2:
            data = rng.bytes(min(rng.geometric(0.05), 200))
        else:
            mutable = bytearray(line.packets[rng.integers(60)])
            for _ in range(rng.integers(1, 4)):
                mutable[rng.integers(len(mutable))] ^= 1 << rng.integers(8)
            data = bytes(mutable)
        frames, newest = dict(line.decoder._frames), line.decoder._newest
        try:
            _, motion = line.decoder.decode(data)
        except CodecError:
            raised += 1
            assert (line.decoder._frames, line.decoder._newest) == (frames, newest)
        else:
            decoded += 1
            assert isinstance(motion, Keypoints)
            assert np.abs(motion.points).max() <= 4
            assert np.abs(motion.jacobians).max() <= 16
            line.decoder._frames, line.decoder._newest = frames, newest
    assert raised + decoded == 12_000
    assert decoded < 4_000
