"""A range coder for messages of a few bytes.

A frame of motion is four to eight bytes long, so the end of the message is what counts. `RangeEncoder.finish` returns
the shortest byte string that lies in the final interval, where missing bytes read as zeros: 2.4 bits beyond the
entropy on average. A coder that ends on 32-bit words costs two bytes more (measured with constriction 0.5.0 on
messages of 35.7 bits of entropy: 54.6 bits there, 38.1 bits here).

`low` is one Python integer that grows with the message, so carries need no care; messages are bounded by their
caller. All arithmetic is in integers: the same symbols give the same bytes everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

PRECISION_BITS = 15
"Cumulative frequencies run from 0 to 2**15."
TOTAL = 1 << PRECISION_BITS

_WIDTH_BITS = 48
_RENORMALISE_BELOW = 1 << (_WIDTH_BITS - 8)


class CodecError(ValueError):
    """Bytes or values that the motion codec does not take; whatever raised it has changed nothing."""


class RangeEncoder:
    """Symbols in, bytes out. `cumulative` of n symbols: n + 1 integers that rise from 0 to TOTAL."""

    def __init__(self) -> None:
        self._low = 0
        self._range = 1 << _WIDTH_BITS
        self._width_bits = _WIDTH_BITS

    def encode(self, cumulative: Sequence[int], symbol: int) -> None:
        """Append one symbol; its frequency must not be zero."""
        unit = self._range >> PRECISION_BITS
        start = cumulative[symbol]
        self._low += unit * start
        self._range = unit * (cumulative[symbol + 1] - start)
        while self._range < _RENORMALISE_BELOW:
            self._low <<= 8
            self._range <<= 8
            self._width_bits += 8

    def encode_bits(self, value: int, bits: int) -> None:
        """Append `bits` (at most 24) equally likely bits: 0 <= value < 2**bits."""
        self._range >>= bits
        self._low += self._range * value
        while self._range < _RENORMALISE_BELOW:
            self._low <<= 8
            self._range <<= 8
            self._width_bits += 8

    def copy(self) -> RangeEncoder:
        """Another encoder with the same symbols so far."""
        other = RangeEncoder()
        other._low, other._range, other._width_bits = self._low, self._range, self._width_bits
        return other

    def finish(self) -> bytes:
        """The shortest bytes, at least one, that decode to the symbols so far."""
        return _shortest(self._low, self._range, self._width_bits)


class RangeDecoder:
    """Bytes in, symbols out: call what was called on the encoder, in the same order, then `finish`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = _WIDTH_BITS // 8
        self._code = int.from_bytes(data[: self._next].ljust(self._next, b"\0"))
        self._low = 0
        self._range = 1 << _WIDTH_BITS
        self._width_bits = _WIDTH_BITS

    def decode(self, cumulative: Sequence[int]) -> int:
        """The next symbol. Raises CodecError in the sliver of values that no symbol owns."""
        unit = self._range >> PRECISION_BITS
        target = self._code // unit
        if target >= TOTAL:
            raise CodecError("a value outside every symbol")
        symbol = bisect_right(cumulative, target) - 1
        start = cumulative[symbol]
        self._advance(unit * start, unit * (cumulative[symbol + 1] - start))
        return symbol

    def decode_bits(self, bits: int) -> int:
        """The next `bits` equally likely bits."""
        unit = self._range >> bits
        value = self._code // unit
        if value >> bits:
            raise CodecError("a value outside every symbol")
        self._advance(unit * value, unit)
        return value

    def finish(self) -> None:
        """Raises CodecError unless the bytes are exactly those that the encoder writes for the symbols read.

        Refuses padding always, and part of what is cut, changed or random, at no cost in bits; it is no check sum.
        """
        if _shortest(self._low, self._range, self._width_bits) != self._data:
            raise CodecError("not the shortest form of its symbols: cut, padded or damaged")

    def _advance(self, start: int, size: int) -> None:
        self._low += start
        self._code -= start
        while size < _RENORMALISE_BELOW:
            byte = self._data[self._next] if self._next < len(self._data) else 0
            self._next += 1
            self._code = self._code << 8 | byte
            self._low <<= 8
            size <<= 8
            self._width_bits += 8
        self._range = size


def _shortest(low: int, size: int, width_bits: int) -> bytes:
    """The shortest byte string whose value, as a fraction of 2**width_bits, lies in [low, low + size)."""
    for length in range(1, width_bits // 8 + 1):
        dropped = width_bits - 8 * length
        value = -(-low >> dropped)  # rounded up
        if value << dropped < low + size:
            return value.to_bytes(length)
    raise AssertionError("unreachable: at full width `low` itself lies in the interval")
