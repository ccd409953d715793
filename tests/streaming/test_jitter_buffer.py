"""The voice buffer against scripted arrivals: what is heard, when, and what is counted."""

from __future__ import annotations

import random

import numpy as np
import pytest

from streaming.jitter_buffer import CAPACITY, VoiceBuffer
from streaming.media import AUDIO_RATE_HZ
from streaming.voice import VoiceEncoder, VoicePacket

BLOCK = 480


def chirp(seconds: float) -> np.ndarray:
    """A tone whose pitch tells the time: 200 Hz at 0, 100 Hz more each second."""
    times = np.arange(int(seconds * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    return (8000 * np.sin(2 * np.pi * (200 * times + 50 * times**2))).astype(np.int16)


def packets_of(samples: np.ndarray) -> list[VoicePacket]:
    encoded = VoiceEncoder().encode(samples, 0.0)
    return [VoicePacket(packet.start, packet.payload, sequence) for sequence, packet in enumerate(encoded)]


PACKETS = packets_of(chirp(6.0))


def play(
    buffer: VoiceBuffer,
    seconds: float,
    arrivals: dict[int, float] | None = None,
    media_time=lambda now: now - 0.06,
    packets: list[VoicePacket] = PACKETS,
) -> np.ndarray:
    """Reads 10 ms blocks. arrivals: packet index to local time; by default packet k comes 30 ms after its first sample.
    media_time: the playout clock. Returns all that was heard."""
    arrivals = arrivals if arrivals is not None else {k: p.start / AUDIO_RATE_HZ + 0.03 for k, p in enumerate(packets)}
    order = sorted(arrivals, key=lambda k: arrivals[k])
    heard, arrived = [], 0
    for block in range(int(seconds * AUDIO_RATE_HZ) // BLOCK):
        now = block * BLOCK / AUDIO_RATE_HZ
        while arrived < len(order) and arrivals[order[arrived]] <= now:
            buffer.insert(packets[order[arrived]])
            arrived += 1
        heard.append(buffer.read(BLOCK, media_time(now)))
        assert heard[-1].shape == (BLOCK,)
        assert heard[-1].dtype == np.int16
    return np.concatenate(heard)


def loudness(samples: np.ndarray, begin: float, end: float) -> float:
    piece = samples[int(begin * AUDIO_RATE_HZ) : int(end * AUDIO_RATE_HZ)].astype(float)
    return float(np.sqrt(np.mean(piece**2)))


def pitch(samples: np.ndarray, at: float) -> float:
    piece = samples[int((at - 0.05) * AUDIO_RATE_HZ) : int((at + 0.05) * AUDIO_RATE_HZ)].astype(float)
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(piece.size), 1 << 17))
    return float(np.argmax(spectrum)) * AUDIO_RATE_HZ / (1 << 17)


def test_without_loss_the_voice_comes_whole_and_on_time():
    buffer = VoiceBuffer()
    heard = play(buffer, 4.0)
    source = chirp(6.0)
    delay = round(0.06 * AUDIO_RATE_HZ)
    piece = heard[AUDIO_RATE_HZ : 3 * AUDIO_RATE_HZ].astype(float)
    reference = source[AUDIO_RATE_HZ - delay : 3 * AUDIO_RATE_HZ - delay].astype(float)
    correlation = np.dot(piece, reference) / np.linalg.norm(piece) / np.linalg.norm(reference)
    assert correlation > 0.85  # the encoder's high-pass filter shifts the phase of low tones
    assert (buffer.late, buffer.lost, buffer.malformed, buffer.stretched_samples) == (0, 0, 0, 0)


def test_packets_in_any_order_within_the_delay_are_put_right():
    arrivals = {k: p.start / AUDIO_RATE_HZ + 0.005 + (0.045 if k % 3 == 0 else 0.0) for k, p in enumerate(PACKETS)}
    late, in_time = VoiceBuffer(), VoiceBuffer()
    np.testing.assert_array_equal(play(late, 3.0, arrivals), play(in_time, 3.0))
    assert late.late == late.lost == 0


def test_lost_packets_are_concealed_in_place():
    generator = random.Random(0)
    kept = {k: p.start / AUDIO_RATE_HZ + 0.03 for k, p in enumerate(PACKETS) if generator.random() > 0.1}
    buffer = VoiceBuffer()
    heard = play(buffer, 5.0, kept)
    missing = len([k for k in range(240) if k not in kept])
    assert abs(buffer.lost - missing) <= 2
    # The pitch tells that the time has not slipped, and no block falls silent.
    for at in (1.0, 2.0, 3.0, 4.5):
        assert pitch(heard, at) == pytest.approx(200 + 100 * (at - 0.06), abs=6)
    assert min(loudness(heard, at, at + 0.02) for at in np.arange(0.5, 4.9, 0.02)) > 150


def test_frame_that_comes_after_its_time_is_dropped_and_counted():
    arrivals = {k: p.start / AUDIO_RATE_HZ + (0.2 if k == 50 else 0.03) for k, p in enumerate(PACKETS)}
    buffer = VoiceBuffer()
    play(buffer, 3.0, arrivals)
    assert buffer.late == 1
    assert 10 * AUDIO_RATE_HZ // 1000 <= buffer.concealed_samples <= 30 * AUDIO_RATE_HZ // 1000


def test_outage_fades_to_silence_and_the_voice_comes_back_at_its_place():
    arrivals = {
        k: p.start / AUDIO_RATE_HZ + 0.03 for k, p in enumerate(PACKETS) if not 2.0 <= p.start / AUDIO_RATE_HZ < 2.5
    }
    buffer = VoiceBuffer()
    heard = play(buffer, 5.0, arrivals)
    assert loudness(heard, 2.3, 2.5) < 10
    assert loudness(heard, 2.62, 2.7) > 3000
    assert pitch(heard, 3.5) == pytest.approx(200 + 100 * 3.44, abs=6)
    assert buffer.lost == 25


@pytest.mark.parametrize("drift", [-0.003, 0.003, 0.04, -0.04], ids=str)
def test_clock_that_runs_faster_or_slower_is_followed_without_another_pitch(drift):
    packets = packets_of(
        (8000 * np.sin(2 * np.pi * 200 * np.arange(6 * AUDIO_RATE_HZ) / AUDIO_RATE_HZ)).astype(np.int16)
    )
    arrivals = {k: p.start / AUDIO_RATE_HZ - 1.0 for k, p in enumerate(packets)}
    buffer = VoiceBuffer()

    def media_time(now: float) -> float:
        return 0.5 + now * (1 + drift)

    heard = play(buffer, 4.0, arrivals, media_time, packets)
    assert buffer.position / AUDIO_RATE_HZ == pytest.approx(media_time(4.0), abs=0.03)
    assert pitch(heard, 3.0) == pytest.approx(200, abs=2)
    assert buffer.stretched_samples == pytest.approx(abs(drift) * 4 * AUDIO_RATE_HZ, abs=0.03 * AUDIO_RATE_HZ)
    assert buffer.lost == 0


def test_small_wavering_of_the_clock_changes_nothing():
    generator = random.Random(0)
    buffer = VoiceBuffer()
    play(buffer, 4.0, media_time=lambda now: now - 0.06 + generator.uniform(-0.006, 0.006))
    assert buffer.stretched_samples == 0


def test_large_correction_jumps():
    buffer = VoiceBuffer()
    heard = play(
        buffer,
        4.0,
        {k: p.start / AUDIO_RATE_HZ - 1.0 for k, p in enumerate(PACKETS)},
        lambda now: now + (1.0 if now > 2.0 else 0.0),
    )
    assert pitch(heard, 1.5) == pytest.approx(200 + 150, abs=6)
    assert pitch(heard, 2.5) == pytest.approx(200 + 350, abs=6)


def test_pause_of_the_sender_is_no_loss():
    """With DTX packets are left out but their sequence numbers go on."""
    talking = [p for p in PACKETS if not 1.0 <= p.start / AUDIO_RATE_HZ < 2.0]
    renumbered = [VoicePacket(p.start, p.payload, sequence) for sequence, p in enumerate(talking)]
    buffer = VoiceBuffer()
    play(buffer, 4.0, packets=renumbered)
    assert buffer.lost == 0


def test_voice_that_begins_later_is_waited_for_in_silence():
    buffer = VoiceBuffer()
    assert not buffer.read(BLOCK, 0.0).any()
    assert buffer.position is None
    buffer.insert(PACKETS[100])
    assert not buffer.read(BLOCK, 0.5).any()
    assert buffer.position is None


def test_buffer_is_bounded_when_nobody_listens():
    buffer = VoiceBuffer()
    for repeat in range(20):
        for packet in PACKETS:
            buffer.insert(VoicePacket(packet.start + repeat * 6 * AUDIO_RATE_HZ, packet.payload, packet.sequence))
    assert len(buffer._packets) <= CAPACITY
    assert np.concatenate([buffer.read(BLOCK, 118.0 + 0.01 * k) for k in range(10)]).any()


def test_stream_that_begins_elsewhere_is_followed():
    buffer = VoiceBuffer()
    play(buffer, 1.0)
    far = 1000 * AUDIO_RATE_HZ
    for packet in PACKETS[:100]:
        buffer.insert(VoicePacket(packet.start + far, packet.payload, packet.sequence))
    assert np.concatenate([buffer.read(BLOCK, 1000.5 + 0.01 * k) for k in range(10)]).any()


def test_garbage_is_counted_and_the_voice_goes_on():
    generator = random.Random(0)
    buffer = VoiceBuffer()
    for packet in PACKETS[:100]:
        buffer.insert(packet)
        buffer.insert(
            VoicePacket(
                packet.start + generator.randrange(-2000, 2000),
                generator.randbytes(generator.randrange(0, 100)),
                packet.sequence + generator.randrange(-100, 100),
            )
        )
    heard = np.concatenate([buffer.read(BLOCK, 0.01 * k) for k in range(190)])
    assert buffer.malformed > 0
    assert loudness(heard, 0.1, 1.9) > 500
    for packet in PACKETS[200:250]:
        buffer.insert(packet)
    heard = np.concatenate([buffer.read(BLOCK, 4.0 + 0.01 * k) for k in range(90)])
    assert loudness(heard, 0.2, 0.9) > 3000
