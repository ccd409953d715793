"""The control channel's messages: each survives the trip, and nothing else comes through."""

from __future__ import annotations

import json
import random

import pytest

from streaming.messages import (
    MESSAGE_LIMIT,
    STREAM_HEADER_LIMIT,
    Bye,
    Hello,
    MotionHeader,
    PictureAnnounce,
    Ping,
    Pong,
    ProtocolError,
    VoiceClock,
    decode_message,
    encode_message,
)

MESSAGES = [
    Hello(1, "kitchen"),
    MotionHeader(bytes(range(256))),
    MotionHeader(b""),
    VoiceClock(2**32 - 1),
    PictureAnnounce(100_000, "0123456789abcdef" * 4),
    Ping(0),
    Pong(7, -12.5),
    Bye("battery low"),
    Bye(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_survives_the_trip(message):
    data = encode_message(message)
    assert decode_message(data) == message
    assert decode_message(data.decode()) == message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("\ud800", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "unknown type"),
        (b'{"type": ["hello"]}', "unknown type"),
        (b'{"type":"hello"}', "version: expected an integer"),
        (b'{"type":"hello","version":true}', "version: expected an integer"),
        (b'{"type":"hello","version":1.0}', "version: expected an integer"),
        (b'{"type":"voice-clock","rtp_origin":4294967296}', "rtp_origin: expected an integer from 0 to 4294967295"),
        (b'{"type":"voice-clock","rtp_origin":-1}', "rtp_origin"),
        (b'{"type":"pong","number":1,"time":NaN}', "time: expected a number"),
        (b'{"type":"pong","number":1,"time":Infinity}', "time: expected a number"),
        (b'{"type":"pong","number":1,"time":1e400}', "time: expected a number"),
        (b'{"type":"motion-header","header":"!!!"}', "not base 64"),
        (b'{"type":"motion-header","header":null}', "header"),
        (b'{"type":"picture","size":0,"digest":"00"}', "size"),
        (b'{"type":"picture","size":5,"digest":"00"}', "64 hexadecimal digits"),
        (b'{"type":"bye","reason":"' + b"x" * 300 + b'"}', "at most 200 characters"),
        (b"[" * 10_000, "not JSON"),
        (b'{"type":"ping","number":' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (MESSAGE_LIMIT + 1), "at most"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_wrong_is_named(data, words):
    with pytest.raises(ProtocolError, match=words):
        decode_message(data)


def test_text_of_the_other_side_cannot_command_a_terminal():
    bye = decode_message(json.dumps({"type": "bye", "reason": "\x1b[2J bye\r\nINFO: forged"}))
    assert bye == Bye("[2J byeINFO: forged")


def test_header_beyond_the_limit_is_refused_on_both_sides():
    encode_message(MotionHeader(bytes(STREAM_HEADER_LIMIT)))
    with pytest.raises(ValueError, match="at most"):
        encode_message(MotionHeader(bytes(2 * STREAM_HEADER_LIMIT)))
    with pytest.raises(ProtocolError, match="base 64"):
        decode_message(json.dumps({"type": "motion-header", "header": "A" * (STREAM_HEADER_LIMIT * 4 // 3 + 8)}))


def test_a_hundred_thousand_random_and_mutated_messages_raise_one_error_at_most():
    generator = random.Random(0)
    encoded = [encode_message(message) for message in MESSAGES]
    refused = 0
    for number in range(100_000):
        if number % 4 == 0:
            data = generator.randbytes(generator.randrange(0, 64))
        else:
            data = bytearray(generator.choice(encoded))
            for _ in range(generator.randrange(1, 4)):
                place = generator.randrange(len(data))
                match generator.randrange(3):
                    case 0:
                        data[place] = generator.randrange(256)
                    case 1:
                        del data[place]
                    case _:
                        data[place:place] = generator.choice((b'"', b"}", b"9", b"\\u", b"null", b"-1e9"))
            data = bytes(data)
        try:
            decode_message(data)
        except ProtocolError:
            refused += 1
    assert refused > 60_000
