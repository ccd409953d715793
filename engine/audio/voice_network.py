"""Runs `engine.nets.voice.VoiceNet` with numpy: a hundred thousand multiplications a column are over before a runtime
for networks has copied its input.

Columns go in as they come; each layer keeps as much of its past as its convolution looks back.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import Mel
from engine.weights import WeightsError

Array = NDArray[np.float32]

_EPSILON = np.float32(1e-5)
"Of torch's LayerNorm."


class VoiceNetwork:
    """The weights of the network, checked; `stream` runs it."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        """arrays: by the names of `VoiceNet.state_dict`. Raises WeightsError where they make no such network."""
        self._arrays = dict(arrays)
        self.dilations = _dilations(arrays)
        blocks = [f"blocks.{number}" for number in range(len(self.dilations))]
        try:
            width, self.bands, kernel = arrays["enter.weight"].shape
            self.outputs = arrays["leave.weight"].shape[0]
            wanted: dict[str, tuple[int, ...]] = {"band_mean": (self.bands,), "band_deviation": (self.bands,)}
            wanted |= {"enter.bias": (width,), "norm.weight": (width,), "norm.bias": (width,)}
            wanted |= {"leave.weight": (self.outputs, width), "leave.bias": (self.outputs,)}
            for block in blocks:
                wanted |= {f"{block}.conv.weight": (width, width, kernel), f"{block}.mix.weight": (width, width, 1)}
                wanted |= {
                    f"{block}.{part}": (width,) for part in ("norm.weight", "norm.bias", "conv.bias", "mix.bias")
                }
            wrong = [name for name, shape in wanted.items() if arrays[name].shape != shape]
        except (KeyError, ValueError) as error:
            raise WeightsError(f"voice network: not the weights of one ({error})") from error
        if wrong or not (arrays["band_deviation"] > 0).all():
            raise WeightsError(f"voice network: {(wrong or ['band_deviation'])[0]} does not fit the rest")

    def stream(self) -> VoiceStream:
        """A voice begins."""
        return VoiceStream(self._arrays, self.dilations)


class VoiceStream:
    """One voice going through the network."""

    def __init__(self, arrays: Mapping[str, Array], dilations: tuple[int, ...]) -> None:
        self._scale = 1.0 / arrays["band_deviation"]
        self._shift = -arrays["band_mean"] * self._scale
        self._enter = _Convolution(arrays["enter.weight"], arrays["enter.bias"], 1)
        self._blocks = [_Block(arrays, f"blocks.{number}", dilation) for number, dilation in enumerate(dilations)]
        self._norm = arrays["norm.weight"], arrays["norm.bias"]
        self._leave = np.ascontiguousarray(arrays["leave.weight"].T), arrays["leave.bias"]

    def push(self, mel: Mel) -> Array:
        """(n, bands) further columns to (n, outputs), one for each."""
        x = self._enter.push(mel * self._scale + self._shift)
        for block in self._blocks:
            x = block.push(x)
        weight, bias = self._leave
        found: Array = _normed(x, *self._norm) @ weight + bias
        return found


class _Convolution:
    def __init__(self, weight: Array, bias: Array, dilation: int) -> None:
        # (outputs, inputs, kernel) to one matrix a tap.
        self._taps = [np.ascontiguousarray(weight[:, :, tap].T) for tap in range(weight.shape[2])]
        self._bias, self._dilation = bias, dilation
        self._past = np.zeros((dilation * (weight.shape[2] - 1), weight.shape[1]), np.float32)

    def push(self, x: Array) -> Array:
        count = len(x)
        seen = np.concatenate((self._past, x))
        self._past = seen[count:].copy()
        out: Array = np.broadcast_to(self._bias, (count, len(self._bias)))
        for number, tap in enumerate(self._taps):
            begin = number * self._dilation
            out = np.add(out, seen[begin : begin + count] @ tap, dtype=np.float32)
        return out


class _Block:
    def __init__(self, arrays: Mapping[str, Array], name: str, dilation: int) -> None:
        self._norm = arrays[f"{name}.norm.weight"], arrays[f"{name}.norm.bias"]
        self._convolution = _Convolution(arrays[f"{name}.conv.weight"], arrays[f"{name}.conv.bias"], dilation)
        self._mix = np.ascontiguousarray(arrays[f"{name}.mix.weight"][:, :, 0].T), arrays[f"{name}.mix.bias"]

    def push(self, x: Array) -> Array:
        hidden: Array = np.maximum(self._convolution.push(_normed(x, *self._norm)), np.float32(0.0))
        weight, bias = self._mix
        mixed: Array = x + hidden @ weight + bias
        return mixed


def _normed(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    normed: Array = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + _EPSILON) * weight + bias
    return normed


def _dilations(arrays: Mapping[str, Array]) -> tuple[int, ...]:
    """Of the blocks, each twice the one before, as they are trained."""
    count = len({name.split(".")[1] for name in arrays if name.startswith("blocks.")})
    return tuple(2**number for number in range(count))
