"""Residuals of one frame: choose them (sender), write them, read them.

A residual is the difference from the prediction in whole steps. Its probability table follows from the expected size,
which the residuals already coded in this frame correct. Above the largest table the low bits are sent as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from streaming.motion_prediction import ACTIVITY_PRIOR, Prediction, expected_levels
from streaming.motion_statistics import (
    CLASS_OF_ONE,
    CLASSES,
    COORDINATE_LIMIT,
    LEVELS,
    SYMBOLS,
    WEIGHT_BITS,
    IntArray,
    MotionStatistics,
    logarithm,
)
from streaming.range_coder import CodecError, RangeDecoder, RangeEncoder

ESCAPE = SYMBOLS - 1
SHIFT_LIMIT = 20
_LENGTH_BITS = 5
_LENGTH_LIMIT = 22
"Bits of an escaped value; more than twice COORDINATE_LIMIT needs."


class TableChoice:
    """Which table codes the next coordinate, as (class, shift): the same walk for coding and for decoding."""

    def __init__(self, statistics: MotionStatistics, prediction: Prediction) -> None:
        self._size = prediction.size.tolist()
        self._inner_weight = prediction.inner_weight
        expected = expected_levels(statistics, prediction.size).tolist()
        self._expected = list(accumulate(expected, initial=ACTIVITY_PRIOR))
        self._observed = ACTIVITY_PRIOR

    def table(self, index: int) -> tuple[int, int]:
        """For coordinate `index`, after `coded` was called for all those before it."""
        surprise = logarithm(self._observed) - logarithm(self._expected[index])
        size = self._size[index] + (self._inner_weight * surprise >> WEIGHT_BITS)
        table = (size >> 2) + CLASS_OF_ONE
        if table < CLASSES:
            return max(table, 0), 0
        shift = min((table - CLASSES + 4) >> 2, SHIFT_LIMIT)
        return min(table - 4 * shift, CLASSES - 1), shift

    def coded(self, residual: int) -> None:
        self._observed += 64 * abs(residual)


def choose_residuals(
    statistics: MotionStatistics, prediction: Prediction, target: IntArray, step: int, bit_price: float
) -> list[int]:
    """(D,) residuals that bring the prediction near `target`, (D,) units: error² + bit_price · step² · bits is low.

    Each residual is the nearest one or the next one towards zero, so no coordinate is off by more than a step.
    """
    choice = TableChoice(statistics, prediction)
    costs = statistics.costs
    price = bit_price * step * step
    residuals = []
    for index, error in enumerate((target - prediction.coordinates).tolist()):
        magnitude = (abs(error) + step // 2) // step
        if magnitude:
            table, shift = choice.table(index)
            sign = 1 if error > 0 else -1
            if magnitude <= LEVELS and not shift:
                cost = costs[table]
                beyond = abs(error) - magnitude * step
                smaller = beyond + step
                here = beyond * beyond + price * cost[sign * magnitude + LEVELS]
                if smaller <= step and smaller * smaller + price * cost[sign * (magnitude - 1) + LEVELS] < here:
                    magnitude -= 1
            residuals.append(sign * magnitude)
        else:
            residuals.append(0)
        choice.coded(magnitude)
    return residuals


def write_residuals(
    encoder: RangeEncoder, statistics: MotionStatistics, prediction: Prediction, residuals: Sequence[int]
) -> None:
    """Code (D,) residuals."""
    choice = TableChoice(statistics, prediction)
    for index, residual in enumerate(residuals):
        table, shift = choice.table(index)
        high = residual >> shift
        if -LEVELS <= high <= LEVELS:
            encoder.encode(statistics.tables[table], high + LEVELS)
        else:
            encoder.encode(statistics.tables[table], ESCAPE)
            beyond = abs(high) - LEVELS
            length = beyond.bit_length()
            encoder.encode_bits(high < 0, 1)
            encoder.encode_bits(length, _LENGTH_BITS)
            encoder.encode_bits(beyond - (1 << (length - 1)), length - 1)
        if shift:
            encoder.encode_bits(residual & ((1 << shift) - 1), shift)
        choice.coded(residual)


def read_residuals(decoder: RangeDecoder, statistics: MotionStatistics, prediction: Prediction, step: int) -> list[int]:
    """(D,) residuals. Raises CodecError where they would lead out of the coordinates."""
    choice = TableChoice(statistics, prediction)
    residuals = []
    for index, start in enumerate(prediction.coordinates.tolist()):
        table, shift = choice.table(index)
        symbol = decoder.decode(statistics.tables[table])
        high = symbol - LEVELS
        if symbol == ESCAPE:
            negative = decoder.decode_bits(1)
            length = decoder.decode_bits(_LENGTH_BITS)
            if not 1 <= length <= _LENGTH_LIMIT:
                raise CodecError(f"an escaped residual of {length} bits")
            beyond = (1 << (length - 1)) + decoder.decode_bits(length - 1)
            high = -(LEVELS + beyond) if negative else LEVELS + beyond
        residual = high << shift
        if shift:
            residual |= decoder.decode_bits(shift)
        if abs(start + residual * step) > COORDINATE_LIMIT + step:
            raise CodecError("a residual leads out of the coordinates")
        residuals.append(residual)
        choice.coded(residual)
    return residuals
