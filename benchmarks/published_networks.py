"""The published networks, full size, on this machine: `python -m benchmarks.published_networks`.

For each half, batch 1, frames of 256x256: multiply-accumulates (convolutions and matrix products), and milliseconds by
torch in float32 and under bfloat16 autocast, channels last. Random weights: they cost the same. A frame at 25 a second
has 40 ms. How many parameters there are is the tests' matter.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.environment import command_line, write_result
from benchmarks.networks import SIZE, random_weights
from engine.nets.dagan import DaGANConfig

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parent / "results" / "published_networks.json"


@dataclass(frozen=True)
class Choice:
    """What is measured."""

    generator: str
    references: int = 1
    config: Any = None
    "As published."


CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        "adaat": Choice("adaat"),
        "fomm": Choice("fomm"),
        "dagan": Choice("dagan"),
        "dagan spade": Choice("dagan", config=DaGANConfig(decoder="spade")),
        "iplap 1": Choice("iplap"),
        "iplap 4": Choice("iplap", references=4),
        "iplap 8": Choice("iplap", references=8),
        "lsr": Choice("lsr"),
        "rhythmic": Choice("rhythmic"),
    }
)
"""Of IP-LAP with so many pictures. Rhythmic's is for eight always, and LSR's costs as much for any number."""


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


def measure(choice: Choice, runs: int) -> dict[str, Any]:
    """The figures of one network."""
    figures: dict[str, Any] = {}
    with random_weights(choice.generator, config=choice.config, references=choice.references) as one:
        for half, spec in one.generator.network_specs().items():
            module = one.generator.torch_module(half).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            inputs = tuple(torch.from_numpy(one.by_half[half][entry.name]) for entry in spec.inputs)
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                module(*inputs)
            figures[half] = {
                "gmac": counter.get_total_flops() / 2e9,
                "float32_ms": milliseconds(module, inputs, False, runs),
                "bfloat16_ms": milliseconds(module, inputs, True, max(1, runs // 3)),
            }
            logger.info("%s %s: %s", choice, half, figures[half])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="of torch; default: one a core")
    parser.add_argument("--runs", type=int, default=7, help="of each half (%(default)s)")
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=CHOICES,
        default=list(CHOICES),
        metavar="NAME",
        help="which (all): " + ", ".join(CHOICES),
    )
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="JSON file to write (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    figures = {name: measure(CHOICES[name], arguments.runs) for name in arguments.networks}
    write_result(arguments.output, command_line(), {"threads": torch.get_num_threads(), "size": SIZE, **figures})


if __name__ == "__main__":
    main()
