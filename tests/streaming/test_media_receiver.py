"""The receiving half without a network: streams that begin, break off and begin anew."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.impaired_call import moving_face, talking_voice
from engine.motion import FaceState
from streaming.codec import CodecError, MotionEncoder, StreamHeader, default_statistics
from streaming.keypoint_statistics import keypoint_statistics
from streaming.media_receiver import MediaReceiver
from streaming.voice import VoiceEncoder

pytestmark = pytest.mark.realtime

NOW = 1000.0
"Local time of media time 0 plus the way."


def face(time: float) -> FaceState:
    return moving_face(time, default_statistics().count)


def motion(count: int, first: float = 0.0) -> tuple[bytes, list[tuple[float, bytes]]]:
    """A header and (media time, packet) of so many frames; every packet is a key frame, as nothing is acknowledged."""
    header = StreamHeader.begin(face(first), origin=first)
    encoder = MotionEncoder(header)
    times = [first + 0.04 * tick for tick in range(count)]
    return header.to_bytes(), [(time, encoder.encode(face(time), tick)) for tick, time in enumerate(times)]


def feed_motion(receiver: MediaReceiver, count: int, first: float = 0.0, now: float = NOW) -> None:
    header, packets = motion(count, first)
    receiver.begin_motion(header)
    for media_time, packet in packets:
        receiver.receive_motion(packet, now + media_time - first)


def feed_voice(receiver: MediaReceiver, seconds: float, origin: int, announce_after: int = 0) -> None:
    packets = VoiceEncoder().encode(talking_voice(0.0, int(seconds * 48_000)), 0.0)
    for number, packet in enumerate(packets):
        if number == announce_after:
            receiver.begin_voice(origin)
        now = NOW + packet.start / 48_000 + 0.03
        receiver.receive_voice((60_000 + number) % 65536, (origin + packet.start) % 2**32, packet.payload, now)


def test_before_anything_there_is_no_view_and_silence():
    receiver = MediaReceiver()
    assert receiver.view() is None
    assert not receiver.read_audio(480).any()
    assert receiver.heard_time() is None


def test_motion_is_played_one_frame_behind_its_arrival():
    receiver = MediaReceiver()
    feed_motion(receiver, 50)
    view = receiver.view(NOW + 1.9)
    assert view.media_time == pytest.approx(1.9 - 0.044, abs=1e-3)
    np.testing.assert_allclose(view.state.rotation, face(view.media_time).rotation, atol=0.02)
    assert not view.concealed


def test_who_renders_for_a_while_gets_the_motion_of_then_as_far_as_it_is_there():
    receiver = MediaReceiver()
    feed_motion(receiver, 50)  # captured up to 1.96
    now = NOW + 1.9
    plain = receiver.view(now).media_time
    assert receiver.view(now, ahead=0.03).media_time == pytest.approx(plain + 0.03)
    held_back = receiver.view(now, ahead=0.5)
    assert held_back.media_time == pytest.approx(1.96)
    assert not held_back.concealed
    # What is shown never waits for motion that is missing.
    late = receiver.view(NOW + 2.6, ahead=0.03)
    assert late.media_time == pytest.approx(2.6 - 0.044, abs=1e-3)


def test_motion_before_its_header_is_counted_and_dropped():
    receiver = MediaReceiver(acknowledge_every=1)
    header, packets = motion(3)
    assert receiver.receive_motion(packets[0][1], NOW) is None
    assert receiver.statistics.motion_malformed == 1
    receiver.begin_motion(header)
    assert receiver.receive_motion(packets[1][1], NOW) is not None
    with pytest.raises(CodecError):
        receiver.begin_motion(header[:-1])
    assert receiver.receive_motion(packets[2][1], NOW + 1.0) is not None


@pytest.mark.parametrize(("every", "count"), [(1, 25), (2, 13), (5, 5)], ids=str)
def test_first_packet_is_acknowledged_at_once_and_then_every_nth(every, count):
    receiver = MediaReceiver(acknowledge_every=every)
    header, packets = motion(25)
    receiver.begin_motion(header)
    answers = [receiver.receive_motion(packet, NOW + media_time) for media_time, packet in packets]
    assert answers[0] is not None
    assert sum(answer is not None for answer in answers) == count


@pytest.mark.parametrize("origin", [0, 12345, 2**32 - 1000, 2**31], ids=str)
@pytest.mark.parametrize("announce_after", [0, 20], ids=["origin first", "origin after 20 packets"])
def test_voice_is_played_at_its_media_time_through_wrapping_counters(origin, announce_after):
    receiver = MediaReceiver()
    feed_voice(receiver, 2.0, origin, announce_after)
    for block in range(120):
        now = NOW + 0.5 + block * 0.01
        receiver.read_audio(480, now)
    assert receiver.heard_time(now) == pytest.approx(receiver.clock.media_time(now), abs=0.012)
    assert receiver.statistics.voice_lost == 0
    assert receiver.statistics.voice_concealed_ms < 30


def test_packets_that_wait_for_the_origin_are_bounded():
    receiver = MediaReceiver()
    for number in range(1000):
        receiver.receive_voice(number, number * 960, b"\x78\x00", NOW)
    assert len(receiver._early_voice) <= 150


def test_lips_and_voice_stay_together():
    receiver = MediaReceiver()
    receiver.peer_epoch = NOW
    header, packets = motion(50)
    receiver.begin_motion(header)
    voice = VoiceEncoder().encode(talking_voice(0.0, 96_000), 0.0)
    receiver.begin_voice(0)
    arrivals = [(time + 0.02, lambda now, p=p: receiver.receive_motion(p, now)) for time, p in packets]
    for number, packet in enumerate(voice):
        arrivals.append(
            (
                packet.start / 48_000 + 0.03,
                lambda now, n=number, p=packet: receiver.receive_voice(n, p.start % 2**32, p.payload, now),
            )
        )
    arrivals += [(0.01 * k + 0.003, lambda now: receiver.read_audio(480, now)) for k in range(200)]
    arrivals += [
        (0.04 * k + 0.009, lambda now: (v := receiver.view(now)) and receiver.displayed(v, now)) for k in range(50)
    ]
    for at, action in sorted(arrivals, key=lambda entry: entry[0]):
        action(NOW + at)
    skew = receiver.statistics.skew
    assert len(skew) > 40
    assert abs(skew.quantile(0.0)) < 0.02
    assert abs(skew.quantile(1.0)) < 0.02
    assert 0.05 < receiver.statistics.capture_to_display.quantile(0.5) < 0.08


def test_begin_forgets_the_streams_but_not_the_picture():
    receiver = MediaReceiver()
    feed_motion(receiver, 20, first=50.0)
    receiver.receive_picture(np.zeros((64, 64, 3), np.uint8))
    receiver.begin()
    assert receiver.view(NOW + 1) is None
    assert receiver.picture is not None
    feed_motion(receiver, 20, first=0.0, now=NOW + 2)
    assert receiver.view(NOW + 2.5).state.time == pytest.approx(0.456, abs=0.01)


async def test_frames_come_at_the_display_rate_and_wait_for_the_first_motion():
    receiver = MediaReceiver()
    frames = receiver.frames(100)
    waiting = asyncio.create_task(anext(frames))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    feed_motion(receiver, 50, now=time.monotonic() - 1.5)
    await asyncio.wait_for(waiting, 1)
    begin = time.monotonic()
    views = [await anext(frames) for _ in range(30)]
    assert 0.27 < time.monotonic() - begin < 0.6
    assert all(b.media_time > a.media_time for a, b in pairwise(views))
    await frames.aclose()


async def test_frames_that_are_not_taken_in_time_are_missed():
    receiver = MediaReceiver()
    feed_motion(receiver, 50, now=time.monotonic() - 1.5)
    frames = receiver.frames(100)
    await anext(frames)
    await asyncio.sleep(0.2)
    first, second = await anext(frames), await anext(frames)
    assert second.media_time - first.media_time == pytest.approx(0.01, abs=0.009)
    await frames.aclose()


def test_outputs_may_ask_from_other_threads():
    receiver = MediaReceiver()
    receiver.begin_voice(0)
    header, packets = motion(200)
    receiver.begin_motion(header)
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                receiver.read_audio(480)
                view = receiver.view()
                if view is not None:
                    receiver.displayed(view)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    voice = VoiceEncoder().encode(talking_voice(0.0, 48_000 * 2), 0.0)
    for number, (_, packet) in enumerate(packets):
        receiver.receive_motion(packet, time.monotonic())
        for part in voice[number % 100 : number % 100 + 1]:
            receiver.receive_voice(number, part.start % 2**32, part.payload, time.monotonic())
    stop.set()
    for thread in threads:
        thread.join(5)
    assert failures == []


def test_decoder_that_was_led_astray_begins_anew_and_asks_for_key_frames():
    """Garbage that passes for motion of the future makes all true packets look old."""
    receiver = MediaReceiver()
    header = StreamHeader.begin(face(0.0))
    encoder, lost = MotionEncoder(header), MotionEncoder(header)
    receiver.begin_motion(header.to_bytes())
    far = lost.encode(face(8.0), 200)
    receiver.receive_motion(far, NOW)
    decoded = []
    for tick in range(50):
        answer = receiver.receive_motion(encoder.encode(face(0.04 * tick), tick), NOW + 0.04 * tick)
        decoded.append(len(receiver.statistics.decode) - 1)
        if answer is not None:
            encoder.acknowledge(answer)
    assert decoded[5] == 0
    assert decoded[-1] >= 30
    view = receiver.view(NOW + 1.96)
    np.testing.assert_allclose(view.state.rotation, face(view.media_time).rotation, atol=0.03)


@pytest.mark.parametrize(("every", "ahead"), [(5, 5), (3, 9), (7, 20)])
def test_garbage_that_passed_for_frames_to_come_does_not_spoil_the_stream_for_seconds(every, ahead):
    """The sender refers to frames that the receiver has of another: most packets are refused, but now and then one is
    not."""
    receiver = MediaReceiver()
    header = StreamHeader.begin(face(0.0))
    encoder = MotionEncoder(header)
    receiver.begin_motion(header.to_bytes())
    for tick in range(160):
        if tick in range(12, 60, every):
            receiver.receive_motion(MotionEncoder(header).encode(face(8.0), tick + ahead), NOW + 0.04 * tick)
        answer = receiver.receive_motion(encoder.encode(face(0.04 * tick), tick), NOW + 0.04 * tick)
        if answer is not None:
            with suppress(CodecError):  # of frames that were never sent
                encoder.acknowledge(answer)
    assert receiver.statistics.motion_malformed < 32


# Keypoints

WEIGHTS = b"weights1"


def keypoint_stream(motions, digest: bytes = WEIGHTS) -> tuple[bytes, list[bytes]]:
    statistics = keypoint_statistics(motions[0].count, digest)
    encoder = MotionEncoder(StreamHeader.begin(motions[0], statistics=statistics), statistics)
    return encoder.header.to_bytes(), [encoder.encode(motion, tick) for tick, motion in enumerate(motions)]


def test_keypoints_are_received_where_they_are_wanted(moving_keypoints):
    motions = moving_keypoints(10, 50)
    receiver = MediaReceiver(motion_statistics=keypoint_statistics(10, WEIGHTS))
    header, packets = keypoint_stream(motions)
    receiver.begin_motion(header)
    for tick, packet in enumerate(packets):
        receiver.receive_motion(packet, NOW + 0.04 * tick)
    view = receiver.view(NOW + 1.9)
    assert receiver.motion_refused is None
    assert receiver.statistics.motion_malformed == 0
    nearest = motions[round(view.media_time * 25)]
    np.testing.assert_allclose(view.state.points, nearest.points, atol=0.03)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (None, "carries keypoints, this side's generator is driven by face states"),
        (b"weights2", "both sides must use the same weights"),
    ],
    ids=["a face", "keypoints of other weights"],
)
def test_motion_that_does_not_drive_the_avatar_is_told_once_and_nothing_else_is_lost(
    moving_keypoints, caplog, wanted, words
):
    tables = None if wanted is None else keypoint_statistics(10, wanted)
    receiver = MediaReceiver(acknowledge_every=1, motion_statistics=tables)
    receiver.receive_picture(np.zeros((64, 64, 3), np.uint8))
    feed_voice(receiver, 1.0, 0)
    header, packets = keypoint_stream(moving_keypoints(10, 5))
    with caplog.at_level("WARNING"):
        for _ in range(3):
            receiver.begin_motion(header)
    assert caplog.text.count(words) == 1
    assert words in receiver.motion_refused
    assert [receiver.receive_motion(packet, NOW) for packet in packets] == [None] * 5
    assert receiver.statistics.motion_malformed == 5
    assert receiver.picture is not None
    assert receiver.read_audio(48_000, NOW + 0.5).any()
    # Another stream that is right makes all well again.
    if wanted is None:
        feed_motion(receiver, 10)
    else:
        header, packets = keypoint_stream(moving_keypoints(10, 5), wanted)
        receiver.begin_motion(header)
        assert receiver.receive_motion(packets[0], NOW) is not None
    assert receiver.motion_refused is None


def test_what_was_shown_stays_when_motion_of_another_kind_begins(moving_keypoints):
    receiver = MediaReceiver()
    feed_motion(receiver, 50)
    before = receiver.view(NOW + 1.9)
    receiver.begin_motion(keypoint_stream(moving_keypoints(10, 1))[0])
    after = receiver.view(NOW + 1.94)
    np.testing.assert_allclose(after.state.rotation, before.state.rotation, atol=0.05)
