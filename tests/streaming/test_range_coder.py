import math

import numpy as np
import pytest

from streaming.range_coder import TOTAL, CodecError, RangeDecoder, RangeEncoder


def random_table(rng: np.random.Generator, symbols: int) -> list[int]:
    frequencies = np.floor(rng.dirichlet(np.full(symbols, 0.3)) * (TOTAL - symbols)).astype(int) + 1
    frequencies[frequencies.argmax()] += TOTAL - frequencies.sum()
    return [0, *np.cumsum(frequencies).tolist()]


def random_message(seed: int, length: int) -> list[tuple[list[int] | None, int]]:
    """(table, symbol), or (None, seven raw bits)."""
    rng = np.random.default_rng(seed)
    message: list[tuple[list[int] | None, int]] = []
    for _ in range(length):
        if rng.random() < 0.2:
            message.append((None, int(rng.integers(128))))
        else:
            table = random_table(rng, int(rng.integers(2, 40)))
            message.append((table, int(rng.choice(len(table) - 1, p=np.diff(table) / TOTAL))))
    return message


def encode(message: list[tuple[list[int] | None, int]]) -> bytes:
    coder = RangeEncoder()
    for table, symbol in message:
        if table is None:
            coder.encode_bits(symbol, 7)
        else:
            coder.encode(table, symbol)
    return coder.finish()


def entropy_bits(message: list[tuple[list[int] | None, int]]) -> float:
    return sum(7.0 if table is None else -math.log2((table[s + 1] - table[s]) / TOTAL) for table, s in message)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 40, 400])
@pytest.mark.parametrize("seed", range(20))
def test_symbols_come_back_and_the_end_is_recognised(seed: int, length: int):
    message = random_message(seed, length)
    data = encode(message)
    coder = RangeDecoder(data)
    read = [coder.decode_bits(7) if table is None else coder.decode(table) for table, _ in message]
    coder.finish()
    assert read == [symbol for _, symbol in message]


def test_a_short_message_costs_less_than_four_bits_beyond_its_entropy_on_average():
    messages = [random_message(seed, 30) for seed in range(300)]
    excess = [8 * len(encode(message)) - entropy_bits(message) for message in messages]
    assert np.mean(excess) < 4
    assert max(excess) <= 16


@pytest.mark.parametrize("symbol", [0, 1, 2])
def test_the_rarest_symbols_survive(symbol: int):
    table = [0, 1, TOTAL - 1, TOTAL]
    data = encode([(table, symbol)] * 50)
    coder = RangeDecoder(data)
    assert [coder.decode(table) for _ in range(50)] == [symbol] * 50
    coder.finish()


def test_a_copy_goes_its_own_way():
    table = [0, TOTAL // 2, TOTAL]
    head = RangeEncoder()
    head.encode_bits(77, 7)
    tails = []
    for symbol in (0, 1):
        coder = head.copy()
        for _ in range(9):
            coder.encode(table, symbol)
        tails.append(coder.finish())
    assert tails == [encode([(None, 77)] + [(table, symbol)] * 9) for symbol in (0, 1)]


def reads(data: bytes, table: list[int], symbols: int) -> bool:
    coder = RangeDecoder(data)
    try:
        for _ in range(symbols):
            coder.decode(table)
        coder.finish()
    except CodecError:
        return False
    return True


def test_padded_messages_are_refused():
    table = [0, 20000, TOTAL]
    messages = [
        [(table, int(symbol)) for symbol in np.random.default_rng(seed).integers(0, 2, 40)] for seed in range(100)
    ]
    for message in messages:
        data = encode(message)
        assert reads(data, table, 40)
        assert not any(reads(data + tail, table, 40) for tail in (b"\0", b"\x55", b"\0\0", b"\xff" * 9))


def test_reading_on_behind_the_end_is_bounded_and_gives_zeros():
    coder = RangeDecoder(b"\x80")
    assert [coder.decode_bits(8) for _ in range(5)] == [128, 0, 0, 0, 0]
