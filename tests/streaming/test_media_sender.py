"""The sending half without a network: which stream carries which motion."""

from __future__ import annotations

import numpy as np
import pytest

from engine.motion import FaceState
from streaming.codec import CodecConfig, CodecError, MotionDecoder, StreamHeader, default_statistics
from streaming.keypoint_statistics import keypoint_statistics
from streaming.media_sender import MediaSender
from streaming.voice import VoicePacket

pytestmark = pytest.mark.realtime

STATISTICS = keypoint_statistics(10, b"weights1")


class Wire:
    """A connection that keeps what is sent."""

    takes_motion = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def transmit_motion(self, packet: bytes) -> None:
        self.sent.append(("motion", packet))

    def transmit_motion_header(self, header: bytes) -> None:
        self.sent.append(("header", header))

    def transmit_voice(self, packet: VoicePacket) -> None:
        self.sent.append(("voice", packet.payload))


def face(time: float) -> FaceState:
    return FaceState(np.zeros(3), np.zeros(2), 0.25, np.zeros(default_statistics().count), np.zeros(2), time=time)


def test_keypoints_go_out_with_their_own_tables_and_step(moving_keypoints):
    wire = Wire()
    sender = MediaSender(codec=CodecConfig(keypoint_step=0.01), keypoint_statistics=STATISTICS)
    sender.attach(wire)
    motions = moving_keypoints(10, 10)
    for motion in motions:
        sender.send_motion(motion)
    assert [kind for kind, _ in wire.sent] == ["header"] + ["motion"] * 10
    header = StreamHeader.from_bytes(wire.sent[0][1])
    assert header.step_units == round(0.01 * (1 << 15))
    decoder = MotionDecoder(header, STATISTICS)
    for (_, packet), motion in zip(wire.sent[1:], motions, strict=True):
        np.testing.assert_allclose(decoder.decode(packet)[1].points, motion.points, atol=0.03)


def test_a_tick_before_the_frame_gets_keypoints_from_between_frames(moving_keypoints):
    wire = Wire()
    sender = MediaSender(codec=CodecConfig(keypoint_step=0.001), keypoint_statistics=STATISTICS)
    sender.attach(wire)
    first, _, third = moving_keypoints(10, 3)
    sender.send_motion(first)
    late = type(third)(third.points, third.jacobians, time=0.055)
    sender.send_motion(late)  # the tick is at 0.04
    decoder = MotionDecoder(StreamHeader.from_bytes(wire.sent[0][1]), STATISTICS)
    decoder.decode(wire.sent[1][1])
    expected = first.points + (0.04 / 0.055) * (third.points - first.points)
    np.testing.assert_allclose(decoder.decode(wire.sent[2][1])[1].points, expected, atol=0.003)


def test_another_kind_of_motion_begins_a_new_stream(moving_keypoints):
    wire = Wire()
    sender = MediaSender(keypoint_statistics=STATISTICS)
    sender.attach(wire)
    motions = moving_keypoints(10, 4)
    sender.send_motion(motions[0])
    sender.send_motion(face(0.04))
    sender.send_motion(face(0.08))
    sender.send_motion(motions[3])
    assert [kind for kind, _ in wire.sent] == ["header", "motion", "header", "motion", "motion", "header", "motion"]
    kinds = [StreamHeader.from_bytes(data).kind.name for kind, data in wire.sent if kind == "header"]
    assert kinds == ["keypoints", "face", "keypoints"]


def test_keypoints_without_tables_or_of_another_number_are_told(moving_keypoints):
    wire = Wire()
    sender = MediaSender()
    sender.attach(wire)
    with pytest.raises(CodecError, match=r"MediaSender\(keypoint_statistics=\.\.\.\)"):
        sender.send_motion(moving_keypoints(10, 1)[0])
    sender.send_motion(face(0.0))
    assert [kind for kind, _ in wire.sent] == ["header", "motion"]
    other = MediaSender(keypoint_statistics=STATISTICS)
    other.attach(wire)
    with pytest.raises(CodecError, match="15 keypoints, the motion statistics are for 10"):
        other.send_motion(moving_keypoints(15, 1)[0])
