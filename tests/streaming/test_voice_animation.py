"""Voice packets to motion, ahead of their playout, in whatever order they come."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.impaired_call import talking_voice
from engine.audio.voice_motion import LOOK_AHEAD, VoiceModel
from streaming.media_receiver import MediaReceiver
from streaming.voice import VoiceEncoder, VoicePacket
from streaming.voice_animation import WAITING, VoiceAnimation

NOW = 1000.0


@pytest.fixture(scope="module")
def model() -> VoiceModel:
    return VoiceModel.load()


def packets(seconds: float, first: float = 0.0) -> list[VoicePacket]:
    voice = VoiceEncoder().encode(talking_voice(first, int(seconds * 48_000)), first)
    return [VoicePacket(packet.start, packet.payload, number) for number, packet in enumerate(voice)]


def heard(model: VoiceModel, voice: list[VoicePacket]) -> VoiceAnimation:
    animation = VoiceAnimation(model)
    for packet in voice:
        animation.receive(packet)
    return animation


def mouths(animation: VoiceAnimation, times: np.ndarray) -> np.ndarray:
    return np.stack([animation.state(time, 0.0).expression for time in times])


TIMES = np.arange(0.3, 1.8, 0.04)


def test_the_motion_is_known_as_far_as_the_voice_is_here(model):
    animation = VoiceAnimation(model)
    assert animation.reached is None
    assert animation.state(0.0) is None
    for packet in packets(1.0):
        animation.receive(packet)
        end = packet.start / 48_000 + 0.02
        if end > 0.2:
            assert end - LOOK_AHEAD - 0.015 < animation.reached <= end


def test_a_little_disorder_changes_nothing(model):
    voice = packets(2.0)
    disordered = voice.copy()
    for number in range(10, 90, 7):
        disordered[number], disordered[number + 1] = disordered[number + 1], disordered[number]
    disordered.insert(50, voice[20])  # and a copy that comes late
    wanted = mouths(heard(model, voice), TIMES)
    assert wanted.std(axis=0).max() > 0.001
    np.testing.assert_allclose(mouths(heard(model, disordered), TIMES), wanted, atol=1e-6)


def test_a_lost_packet_is_not_waited_for_long(model):
    voice = packets(2.0)
    animation = VoiceAnimation(model)
    for packet in voice[:50]:
        animation.receive(packet)
    before = animation.reached
    for packet in voice[51 : 51 + WAITING]:
        animation.receive(packet)
    assert animation.reached == before
    animation.receive(voice[51 + WAITING])
    assert animation.reached == pytest.approx(before + 0.02 * (WAITING + 2), abs=0.013)
    for packet in voice[52 + WAITING :]:
        animation.receive(packet)
    whole = mouths(heard(model, voice), TIMES)
    assert np.corrcoef(mouths(animation, TIMES)[:, 0], whole[:, 0])[0, 1] > 0.8


def test_where_the_voice_stays_away_the_mouth_closes_and_late_packets_do_not_bring_it_back(model):
    animation = heard(model, packets(1.0))
    quiet = animation.state(2.5, 0.0)
    assert np.linalg.norm(quiet.expression) < 0.1
    reached = animation.reached
    animation.receive(packets(1.5)[-1])
    assert animation.reached == reached


def test_a_voice_that_jumps_begins_anew(model):
    animation = heard(model, packets(1.0))
    for packet in packets(1.0, first=500.0):
        animation.receive(packet)
    assert 500.8 < animation.reached < 501.0
    animation.begin()
    assert animation.reached is None


def test_what_is_no_packet_is_dropped(model):
    animation = VoiceAnimation(model)
    animation.receive(VoicePacket(0, b""))
    animation.receive(VoicePacket(960, b"\x03"))
    assert animation.reached is None


def receive(receiver: MediaReceiver, voice: list[VoicePacket], origin: int = 5000) -> None:
    receiver.begin_voice(origin)
    for packet in voice:
        now = NOW + packet.start / 48_000 + 0.02 + 0.03
        receiver.receive_voice(packet.sequence, origin + packet.start, packet.payload, now)


def test_a_call_without_a_camera_shows_the_voices_motion_in_time_with_the_voice(model):
    receiver = MediaReceiver(voice_model=model)
    assert receiver.view(NOW) is None
    receive(receiver, packets(4.0))
    wanted = heard(model, packets(4.0))
    now = NOW + 3.9
    receiver.read_audio(480, now)
    view = receiver.view(now)
    assert not view.concealed
    assert not view.origin.rotation.any()
    # The lips are those of the sound that is heard, within what a viewer notices (40 ms).
    assert view.media_time == pytest.approx(receiver.heard_time(now), abs=0.04)
    assert receiver.clock.media_time(now) <= wanted.reached + 0.04
    np.testing.assert_allclose(view.state.expression, wanted.state(view.media_time).expression, atol=1e-5)


def test_without_a_model_a_voice_alone_shows_nothing():
    receiver = MediaReceiver()
    receive(receiver, packets(1.0))
    assert receiver.view(NOW + 1.0) is None


def test_a_new_connection_begins_a_new_voice(model):
    receiver = MediaReceiver(voice_model=model)
    receive(receiver, packets(1.0))
    assert receiver.view(NOW + 1.0) is not None
    receiver.begin()
    assert receiver.view(NOW + 1.1) is None
