"""What an NVIDIA GPU can do: `visavis bench gpu`, or with more options `python -m benchmarks.gpu`.

Our kernels (`benchmarks.kernels`), and of every generator the network that is executed for each frame, in batches of
participants: by torch as it is in float32, converted to 16 bits with our kernels, through torch.compile, as a CUDA
graph, and by TensorRT. Generators without installed weights are measured at their published widths with random ones.

- latency: from events on the GPU, data there already; *host*: of a runtime from arrays to arrays, by the wall clock
- *deviation*: mean difference to the frames of `eager fp32`, in levels of 255
- *of matrix*, *of copy*, *of roofline*: see `benchmarks.gpu_ceilings.shares`; ceilings are measured in the same run
- *streams*: at 25 FPS, see `benchmarks.gpu_timing.streams`
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from benchmarks import kernels
from benchmarks.environment import command_line, write_result
from benchmarks.gpu_ceilings import Ceilings, as_figures, ceilings, count, shares, work_figures
from benchmarks.gpu_report import plot, tables
from benchmarks.gpu_timing import RATE, Timer, event_seconds, streams, summary, wall_seconds
from benchmarks.gpu_variants import REFERENCE, VARIANTS, Variant, network_of
from benchmarks.networks import GENERATORS, SIZE, Measured, measured
from engine.generators.base import Tensors
from engine.generators.neural import Network
from engine.kernels.launch import KernelsUnavailableError, launcher_of
from engine.runtime import RuntimeUnavailableError, load_runtime, runtime_names
from engine.runtime.cuda_graph import CudaGraphs
from engine.runtime.cuda_runtime import require_cuda
from engine.runtime.network_runtime import NetworkRuntime
from engine.runtime.static_network import BATCHES
from engine.runtime.static_runtime import StaticRuntime

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parent / "results" / "gpu.json"
WAYS = tuple(one.name for one in VARIANTS)
RUNTIMES = ("cuda", "tensorrt")
"Measured from arrays to arrays, as calls use them, where they are there."


def bench_gpu(
    console: Console,
    generators: Sequence[str] = GENERATORS,
    batches: tuple[int, ...] = BATCHES,
    with_kernels: bool = True,
    ways: Sequence[str] = WAYS,
) -> dict[str, Any]:
    """All figures, of the ways of these names and of the one that they are compared with.

    Raises RuntimeUnavailableError where there is no GPU, or torch finds none.
    """
    require_cuda("bench gpu", "there is nothing to measure")
    device = f"cuda:{torch.cuda.current_device()}"
    limits = ceilings(event_seconds, device)
    variants = [variant for variant in VARIANTS if variant is REFERENCE or variant.name in ways]
    figures: dict[str, Any] = {
        "gpu": describe_gpu(device),
        "ceilings": as_figures(limits),
        "rate": RATE,
        "size": SIZE,
        "kernels": kernels.measure(device) if with_kernels and _kernels_run(device) else None,
        "generators": {},
    }
    for name in generators:
        with measured(name) as one:
            figures["generators"][name] = measure_generator(
                one, limits, device, batches, event_seconds, console, _kernels_run(device), variants
            )
    return figures


def measure_generator(
    one: Measured,
    limits: Ceilings,
    device: str,
    batches: tuple[int, ...],
    timer: Timer,
    console: Console,
    with_kernels: bool,
    variants: Sequence[Variant] = VARIANTS,
) -> dict[str, Any]:
    """One generator in all ways; `variants` begins with the one that the others are compared with.

    A way that fails is in the figures with its reason, so that the others are not lost.
    """
    expected: dict[str, np.ndarray] = {}
    figures: dict[str, Any] = {}
    for variant in track(variants, one.generator.name, console=console):
        try:
            figures[variant.name] = _measure_variant(
                variant, one, limits, device, batches, timer, with_kernels, expected
            )
        except (RuntimeError, ValueError) as error:
            if variant is REFERENCE:
                raise
            figures[variant.name] = {"failed": _first_line(error)}
    for runtime in RUNTIMES:
        figures[f"host {runtime}"] = _measure_runtime(runtime, one, batches, expected)
    return {"weights": one.weights, "ways": compared(figures)}


def _measure_variant(
    variant: Variant,
    one: Measured,
    limits: Ceilings,
    device: str,
    batches: tuple[int, ...],
    timer: Timer,
    with_kernels: bool,
    expected: dict[str, np.ndarray],
) -> dict[str, Any]:
    capture = CudaGraphs(torch.device(device)) if variant.recorded else None
    network = network_of(variant, one.generator, device, batches, capture, with_kernels)
    by_batch: dict[int, Any] = {}
    for batch in batches:
        [outputs] = network.run([one.batch(batch)])  # fills the buffers with a face
        if variant.reference and not expected:
            expected.update({name: array[:1] for name, array in outputs.items()})
        replay = network.replay(batch)
        with torch.inference_mode(), network.stream():
            durations = timer(replay)
        work = count(network.module, network.buffers(batch)) if not variant.compiled else None
        by_batch[batch] = summary(durations, batch) | {"deviation": deviation(outputs, expected)}
        if work is not None:
            by_batch[batch] |= work_figures(work)
            by_batch[batch] |= shares(work, np.median(durations).item(), variant.precision, limits)
    return {"batches": by_batch, "streams": streams(by_batch)}


def _measure_runtime(
    name: str, one: Measured, batches: tuple[int, ...], expected: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    if name not in runtime_names():
        return {"failed": f"no runtime {name} is installed"}
    try:
        runtime = load_runtime(name)
        assert isinstance(runtime, NetworkRuntime)
        specs = one.generator.network_specs()
        network = runtime.network(one.generator, "render", specs["render"])
    except (RuntimeUnavailableError, RuntimeError, ValueError) as error:
        return {"failed": _first_line(error)}
    encoded = {entry.name for entry in specs["encode"].outputs} if "encode" in specs else set()

    def keep(inputs: Tensors) -> None:
        """As a call has it: what does not change from frame to frame is there already."""
        if isinstance(runtime, StaticRuntime):
            runtime.keep({name: array for name, array in inputs.items() if name in encoded})

    return _measure_host(network, keep, one, batches, expected)


def _measure_host(
    network: Network,
    keep: Callable[[Tensors], None],
    one: Measured,
    batches: tuple[int, ...],
    expected: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    by_batch: dict[int, Any] = {}
    for batch in batches:
        inputs = one.batch(batch)
        keep(inputs)
        try:
            outputs = network(inputs)
        except (RuntimeError, ValueError) as error:  # larger than what its plans are for
            return {"batches": by_batch, "streams": streams(by_batch), "not beyond": _first_line(error)}
        durations = wall_seconds(lambda inputs=inputs: network(inputs))  # type: ignore[misc]
        by_batch[batch] = summary(durations, batch) | {"deviation": deviation(outputs, expected)}
    return {"batches": by_batch, "streams": streams(by_batch)}


def deviation(outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float | None:
    """Mean difference in levels, over all outputs that are pictures and all rows; None without any to compare with.

    expected: of batch 1; all rows are the same.
    """
    differences = [
        np.abs(outputs[name].astype(np.int16) - array.astype(np.int16)).mean()
        for name, array in expected.items()
        if array.dtype == np.uint8
    ]
    return float(np.mean(differences)) if differences else None


def compared(ways: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with `times`: how many times faster than `eager fp32` at the same batch size."""
    of_reference = ways[REFERENCE.name]["batches"]
    return {
        name: way
        | {
            "times": {
                batch: of_reference[batch]["p50_ms"] / entry["p50_ms"]
                for batch, entry in way.get("batches", {}).items()
            }
        }
        for name, way in ways.items()
    }


def describe_gpu(device: str) -> dict[str, Any]:
    """The GPU, and the software that it runs."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_gib": properties.total_memory / 2**30,
        "multiprocessors": properties.multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "convolutions_in_tf32": torch.backends.cudnn.allow_tf32,
    }


def _kernels_run(device: str) -> bool:
    try:
        launcher_of(torch.empty(0, device=device))
    except KernelsUnavailableError as error:
        logger.warning("%s; our kernels are not measured, and torch samples instead", error)
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", nargs="+", default=list(GENERATORS), choices=GENERATORS)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="beside eager fp32 and the runtimes")
    parser.add_argument("--no-kernels", action="store_true", help="only the networks")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="JSON; the plot goes beside it (%(default)s)")
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        figures = bench_gpu(console, options.generators, tuple(options.batches), not options.no_kernels, options.ways)
    except RuntimeUnavailableError as error:
        parser.exit(1, f"{error}\n")
    write(figures, options.output, console)


def write(figures: dict[str, Any], output: Path | None, console: Console) -> None:
    """Tables to the console; JSON and, beside it, the plot where `output` is given."""
    for table in tables(figures):
        console.print(table)
    if output is not None:
        write_result(output, command_line(), figures)
        try:
            plot(figures, output.with_suffix(".png"))
        except ImportError:
            console.print("no plot without matplotlib: pip install 'visavis[bench]'", markup=False)


if __name__ == "__main__":
    main()
