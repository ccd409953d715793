"""A clip's motion through the codec, over a path that loses packets: what the benchmarks of the bit rate share.

Rates count whole packets, headers of the codec included, those of UDP and so on not. "Steady" leaves out the key
frames before the first acknowledgement: clips are short, calls are not. An acknowledgement delay of n frames means that
frame t is first predicted from frame t - n - 1. The baseline is the order-0 entropy of quantised frame differences,
each coordinate with a table of its own made for these very clips: no headers, no bytes to fill, and a lost frame
spoils all that follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.motion import Motion
from streaming.codec import CodecConfig, MotionDecoder, MotionEncoder, StreamHeader
from streaming.motion_statistics import UNITS, IntArray, MotionStatistics

OPEN_CODE_BITS = 872
"Bits of a frame in the nearest open code, which sends ten keypoints."

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Coded:
    """One clip through the codec."""

    bits: Numbers
    "(T,) of each packet."
    key: NDArray[np.bool_]
    "(T,) whether it refers to no other frame."
    decoded: list[tuple[int, Motion]]
    "Frame and motion of each packet that arrived."
    encode_ms: list[float]
    decode_ms: list[float]


def code(
    motions: Sequence[Motion],
    statistics: MotionStatistics,
    config: CodecConfig,
    delay: int,
    loss: float = 0.0,
    seed: int = 0,
) -> Coded:
    """Code a clip over a path that loses packets, and acknowledgements as often, and delays the latter."""
    rng = np.random.default_rng(seed)
    header = StreamHeader.begin(motions[0], config, statistics)
    encoder, decoder = MotionEncoder(header, statistics), MotionDecoder(header, statistics)
    way_back: list[tuple[int, bytes]] = []
    bits, key, decoded, encode_ms, decode_ms = [], [], [], [], []
    for tick, motion in enumerate(motions):
        while way_back and way_back[0][0] <= tick:
            encoder.acknowledge(way_back.pop(0)[1])
        start = time.perf_counter()
        packet = encoder.encode(motion, tick)
        encode_ms.append((time.perf_counter() - start) * 1e3)
        bits.append(8 * len(packet))
        key.append(packet[0] == 0xFF)
        if rng.random() >= loss:
            start = time.perf_counter()
            decoded.append(decoder.decode(packet))
            decode_ms.append((time.perf_counter() - start) * 1e3)
            if rng.random() >= loss:
                way_back.append((tick + 1 + delay, decoder.acknowledgement()))
    return Coded(np.array(bits, dtype=np.float64), np.array(key), decoded, encode_ms, decode_ms)


def order_zero(
    tracks: Iterable[tuple[Sequence[Motion], float]],
    errors: Sequence[Callable[[list[tuple[int, Motion]]], Numbers]],
    statistics: MotionStatistics,
    step: float,
    distance: int,
) -> tuple[float, float]:
    """The baseline: bits of differences between quantised frames `distance` ticks apart, and the mean error.

    tracks: the motions of each clip and its nominal scale. errors: of the decoded frames of each clip.
    """
    units = step * UNITS
    differences, all_errors = [], []
    for (motions, nominal), error_of in zip(tracks, errors, strict=True):
        levels: IntArray = np.rint(
            np.stack([statistics.coordinates(motion, nominal) for motion in motions]) / units
        ).astype(np.int64)
        differences.append(levels[distance:] - levels[:-distance])
        rounded = np.rint(levels * units).astype(np.int64)
        all_errors.append(
            error_of([(tick, statistics.motion(row, nominal, 0.0, 1.0)) for tick, row in enumerate(rounded)])
        )
    pooled = np.concatenate(differences)
    bits = 0.0
    for column in pooled.T:
        share = np.unique(column, return_counts=True)[1] / len(column)
        bits -= float((share * np.log2(share)).sum())
    return bits, float(np.concatenate(all_errors).mean())


def milliseconds(values: Sequence[float]) -> dict[str, float]:
    """Median and 95 % quantile."""
    return {"median": round(float(np.median(values)), 3), "p95": round(float(np.quantile(values, 0.95)), 3)}


def at_error(points: Iterable[tuple[float, float]], error: float) -> float | None:
    """Rate at an error, interpolated between (rate, error) points; None outside them."""
    rates, errors = np.array(sorted(points, key=lambda point: point[1])).T
    if not errors[0] <= error <= errors[-1]:
        return None
    return round(float(np.interp(np.log(error), np.log(errors), rates)), 3)
