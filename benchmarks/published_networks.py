"""The published networks of FOMM and DaGAN, full size, on this machine: `python -m benchmarks.warp_networks`.

For each half at 256x256, batch 1: parameters of the network, multiply-accumulates (convolutions and matrix products),
and milliseconds by torch in float32 and under bfloat16 autocast, channels last. Random weights: they cost the same. A
frame at 25 a second has 40 ms.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.environment import command_line, write_result
from engine.nets import dagan, first_order
from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.first_order import FirstOrderModel

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parent / "results" / "warp_networks.json"
SIZE = 256


def halves(kind: str) -> tuple[nn.Module, Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]]:
    """A model, and each of its halves with inputs for it."""
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8)
    model: FirstOrderModel | DaGANModel
    detect: nn.Module
    encode: nn.Module
    render: nn.Module
    if kind == "fomm":
        model = FirstOrderModel().eval()
        detect = first_order.DetectHalf(model)
        encode, render = first_order.EncodeHalf(model), first_order.RenderHalf(model)
    else:
        model = DaGANModel(DaGANConfig(decoder="spade" if kind == "dagan spade" else "residual")).eval()
        detect, encode, render = dagan.DetectHalf(model), dagan.EncodeHalf(model), dagan.RenderHalf(model)
    with torch.inference_mode():
        *maps, points, _ = encode.eval()(frames)
    matrices = torch.eye(2).expand(1, points.shape[1], 2, 2)
    pictures = (frames,) if kind == "dagan spade" else ()
    inputs = (*maps, points, points + 0.02, matrices, *pictures)
    return model, {"detect": (detect, (frames,)), "encode": (encode, (frames,)), "render": (render, inputs)}


def milliseconds(module: nn.Module, inputs: tuple[Tensor, ...], half: bool, runs: int) -> dict[str, float]:
    """Median, fastest and slowest of so many runs, after one that is not counted."""
    taken = []
    autocast: Any = torch.autocast("cpu", torch.bfloat16) if half else nullcontext()
    with torch.inference_mode(), autocast:
        for _ in range(runs + 1):
            begin = time.perf_counter()
            module(*inputs)
            taken.append(1000 * (time.perf_counter() - begin))
    return {"p50": statistics.median(taken[1:]), "least": min(taken[1:]), "most": max(taken[1:])}


def measure(kind: str, runs: int) -> dict[str, Any]:
    """The figures of one network."""
    model, parts = halves(kind)
    figures: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for name, (module, inputs) in parts.items():
        module = module.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            module(*inputs)
        figures[name] = {
            "gmac": counter.get_total_flops() / 2e9,
            "float32_ms": milliseconds(module, inputs, False, runs),
            "bfloat16_ms": milliseconds(module, inputs, True, max(1, runs // 3)),
        }
        logger.info("%s %s: %s", kind, name, figures[name])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="of torch; default: one a core")
    parser.add_argument("--runs", type=int, default=7, help="of each half (%(default)s)")
    parser.add_argument("--networks", nargs="+", default=["fomm", "dagan"], help="also: dagan spade")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="JSON file to write (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    figures = {kind: measure(kind, arguments.runs) for kind in arguments.networks}
    write_result(arguments.output, command_line(), {"threads": torch.get_num_threads(), "size": SIZE, **figures})


if __name__ == "__main__":
    main()
