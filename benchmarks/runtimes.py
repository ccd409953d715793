"""What executes a generator's networks best on this machine: `python -m benchmarks.runtimes`.

Every runtime and number of threads is measured in a process of its own, a frame after the other: a picture that sways,
rendered from the exported networks (torch: from the weights). Columns:

- *load*: importing the runtime and making the network of `render` executable, in seconds; *first*: the first frame
- *network*: wall clock of the network alone, *frame* of everything that `render` does, *cpu*: processor time of the
  network, which hardly depends on what else runs
- *share of peak*: the network's multiply-accumulates in that time, against eight 3x3 convolutions of 64 to 64 channels
  at 64x64 one after the other in the same runtime
- *pair*: two such processes at once, each paced at 25 frames a second, as both ends of a call on one machine; how long
  a frame took, and how many took longer than its period
- *installed*: the package and what only it needs
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.environment import command_line, write_result
from engine.export import example_motions
from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.fit import fit_source
from engine.face.images import load_image
from engine.face.landmarks import detect_face
from engine.face.model import FaceModel
from engine.generators import FaceGenerator, load_generator
from engine.generators.base import Tensors
from engine.generators.neural import Network, NetworkSpec, NeuralGenerator, TensorSpec, torch_network
from engine.motion import FaceState
from engine.runtime import load_runtime
from engine.runtime.cost import multiply_accumulates
from engine.runtime.network_runtime import GraphRuntime, NetworkRuntime
from streaming.statistics import Distribution
from visavis.demo import PORTRAIT

if TYPE_CHECKING:
    from torch import nn

RESULT = Path(__file__).parent / "results" / "runtimes.json"
RUNTIMES = ("openvino", "onnxruntime", "torch")
PERIOD_S = 1 / 25
WARM_UP = 10

PEAK_LAYERS, PEAK_CHANNELS, PEAK_SIDE = 8, 64, 64
PEAK_SPEC = NetworkSpec(
    (TensorSpec("x", (PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE), np.float32),),
    (TensorSpec("y", (PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE), np.float32),),
)
PEAK_GMAC = PEAK_LAYERS * (PEAK_CHANNELS * PEAK_SIDE) ** 2 * 9 / 1e9


@dataclass(frozen=True)
class Work:
    """What one process measures."""

    runtime: str
    "With its threads, as `load_runtime` takes it."
    generator: str
    size: int
    seconds: float
    paced: bool
    "At 25 frames a second, instead of as fast as it goes; then only the frames are measured."


class Timed:
    """A network that measures itself."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.wall, self.cpu = Distribution(), Distribution()

    def __call__(self, inputs: Tensors) -> Tensors:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        outputs = self._network(inputs)
        self.cpu.add(time.process_time() - begin_cpu)
        self.wall.add(time.perf_counter() - begin)
        return outputs


def measure(work: Work) -> dict[str, Any]:
    """In a process of its own, for memory and for the time of imports. Raises what the generator and runtime raise."""
    cv2.setNumThreads(1)
    generator = load_generator(work.generator, work.size)
    if not isinstance(generator, NeuralGenerator):
        raise ValueError(f"generator {work.generator} has no networks that a runtime could execute")
    picture = load_image(PORTRAIT)
    height, width = picture.shape[:2]
    crop = HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN)
    frame = crop.apply(picture, work.size)
    person, state = fit_source(FaceModel.load(), detect_face(frame).landmarks)
    memory_before, begin = _peak_memory(), time.perf_counter()

    runtime = load_runtime(work.runtime)
    assert isinstance(runtime, NetworkRuntime)
    specs = generator.network_specs()
    network = Timed(runtime.network(generator, "render", specs["render"]))
    load = time.perf_counter() - begin
    encoder = runtime.network(generator, "encode", specs["encode"]) if "encode" in specs else None
    own = person.landmarks(state)[None].astype(np.float32)
    identity = generator.encode_with(encoder, frame[None], own)
    motions = (
        (generator.motion(person, one) for one in _swaying(state, FaceModel.load().expression_deviation))
        if isinstance(generator, FaceGenerator)
        else cycle(example_motions(generator, frame, person, state))
    )

    def render() -> float:
        begin = time.perf_counter()
        generator.render_with(network, identity, next(motions))
        return time.perf_counter() - begin

    first = render()
    for _ in range(WARM_UP):
        render()
    network.wall, network.cpu = Distribution(), Distribution()
    frames = Distribution()
    late, due = 0, time.perf_counter()
    end = due + work.seconds
    while time.perf_counter() < end:
        cost = render()
        frames.add(cost)
        late += cost > PERIOD_S
        if work.paced:
            now = time.perf_counter()
            due = max(due + PERIOD_S, now)
            time.sleep(due - now)
    if work.paced:
        return {"frame_ms": _milliseconds(frames), "late": late / len(frames)}
    memory = _peak_memory() - memory_before
    return {
        "load_s": load,
        "first_frame_ms": 1000 * first,
        "network_ms": _milliseconds(network.wall),
        "network_cpu_ms": _milliseconds(network.cpu),
        "frame_ms": _milliseconds(frames),
        "memory_mb": memory,
        "peak_gmac_per_s": _peak(runtime),
    }


def _swaying(state: FaceState, deviation: NDArray[np.float32]) -> Iterator[FaceState]:
    """The head turns to and fro, and the expression changes. deviation: of each coefficient, in people who talk."""
    direction = deviation * np.random.default_rng(0).standard_normal(state.expression.size).astype(np.float32)
    for k in range(10**9):
        phase = 2 * math.pi * k / 100
        yield replace(
            state,
            rotation=state.rotation + np.array([0.1 * math.sin(2 * phase), 0.3 * math.sin(phase), 0.0]),
            expression=state.expression + np.float32(math.sin(3 * phase)) * direction,
        )


def _peak(runtime: NetworkRuntime) -> float:
    """Of convolutions, GMAC/s, by the best of several runs."""
    deviation = (9 * PEAK_CHANNELS) ** -0.5  # keeps the size of what passes through
    weights = np.random.default_rng(0).normal(0.0, deviation, (PEAK_CHANNELS, PEAK_CHANNELS, 3, 3)).astype(np.float32)
    if isinstance(runtime, GraphRuntime):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "convolutions.onnx"
            _write_convolutions(path, weights)
            network = runtime.load(path, PEAK_SPEC)
    else:
        network = torch_network(_convolutions(weights), PEAK_SPEC)
    inputs = {"x": np.ones((1, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE), np.float32)}
    costs = []
    for _ in range(50):
        begin = time.perf_counter()
        network(inputs)
        costs.append(time.perf_counter() - begin)
    return PEAK_GMAC / min(costs)


def _write_convolutions(path: Path, weights: NDArray[np.float32]) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    names = ["x", *(f"x{k}" for k in range(1, PEAK_LAYERS)), "y"]
    shape = (1, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE)
    graph = helper.make_graph(
        [helper.make_node("Conv", [a, "w"], [b], pads=[1, 1, 1, 1]) for a, b in pairwise(names)],
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def _convolutions(weights: NDArray[np.float32]) -> nn.Module:
    import torch

    layers = [torch.nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1, bias=False) for _ in range(PEAK_LAYERS)]
    for layer in layers:
        layer.weight.data = torch.from_numpy(weights)
    return torch.nn.Sequential(*layers)


def _peak_memory() -> float:
    """MB that this process has held at once so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _milliseconds(cost: Distribution) -> dict[str, float]:
    return {name: 1000 * cost.quantile(fraction) for name, fraction in (("p50", 0.5), ("p95", 0.95))}


def installed_mb(package: str) -> float:
    """The package, and what it needs that visavis alone does not."""
    return sum(map(_files_mb, _closure(package) - _closure("visavis")))


def _closure(package: str) -> set[str]:
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for other platforms
        if name not in found:
            found.add(name)
            waiting += [
                match[0] for entry in needed if "extra ==" not in entry and (match := re.match(r"[\w.-]+", entry))
            ]
    return found


def _files_mb(package: str) -> float:
    paths = (Path(str(path.locate())) for path in distribution(package).files or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def _in_processes(work: Work, count: int) -> list[dict[str, Any]]:
    """Measure the same in several processes at once."""
    command = [sys.executable, "-m", "benchmarks.runtimes", "--work", json.dumps(asdict(work))]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError(f"measuring {work.runtime} failed; what is above says why")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def compare(generator: str, size: int, seconds: float, threads: tuple[int, ...], console: Console) -> dict[str, Any]:
    """The figures of all runtimes, by name and number of threads."""
    neural = load_generator(generator, size)
    assert isinstance(neural, NeuralGenerator)
    gmac = sum(multiply_accumulates(neural.graph_path("render")).values()) / 1e9
    kinds = [f"{runtime}:{count}" for runtime in RUNTIMES for count in threads]
    results: dict[str, Any] = {}
    for name in track(kinds, f"{generator} {size}", console=console):
        measure_it = partial(Work, name, generator, size, seconds)
        [alone] = _in_processes(measure_it(paced=False), 1)
        pair = _in_processes(measure_it(paced=True), 2)
        rate = gmac / (alone["network_ms"]["p50"] / 1000)
        results[name] = alone | {
            "share_of_peak": rate / alone["peak_gmac_per_s"],
            "pair": {
                "frame_ms": {key: max(one["frame_ms"][key] for one in pair) for key in ("p50", "p95")},
                "late": max(one["late"] for one in pair),
            },
        }
    return {
        "generator": generator,
        "size": size,
        "gmac": gmac,
        "versions": {runtime: version(runtime) for runtime in RUNTIMES},
        "installed_mb": {runtime: installed_mb(runtime) for runtime in RUNTIMES},
        "runtimes": results,
    }


def _table(figures: dict[str, Any]) -> Table:
    table = Table(
        "runtime:threads",
        "load s",
        "first ms",
        "network ms",
        "cpu ms",
        "frame ms",
        "MB",
        "of peak",
        "pair ms",
        "late",
        title=f"{figures['generator']} {figures['size']}, {figures['gmac']:.2f} GMAC; p50 / p95",
        caption="installed: " + ", ".join(f"{name} {size:.0f} MB" for name, size in figures["installed_mb"].items()),
    )

    def both(cost: dict[str, float]) -> str:
        return f"{cost['p50']:.1f} / {cost['p95']:.1f}"

    for name, entry in figures["runtimes"].items():
        table.add_row(
            name,
            f"{entry['load_s']:.2f}",
            f"{entry['first_frame_ms']:.0f}",
            both(entry["network_ms"]),
            both(entry["network_cpu_ms"]),
            both(entry["frame_ms"]),
            f"{entry['memory_mb']:.0f}",
            f"{100 * entry['share_of_peak']:.0f} % of {entry['peak_gmac_per_s']:.0f} GMAC/s",
            both(entry["pair"]["frame_ms"]),
            f"{100 * entry['pair']['late']:.0f} %",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="portrait")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    parser.add_argument("--work", help=argparse.SUPPRESS)  # what `_in_processes` passes on
    options = parser.parse_args()
    if options.work:
        print(json.dumps(measure(Work(**json.loads(options.work)))))
        return
    console = Console(stderr=True)
    figures = []
    for size in options.sizes:
        figures.append(compare(options.generator, size, options.seconds, tuple(options.threads), console))
        console.print(_table(figures[-1]))
    write_result(options.output, command_line(), figures)


if __name__ == "__main__":
    main()
