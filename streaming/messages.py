"""The control channel: what two peers tell each other reliably, in order, as small JSON objects.

Everything from the network is checked here once: size, type, fields, ranges. `ProtocolError` is the one error; the
session counts it and goes on.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PROTOCOL_VERSION = 1
"Raised when a peer of another version could misunderstand us."

MESSAGE_LIMIT = 16_384
"Bytes of a control message, at most."
STREAM_HEADER_LIMIT = 8_192
"Bytes of a motion stream's header, at most."
REASON_LIMIT = 200
"Characters of a reason, at most."


class ProtocolError(ValueError):
    """A message of the other peer is not what the protocol says."""


@dataclass(frozen=True)
class Hello:
    """The first message of each peer."""

    version: int
    "PROTOCOL_VERSION of the peer."
    name: str = ""
    "What the peer calls itself, for logs."


@dataclass(frozen=True)
class MotionHeader:
    """A motion stream begins; packets before it are not understood."""

    header: bytes
    "What the motion decoder is made from."


@dataclass(frozen=True)
class VoiceClock:
    """Ties RTP time to media time: an RTP timestamp is `rtp_origin` + media position in samples, modulo 2**32."""

    rtp_origin: int
    "0 to 2**32 - 1."


@dataclass(frozen=True)
class PictureAnnounce:
    """The source picture follows: the first message on its channel."""

    size: int
    "Bytes of the encoded picture."
    digest: str
    "Its SHA-256, in hexadecimal."


@dataclass(frozen=True)
class Ping:
    """Asks for a Pong, to learn the round trip and the difference of the clocks."""

    number: int
    "Comes back in the answer."


@dataclass(frozen=True)
class Pong:
    """The answer to a Ping."""

    number: int
    "That of the Ping."
    time: float
    "When the answer was sent: media time of the answering peer, in seconds."


@dataclass(frozen=True)
class Bye:
    """The peer leaves for good."""

    reason: str = ""
    "For the log."


Message = Hello | MotionHeader | VoiceClock | PictureAnnounce | Ping | Pong | Bye

_TYPES: dict[str, Callable[[dict[str, Any]], Message]] = {
    "hello": lambda fields: Hello(_integer(fields, "version", 0, 2**16), _text(fields, "name", 64)),
    "motion-header": lambda fields: MotionHeader(_bytes(fields, "header", STREAM_HEADER_LIMIT)),
    "voice-clock": lambda fields: VoiceClock(_integer(fields, "rtp_origin", 0, 2**32 - 1)),
    "picture": lambda fields: PictureAnnounce(_integer(fields, "size", 1, 2**24), _digest(fields, "digest")),
    "ping": lambda fields: Ping(_integer(fields, "number", 0, 2**53)),
    "pong": lambda fields: Pong(_integer(fields, "number", 0, 2**53), _number(fields, "time", 1e12)),
    "bye": lambda fields: Bye(_text(fields, "reason", REASON_LIMIT)),
}
_NAMES: dict[type[Any], str] = {
    Hello: "hello",
    MotionHeader: "motion-header",
    VoiceClock: "voice-clock",
    PictureAnnounce: "picture",
    Ping: "ping",
    Pong: "pong",
    Bye: "bye",
}


def encode_message(message: Message) -> bytes:
    """The bytes of a message; ValueError if it is longer than the other side accepts."""
    fields = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in vars(message).items()
    }
    data = json.dumps({"type": _NAMES[type(message)], **fields}, separators=(",", ":")).encode()
    if len(data) > MESSAGE_LIMIT:
        raise ValueError(f"{type(message).__name__}: {len(data)} bytes, at most {MESSAGE_LIMIT} are accepted")
    return data


def decode_message(data: bytes | str) -> Message:
    """The message in these bytes. Raises ProtocolError for anything else, and nothing but that."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if len(data) > MESSAGE_LIMIT:
        raise ProtocolError(f"a control message of {len(data)} bytes; at most {MESSAGE_LIMIT} are accepted")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError("a control message that is not JSON") from None
    if not isinstance(fields, dict):
        raise ProtocolError("a control message that is not an object")
    kind = fields.get("type")
    parse = _TYPES.get(kind) if isinstance(kind, str) else None
    if parse is None:
        raise ProtocolError("a control message of an unknown type")
    return parse(fields)


def _integer(fields: dict[str, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ProtocolError(f"{name}: expected an integer from {least} to {most}")
    return value


def _number(fields: dict[str, Any], name: str, most: float) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise ProtocolError(f"{name}: expected a number within {most:g}")
    return float(value)


def _text(fields: dict[str, Any], name: str, limit: int) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or len(value) > limit:
        raise ProtocolError(f"{name}: expected a text of at most {limit} characters")
    # Text of the other side ends in logs and terminals: no line breaks or control sequences.
    return "".join(character for character in value if character.isprintable())


def _bytes(fields: dict[str, Any], name: str, limit: int) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > limit * 4 // 3 + 4:
        raise ProtocolError(f"{name}: expected at most {limit} bytes in base 64")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"{name}: not base 64") from None
    if len(data) > limit:
        raise ProtocolError(f"{name}: {len(data)} bytes, at most {limit} are accepted")
    return data


def _digest(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ProtocolError(f"{name}: expected 64 hexadecimal digits")
    return value
