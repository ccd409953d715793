"""Opus with our settings: bitrate, alignment, concealment, and what malformed packets do."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from streaming.media import AUDIO_RATE_HZ
from streaming.voice import (
    CONCEALMENT_SAMPLES,
    VoiceConfig,
    VoiceDecoder,
    VoiceEncoder,
    VoicePacketError,
    VoiceTrack,
    concealment_packet,
    packet_samples,
)


def speech_like(seconds: float, seed: int = 0) -> np.ndarray:
    """Clicks and filtered noise: easy to align in time."""
    count = int(seconds * AUDIO_RATE_HZ)
    noise = np.convolve(np.random.default_rng(seed).standard_normal(count), np.ones(30) / 30, "same")
    loudness = 1 + np.sin(2 * np.pi * 3 * np.arange(count) / AUDIO_RATE_HZ)
    return (6000 * noise * loudness).clip(-32768, 32767).astype(np.int16)


def lag(output: np.ndarray, source: np.ndarray, most: int = 1000) -> int:
    """Samples by which the output is late."""
    piece = output[8000:28000].astype(float)
    scores = [np.dot(piece, source[8000 - k : 28000 - k].astype(float)) for k in range(-most // 10, most)]
    return int(np.argmax(scores)) - most // 10


@pytest.mark.parametrize("bitrate_bps", [16_000, 20_000, 24_000], ids=str)
@pytest.mark.parametrize("frame_ms", [20, 60], ids=str)
def test_bitrate_is_what_was_asked_for(bitrate_bps, frame_ms):
    encoder = VoiceEncoder(VoiceConfig(bitrate_bps=bitrate_bps, frame_ms=frame_ms))
    packets = encoder.encode(speech_like(3.0), 0.0)
    assert len(packets) == 3000 // frame_ms
    assert sum(len(packet.payload) for packet in packets) * 8 / 3.0 == pytest.approx(bitrate_bps, rel=0.25)
    assert {packet_samples(packet.payload) for packet in packets} == {frame_ms * 48}


def test_decoded_samples_lie_where_the_packets_say():
    source = speech_like(1.0)
    packets = VoiceEncoder().encode(source, 10.0)
    decoder = VoiceDecoder()
    output = np.concatenate([decoder.decode(packet.payload) for packet in packets])
    first = packets[0].start - 10 * AUDIO_RATE_HZ
    assert first < 0  # the encoder's lookahead
    assert abs(lag(output[-first:], source)) <= 8


@pytest.mark.parametrize("block", [160, 480, 960, 4000], ids=str)
def test_any_block_size_gives_the_same_packets(block):
    source = speech_like(0.5)
    whole = VoiceEncoder().encode(source, 1.0)
    encoder = VoiceEncoder()
    pieces = []
    for start in range(0, source.size, block):
        pieces += encoder.encode(source[start : start + block], 1.0 + start / AUDIO_RATE_HZ)
    assert pieces == whole


def test_times_that_waver_do_not_disturb_the_stream():
    source, generator = speech_like(0.5), random.Random(0)
    encoder = VoiceEncoder()
    packets = []
    for start in range(0, source.size, 480):
        packets += encoder.encode(source[start : start + 480], start / AUDIO_RATE_HZ + generator.uniform(-0.01, 0.01))
    assert {b.start - a.start for a, b in pairwise(packets)} == {960}


def test_gap_in_the_input_is_silence_and_a_jump_begins_anew():
    encoder = VoiceEncoder()
    block = speech_like(0.1)
    first = encoder.encode(block, 0.0)
    after_gap = encoder.encode(block, 0.3)
    after_jump = encoder.encode(block, 100.0)
    assert [p.start for p in first + after_gap] == [-312 + 960 * i for i in range(len(first + after_gap))]
    assert len(first + after_gap) == 20
    assert after_jump[0].start == 100 * AUDIO_RATE_HZ - 312


def test_silence_is_not_sent_if_so_configured():
    samples = np.concatenate((speech_like(1.0), np.zeros(3 * AUDIO_RATE_HZ, np.int16), speech_like(1.0)))
    packets = VoiceEncoder(VoiceConfig(silence_dbfs=-55)).encode(samples, 0.0)
    silent = [packet for packet in packets if 1.25 <= packet.start / AUDIO_RATE_HZ < 3.98]
    assert 4 <= len(silent) <= 7
    assert len(packets) - len(silent) == pytest.approx(112, abs=2)
    assert len(VoiceEncoder().encode(samples, 0.0)) == 250


@pytest.mark.parametrize("bitrate_bps", [8_000, 20_000, 40_000], ids=str)
def test_missing_packet_is_concealed_by_the_decoder(bitrate_bps):
    """A steady tone goes on through the concealment and then fades; the next packet decodes again."""
    times = np.arange(AUDIO_RATE_HZ) / AUDIO_RATE_HZ
    tone = (8000 * np.sin(2 * np.pi * 220 * times)).astype(np.int16)
    packets = VoiceEncoder(VoiceConfig(bitrate_bps=bitrate_bps)).encode(tone, 0.0)
    decoder = VoiceDecoder()
    for packet in packets[:20]:
        last = decoder.decode(packet.payload)
    concealed = [decoder.conceal() for _ in range(30)]
    loudness = [float(np.sqrt(np.mean(block.astype(float) ** 2))) for block in [last, *concealed]]
    assert {block.size for block in concealed} == {CONCEALMENT_SAMPLES}
    assert loudness[1] > 0.5 * loudness[0]
    assert loudness[-1] < 0.2 * loudness[0]
    assert decoder.decode(packets[40].payload).size == 960


def test_concealment_before_the_first_packet_is_silence():
    assert not VoiceDecoder().conceal().any()


@pytest.mark.parametrize(
    ("first_byte", "rest", "samples"),
    [(0x00, b"", 480), (0x78, b"", 960), (0x79, b"", 1920), (0xFB, b"\x05", 4800), (0x80, b"", 120), (0x18, b"", 2880)],
    ids=repr,
)
def test_length_is_read_from_the_first_bytes(first_byte, rest, samples):
    assert packet_samples(bytes([first_byte]) + rest) == samples


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\x03\x00", b"\x1b\x03"], ids=repr)
def test_length_that_opus_does_not_allow_is_refused(payload):
    with pytest.raises(VoicePacketError):
        packet_samples(payload)


@pytest.mark.parametrize("mode", range(32))
def test_concealment_packet_is_one_byte_of_ten_ms_in_the_same_mode(mode):
    packet = concealment_packet(bytes([mode << 3 | 3]) + b"rest")
    assert len(packet) == 1
    assert packet_samples(packet) == CONCEALMENT_SAMPLES


def test_garbage_raises_one_error_and_the_voice_goes_on():
    generator = random.Random(0)
    packets = VoiceEncoder().encode(speech_like(0.5), 0.0)
    decoder = VoiceDecoder()
    refused = 0
    for number in range(5000):
        payload = bytearray(generator.choice(packets).payload)
        if number % 2:
            payload = bytearray(generator.randbytes(generator.randrange(1, 200)))
        else:
            payload[generator.randrange(len(payload))] ^= 1 << generator.randrange(8)
        try:
            decoder.decode(bytes(payload))
        except VoicePacketError:
            refused += 1
        if number % 100 == 0:
            decoder.conceal()
    assert refused > 100
    assert decoder.decode(packets[0].payload).size == 960
    with pytest.raises(VoicePacketError, match="bytes"):
        decoder.decode(packets[0].payload + bytes(2000))


@pytest.mark.parametrize(
    "values",
    [{"bitrate_bps": 1000}, {"frame_ms": 30}, {"fec_loss_percent": 101}, {"complexity": 11}, {"silence_dbfs": 3}],
    ids=str,
)
def test_config_names_the_range(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))}: expected"):
        VoiceConfig(**values)


@pytest.mark.parametrize("samples", [np.zeros((2, 10), np.int16), np.zeros(10, np.float32)], ids=["stereo", "float"])
def test_other_sound_than_mono_int16_is_refused(samples):
    with pytest.raises(ValueError, match="expected"):
        VoiceEncoder().encode(samples, 0.0)


async def test_track_hands_out_packets_and_tells_when_they_were_sent():
    sent: list[int] = []
    track = VoiceTrack(on_sent=sent.append)
    packets = VoiceEncoder().encode(speech_like(0.1), 0.0)
    for packet in packets:
        track.push(packet)
    first, second = await track.recv(), await track.recv()
    assert (bytes(first), first.pts) == (packets[0].payload, packets[0].start)
    assert (bytes(second), second.pts) == (packets[1].payload, packets[1].start)
    assert sent == [packets[0].start]


async def test_track_drops_the_oldest_when_nobody_takes_them():
    track = VoiceTrack(capacity=3)
    packets = VoiceEncoder().encode(speech_like(0.1), 0.0)
    for packet in packets:
        track.push(packet)
    assert track.dropped == 2
    assert (await track.recv()).pts == packets[2].start
