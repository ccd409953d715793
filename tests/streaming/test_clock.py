"""Media time: unwrapping, the window of offsets, and the playout clock as tables of numbers."""

from __future__ import annotations

import itertools
import random

import pytest

from streaming.clock import MediaClock, OffsetWindow, PlayoutClock, PlayoutConfig, SerialUnwrapper

LATENCY = 100.03
"Difference of the clocks (100 s) and 30 ms on the way."


def feed_voice(clock: PlayoutClock, begin: float, end: float, latency=LATENCY, step: float = 0.02) -> float:
    """Packets arrive `latency` after their media time (a number or a function of it); returns the last arrival."""
    now = 0.0
    for index in itertools.count():
        media_time = begin + index * step
        if media_time >= end:
            return now
        now = media_time + (latency(media_time) if callable(latency) else latency)
        clock.voice_arrived(media_time, now)
    raise AssertionError


@pytest.mark.parametrize("bits", [16, 32], ids=str)
def test_counter_is_unwrapped_in_both_directions(bits):
    modulus = 1 << bits
    unwrapper = SerialUnwrapper(bits)
    half = modulus // 2
    numbers = [
        5,
        -3,
        100,
        half + 50,
        modulus + 7,
        modulus - 20,
        modulus + half - 30,
        2 * modulus - 40,
        2 * modulus + 100,
    ]
    assert [unwrapper.unwrap(number % modulus) for number in numbers] == numbers


def test_window_keeps_what_is_recent():
    window = OffsetWindow(1.0)
    for now in range(10):
        window.add(10.0 - now, now / 2)
    assert len(window) == 3
    assert (window.quantile(0.0), window.quantile(0.5), window.quantile(1.0)) == (1.0, 2.0, 3.0)


def test_window_is_bounded_and_sorted_whatever_comes():
    window, generator = OffsetWindow(1e9, capacity=50), random.Random(0)
    values = [generator.choice([1.0, 2.0, generator.random()]) for _ in range(500)]
    for now, value in enumerate(values):
        window.add(value, now)
    assert len(window) == 50
    assert window.quantile(1.0) == max(values[-50:])
    assert window.quantile(0.0) == min(values[-50:])
    assert window.quantile(0.5) == sorted(values[-50:])[24]


def test_media_clock_counts_from_its_epoch():
    assert MediaClock(epoch=50.0).time(now=53.5) == 3.5


def test_nothing_is_played_before_the_first_packet():
    assert PlayoutClock().media_time(5.0) is None


def test_steady_voice_waits_the_least_time():
    config = PlayoutConfig()
    clock = PlayoutClock(config)
    now = feed_voice(clock, 0.0, 5.0)
    assert clock.waiting == pytest.approx(config.minimum_wait + config.margin + clock.read_block, abs=1e-6)
    assert clock.media_time(now) == pytest.approx(now - LATENCY - clock.waiting)


def test_output_that_reads_large_blocks_makes_everything_wait_for_them():
    clock = PlayoutClock()
    clock.read_block = 0.04
    feed_voice(clock, 0.0, 2.0)
    assert clock.waiting == pytest.approx(0.02 + 0.004 + 0.04, abs=1e-6)


def test_lost_packets_do_not_lengthen_the_delay():
    generator = random.Random(1)
    clock = PlayoutClock()
    for index in range(500):
        if generator.random() > 0.3:
            clock.voice_arrived(index * 0.02, index * 0.02 + LATENCY)
    assert clock.waiting == pytest.approx(0.034, abs=1e-6)


def test_delay_grows_with_jitter_and_returns_after_it():
    generator = random.Random(2)
    clock = PlayoutClock()
    feed_voice(clock, 0.0, 5.0)
    calm = clock.waiting
    feed_voice(clock, 5.0, 10.0, lambda _: LATENCY + generator.random() * 0.08)
    assert clock.waiting > calm + 0.04
    feed_voice(clock, 10.0, 17.0)
    assert clock.waiting == pytest.approx(calm, abs=0.001)


def test_one_late_packet_in_a_hundred_changes_nothing():
    clock = PlayoutClock()
    feed_voice(clock, 0.0, 6.0, lambda media_time: LATENCY + (0.5 if abs(media_time - 3.0) < 0.001 else 0.0))
    assert clock.waiting == pytest.approx(0.034, abs=1e-6)


def test_media_time_never_runs_backwards_while_the_delay_adapts():
    generator = random.Random(3)
    arrivals = []
    for index in range(2000):
        jitter = 0.5 * generator.random() if 10 < index * 0.02 < 20 else 0.0
        arrivals.append((index * 0.02 + LATENCY + jitter, index * 0.02))
    clock = PlayoutClock()
    last = -1.0
    for now, media_time in sorted(arrivals):
        clock.voice_arrived(media_time, now)
        assert clock.media_time(now) >= last
        last = clock.media_time(now)


def test_path_that_became_slower_for_good_is_followed():
    clock = PlayoutClock()
    feed_voice(clock, 0.0, 5.0)
    now = feed_voice(clock, 5.0, 15.0, LATENCY + 0.4)
    assert clock.media_time(now) == pytest.approx(now - LATENCY - 0.4 - 0.034, abs=0.001)


def test_path_that_became_faster_for_good_is_followed():
    clock = PlayoutClock()
    feed_voice(clock, 0.0, 5.0, LATENCY + 0.4)
    now = feed_voice(clock, 5.0, 15.0)
    assert clock.media_time(now) == pytest.approx(now - LATENCY - 0.034, abs=0.001)


def test_drift_of_the_senders_clock_is_followed():
    clock = PlayoutClock()
    now = feed_voice(clock, 0.0, 200.0, lambda media_time: LATENCY + 200e-6 * media_time)
    assert clock.media_time(now) == pytest.approx(now - LATENCY - 200e-6 * 200 - 0.034, abs=0.003)


def test_sender_that_set_its_clock_back_is_followed_at_once():
    clock = PlayoutClock()
    now = feed_voice(clock, 100.0, 105.0)
    for index in range(300):
        clock.voice_arrived(index * 0.02, now + index * 0.02)
    assert clock.media_time(now + 6.0) == pytest.approx(6.0 - 0.034, abs=0.01)


def test_without_voice_the_clock_follows_motion_one_frame_behind():
    clock = PlayoutClock()
    for index in range(100):
        clock.motion_arrived(index * 0.04, index * 0.04 + LATENCY)
    assert clock.waiting == pytest.approx(0.04 + 0.004, abs=1e-6)


def test_voice_waits_for_motion_that_comes_later_but_not_for_ever():
    waits = []
    for motion_latency in (0.0, 0.03, 0.2):
        clock = PlayoutClock()
        for index in range(250):
            clock.voice_arrived(index * 0.02, index * 0.02 + LATENCY)
            if index % 2 == 0:
                clock.motion_arrived(index * 0.02, index * 0.02 + LATENCY + motion_latency)
        waits.append(clock.waiting)
    assert waits == pytest.approx([0.044, 0.074, 0.094], abs=0.001)


def test_voice_that_ends_leaves_the_clock_to_motion():
    clock = PlayoutClock()
    for index in range(500):
        now = index * 0.04 + LATENCY
        if index < 100:
            clock.voice_arrived(index * 0.04, now + 0.3)
        clock.motion_arrived(index * 0.04, now)
    assert clock.media_time(now) == pytest.approx(now - LATENCY - 0.044, abs=0.001)


def test_reset_begins_anew():
    clock = PlayoutClock()
    feed_voice(clock, 0.0, 5.0)
    clock.reset()
    assert clock.media_time(200.0) is None
    clock.voice_arrived(1.0, 200.0)
    assert clock.media_time(200.0) == pytest.approx(1.0 - 0.034)


@pytest.mark.parametrize("values", [{"voice_quantile": 0.0}, {"window": 0.0}, {"shrink_rate": 1.0}], ids=str)
def test_config_refuses_what_cannot_work(values):
    with pytest.raises(ValueError, match="expected"):
        PlayoutConfig(**values)
