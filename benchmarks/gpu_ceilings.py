"""What a GPU can do at most, measured; what a network asks of it, counted; and how near the one comes to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

SIDE = 8192
"Of the matrices that are multiplied: 1.1 TFLOP, and large enough for all of any GPU."
COPY_BYTES = 1 << 30

MATRIX_TYPES: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Ceilings:
    """Of a device, as measured in the same run as what is compared with them."""

    copy_bytes_per_s: float
    "Read and written, of a copy of a gibibyte."
    flops_per_s: Mapping[str, float]
    "Of matrix products, by the type of their numbers; `tf32` is float32 in the cores for matrices."


@dataclass(frozen=True)
class Work:
    """What one call of a network is."""

    flops: int
    "Of convolutions and matrix products, two for a multiply-accumulate."
    least_bytes: int
    "Weights, inputs and outputs, each once: what no way of computing it can avoid."
    operator_bytes: int
    "What operators read and write if each is executed on its own."


def ceilings(timer: Callable[[Callable[[], Any]], list[float]], device: str, side: int = SIDE) -> Ceilings:
    """timer: seconds of some work, see `benchmarks.gpu_timing`. side: smaller for tests."""
    given = torch.zeros(COPY_BYTES * side // SIDE, dtype=torch.uint8, device=device)
    taken = torch.empty_like(given)
    copied = 2 * given.numel() / median(timer(lambda: taken.copy_(given)))
    rates = {}
    for name, dtype, tf32 in (
        *((name, kind, False) for name, kind in MATRIX_TYPES.items()),
        ("tf32", torch.float32, True),
    ):
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            rates[name] = 2 * side**3 / median(timer(_product(side, dtype, device)))
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
    return Ceilings(copied, rates)


def _product(side: int, dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    # Not zeros: of those a GPU multiplies more in a second, as it takes less power.
    one, other = (torch.randn((side, side), device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(one)
    return lambda: torch.matmul(one, other, out=out)


def count(module: nn.Module, inputs: Sequence[Tensor]) -> Work:
    """Of one call, which is executed. Our own kernels' arithmetic is not counted among `flops`: it is little."""
    traffic = _Traffic()
    with torch.inference_mode(), FlopCounterMode(display=False) as flops, traffic:
        outputs = module(*inputs)
    state = [*module.parameters(), *module.buffers()]
    return Work(flops.get_total_flops(), sum(map(_bytes, _tensors((state, list(inputs), outputs)))), traffic.bytes)


def shares(work: Work, seconds: float, precision: str, limits: Ceilings) -> dict[str, float]:
    """How near a call came to the device's ceilings.

    `of_matrix`: its arithmetic against matrix products of that precision; `of_copy`: its operators' traffic against a
    copy, which fused operators can exceed; `of_roofline`: the least time that either leaves, against the time taken.
    """
    rate = limits.flops_per_s[precision]
    least = max(work.flops / rate, work.least_bytes / limits.copy_bytes_per_s)
    return {
        "of_matrix": work.flops / seconds / rate,
        "of_copy": work.operator_bytes / seconds / limits.copy_bytes_per_s,
        "of_roofline": least / seconds,
    }


def as_figures(limits: Ceilings) -> dict[str, Any]:
    """For JSON, in the units that are usual."""
    return {
        "copy_gb_per_s": limits.copy_bytes_per_s / 1e9,
        "tflops_per_s": {name: rate / 1e12 for name, rate in limits.flops_per_s.items()},
    }


def work_figures(work: Work) -> dict[str, int]:
    """For JSON."""
    return asdict(work)


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operators read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        read = list(_tensors((args, kwargs)))
        there = {tensor.untyped_storage()._cdata for tensor in read}
        new = [tensor for tensor in _tensors(outputs) if tensor.untyped_storage()._cdata not in there]
        written = new or ([] if func.is_view else list(_tensors(outputs)))
        if written:
            self.bytes += sum(map(_bytes, (*read, *written)))
        return outputs


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
