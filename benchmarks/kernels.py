"""How near the CUDA kernels come to the speed of the GPU's memory: `python -m benchmarks.kernels`.

Every kernel is recorded in a CUDA graph, so that what starts it costs nothing, replayed, and timed by the GPU's own
clock. Columns:

- *bytes*: what must be read and written at least once; *GB/s* that, in the median time
- *of copy*: against what the same GPU reaches when it copies a gibibyte, reading and writing counted. Maps that fit its
  cache can exceed it.
- *torch*: how many times longer the same takes in torch, recorded in the same way; empty where torch has no such thing
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from benchmarks.environment import command_line, write_result
from engine.kernels.affine_sample import affine_sample
from engine.kernels.color_convert import color_convert
from engine.kernels.color_convert_reference import color_convert_reference
from engine.kernels.dense_motion import dense_motion
from engine.kernels.grid_sample_2d import grid_sample_2d
from engine.kernels.grid_sample_3d import grid_sample_3d
from engine.kernels.launch import KernelsUnavailableError, launcher_of
from engine.kernels.mesh_warp import mesh_warp
from engine.kernels.paste_back import paste_back
from engine.nets.adaat import ChannelTransforms, transform_channels
from engine.nets.dense_motion import sparse_motions
from engine.nets.first_order import resized
from engine.nets.sampling import sample

RESULT = Path(__file__).parent / "results" / "kernels.json"
COPY_BYTES = 1 << 30
KEYPOINTS = 10
REPEATS, IN_A_GRAPH = 30, 10


@dataclass(frozen=True, eq=False)
class Case:
    """One kernel on tensors of one size and type."""

    kernel: str
    size: str
    dtype: str
    bytes_moved: int
    "At least: every tensor that it takes or returns, once."
    ours: Callable[[], Any]
    torch: Callable[[], Any] | None
    "The same in torch, as fast as it has it."


def cases(device: str, reduction: int = 1) -> Iterator[Case]:
    """One after the other, so that one's tensors go before the next one's come.

    reduction: sides of maps are divided by it, for tests.
    """
    side, half = 512 // reduction, torch.float16
    for dtype in (torch.float32, half, torch.bfloat16):
        for together in (False, True):
            yield _grid_sample_2d((8, 64, side, side), dtype, device, together)
    yield _grid_sample_2d((1, 256, side // 8, side // 8), half, device, together=True)
    for dtype in (torch.float32, half):
        for together in (False, True):
            yield _grid_sample_3d((2, 32, side // 8, side // 4, side // 4), dtype, device, together)
    for dtype in (torch.float32, half):
        yield _affine_sample((16, 512, side // 8, side // 8), dtype, device)
    yield _affine_sample((1, 512, side // 8, side // 8), half, device)
    for batch, together in ((1, False), (1, True), (16, False), (16, True)):
        yield _dense_motion((batch, 256, side // 8, side // 8), half, device, together)
    for batch in (1, 16):
        yield _mesh_warp(batch, side, device)
        yield _color_convert(batch, 2 * side, 4 * side, device)
        yield _paste_back(batch, 2 * side, 4 * side, side, device)


def _grid_sample_2d(shape: tuple[int, ...], dtype: torch.dtype, device: str, together: bool) -> Case:
    batch, _, height, width = shape
    maps, grid = _maps(shape, dtype, device, together), _grid(batch, (height, width), device)
    # torch wants the grid in the maps' type.
    own_grid = grid.to(dtype)
    return Case(
        "grid_sample_2d",
        _size(shape, together),
        _name(dtype),
        _bytes(maps, grid, maps),
        lambda: grid_sample_2d(maps, grid),
        lambda: functional.grid_sample(maps, own_grid, align_corners=False),
    )


def _grid_sample_3d(shape: tuple[int, ...], dtype: torch.dtype, device: str, together: bool) -> Case:
    maps, grid = _maps(shape, dtype, device, together), _grid(shape[0], shape[2:], device)
    own_grid = grid.to(dtype)
    return Case(
        "grid_sample_3d",
        _size(shape, together),
        _name(dtype),
        _bytes(maps, grid, maps),
        lambda: grid_sample_3d(maps, grid),
        lambda: functional.grid_sample(maps, own_grid, align_corners=False),
    )


def _affine_sample(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> Case:
    maps = _maps(shape, dtype, device, together=False)
    parts = torch.rand((*shape[:2], 4), generator=torch.Generator().manual_seed(1)).to(device)
    transforms = ChannelTransforms(0.8 + 0.4 * parts[..., 0], parts[..., 1] - 0.5, 0.4 * parts[..., 2:] - 0.2)
    return Case(
        "affine_sample",
        _size(shape, False),
        _name(dtype),
        _bytes(maps, *transforms, maps),
        lambda: affine_sample(maps, *transforms),
        lambda: transform_channels(maps, transforms),
    )


def _dense_motion(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str, together: bool) -> Case:
    batch, _, height, width = shape
    draw = torch.Generator().manual_seed(2)
    maps = _maps(shape, dtype, device, together)
    masks, occlusion = (
        torch.randn((batch, count, height, width), generator=draw).to(device, dtype) for count in (KEYPOINTS + 1, 1)
    )
    from_points, points = (torch.rand((batch, KEYPOINTS, 2), generator=draw).to(device) * 2 - 1 for _ in range(2))
    matrices = (torch.eye(2) + 0.1 * torch.randn((batch, KEYPOINTS, 2, 2), generator=draw)).to(device)

    def by_torch() -> Tensor:
        motions = sparse_motions(from_points, points, matrices, height, width)
        flow = (torch.softmax(masks.float(), dim=1)[..., None] * motions).sum(1)
        return sample(maps, flow) * resized(torch.sigmoid(occlusion), maps.shape[-2:])

    return Case(
        "dense_motion",
        _size(shape, together),
        _name(dtype),
        _bytes(maps, masks, occlusion, from_points, points, matrices, maps),
        lambda: dense_motion(maps, masks, occlusion, from_points, points, matrices),
        by_torch,
    )


def _mesh_warp(batch: int, side: int, device: str) -> Case:
    """A mesh of about as many triangles as a face's, on four 8-bit channels."""
    count = 22
    y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
    corner = (count * y[:-1, :-1] + x[:-1, :-1]).flatten()
    upper = torch.stack((corner, corner + 1, corner + count), dim=1)
    triangles = torch.cat((upper, torch.stack((corner + 1, corner + count + 1, corner + count), dim=1)))
    triangles = triangles.to(device, torch.int32)
    points = torch.stack((x, y), dim=-1).view(1, -1, 2) * (side / (count - 1))
    shifts = torch.randn((batch, count**2, 2), generator=torch.Generator().manual_seed(3)) * side / 200
    vertices, source = (points + shifts).to(device), (points - 0.5).expand(batch, -1, -1).to(device)
    picture = torch.randint(0, 256, (batch, side, side, 4), dtype=torch.uint8).to(device).permute(0, 3, 1, 2)
    # Beside the pictures: the triangle shown, which both passes touch, and the place.
    passes = batch * side**2 * (4 * 4 + 8)
    return Case(
        "mesh_warp",
        _size(tuple(picture.shape), True),
        _name(picture.dtype),
        _bytes(picture, picture, vertices, triangles, source) + passes,
        lambda: mesh_warp(picture, vertices, triangles, source, (side, side)),
        None,
    )


def _color_convert(batch: int, height: int, width: int, device: str) -> Case:
    frames = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8).to(device)
    return Case(
        "color_convert",
        _size(tuple(frames.shape), False),
        _name(frames.dtype),
        _bytes(frames) * 3 // 2,
        lambda: color_convert(frames),
        lambda: color_convert_reference(frames),
    )


def _paste_back(batch: int, height: int, width: int, side: int, device: str) -> Case:
    pictures = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8).to(device)
    heads = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8).to(device)
    crops = torch.tensor([[width // 4, height // 8, side + side // 4]], dtype=torch.int32).repeat(batch, 1).to(device)
    return Case(
        "paste_back",
        _size(tuple(pictures.shape), False),
        _name(pictures.dtype),
        _bytes(pictures, heads, crops, pictures),
        lambda: paste_back(pictures, heads, crops),
        None,
    )


def copy_bandwidth(device: str) -> float:
    """Bytes per second, read and written, of a copy of a gibibyte."""
    given = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    taken = torch.empty_like(given)
    return 2 * COPY_BYTES / seconds(lambda: taken.copy_(given))


def seconds(work: Callable[[], Any]) -> float:
    """The median duration of work on the current GPU, without what it costs to start it."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):  # compiles, and lets torch choose its algorithms
            work()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(IN_A_GRAPH):
            work()
    graph.replay()
    torch.cuda.synchronize()
    durations: list[float] = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        durations.append(begin.elapsed_time(end) / IN_A_GRAPH / 1e3)
    return median(durations)


@torch.no_grad()
def measure(device: str = "cuda") -> dict[str, Any]:
    """All figures of the GPU. Raises KernelsUnavailableError."""
    if not torch.cuda.is_available():
        raise KernelsUnavailableError("torch finds no NVIDIA GPU: there is nothing to measure")
    launcher_of(torch.empty(0, device=device))
    import cupy

    copy = copy_bandwidth(device)
    rows = []
    for case in track(cases(device), description="kernels", console=Console(stderr=True)):
        ours = seconds(case.ours)
        theirs = None if case.torch is None else seconds(case.torch)
        rows.append(
            {
                "kernel": case.kernel,
                "size": case.size,
                "dtype": case.dtype,
                "bytes": case.bytes_moved,
                "microseconds": 1e6 * ours,
                "gb_per_s": case.bytes_moved / ours / 1e9,
                "of_copy": case.bytes_moved / ours / copy,
                "torch_microseconds": None if theirs is None else 1e6 * theirs,
                "torch_over_ours": None if theirs is None else theirs / ours,
            }
        )
    return {
        "gpu": torch.cuda.get_device_name(device),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        "cuda": {"driver": cupy.cuda.runtime.driverGetVersion(), "torch": torch.version.cuda},
        "packages": {name: version(name) for name in ("torch", "cupy-cuda13x", "nvidia-cuda-nvrtc")},
        "copy_gb_per_s": copy / 1e9,
        "kernels": rows,
    }


def table(figures: dict[str, Any]) -> Table:
    """What `measure` returned."""
    shown = Table(title=f"{figures['gpu']}: copy {figures['copy_gb_per_s']:.0f} GB/s")
    for column in ("kernel", "size", "type"):
        shown.add_column(column)
    for column in ("µs", "GB/s", "of copy", "torch"):
        shown.add_column(column, justify="right")
    for row in figures["kernels"]:
        ratio = row["torch_over_ours"]
        shown.add_row(
            *(row["kernel"], row["size"], row["dtype"], f"{row['microseconds']:.1f}", f"{row['gb_per_s']:.0f}"),
            *(f"{row['of_copy']:.0%}", "" if ratio is None else f"{ratio:.1f}x"),
        )
    return shown


def _maps(shape: tuple[int, ...], dtype: torch.dtype, device: str, together: bool) -> Tensor:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    if not together:
        return maps
    return maps.to(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)


def _grid(batch: int, size: tuple[int, ...], device: str) -> Tensor:
    """The identity, turned a little and shifted by noise: neighbours look at neighbours, as in a flow."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij")
    grid = torch.stack(axes[::-1], dim=-1)
    x, y = grid[..., 0].clone(), grid[..., 1].clone()
    grid[..., 0], grid[..., 1] = 0.98 * x - 0.17 * y, 0.17 * x + 0.98 * y
    noise = torch.randn((batch, *grid.shape), generator=torch.Generator().manual_seed(1)) / max(size)
    return (grid + noise).to(device)


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _size(shape: tuple[int, ...], together: bool) -> str:
    return "x".join(map(str, shape)) + (" channels last" if together else "")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=RESULT, help="where the figures go, as JSON")
    arguments = parser.parse_args()
    try:
        figures = measure()
    except KernelsUnavailableError as error:
        sys.exit(str(error))
    write_result(arguments.result, command_line(), figures)
    Console().print(table(figures))


if __name__ == "__main__":
    main()
