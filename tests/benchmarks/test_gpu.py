"""The figures of `bench gpu`, from made-up measurements of known answer and from really tiny runs on the processor."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from rich.console import Console  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks import gpu, gpu_timing  # noqa: E402
from benchmarks.gpu_ceilings import Ceilings, Work, as_figures, ceilings, count, shares  # noqa: E402
from benchmarks.gpu_report import plot, sizes_of, tables  # noqa: E402
from benchmarks.gpu_timing import streams, summary, wall_seconds  # noqa: E402
from benchmarks.gpu_variants import REFERENCE, VARIANTS, Variant  # noqa: E402
from benchmarks.networks import GENERATORS, measured, random_weights  # noqa: E402
from engine.generators.warp import WarpGenerator  # noqa: E402
from engine.nets.adaat import AdaATConfig  # noqa: E402
from engine.nets.dagan import DaGANConfig  # noqa: E402
from engine.nets.dense_motion import DenseMotionConfig  # noqa: E402
from engine.nets.first_order import FirstOrderConfig  # noqa: E402
from engine.nets.hourglass import HourglassConfig  # noqa: E402
from engine.nets.iplap import RendererConfig  # noqa: E402
from engine.nets.keypoint_detector import KeypointConfig  # noqa: E402
from engine.nets.lsr import LSRConfig  # noqa: E402
from engine.nets.rhythmic import RhythmicConfig  # noqa: E402
from engine.runtime import RuntimeUnavailableError  # noqa: E402
from visavis.__main__ import main  # noqa: E402

LIMITS = Ceilings(1e9, {"fp32": 1e10, "fp16": 8e10, "bf16": 8e10, "tf32": 4e10})
HOURGLASS = HourglassConfig(width=4, limit=8, blocks=2)
SMALL = FirstOrderConfig(
    detector=KeypointConfig(keypoints=3, hourglass=HOURGLASS),
    motion=DenseMotionConfig(hourglass=HOURGLASS),
    width=4,
    limit=16,
    residual_blocks=1,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_summary_of_made_up_durations() -> None:
    figures = summary([k / 1000 for k in range(101)], batch=4)  # 0 to 100 ms
    assert figures == pytest.approx(
        {"n": 101, "p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "spread": 90 / 50, "fps": 4 / 0.05}
    )


def test_streams_are_whole_calls_within_a_frames_time() -> None:
    by_batch = {1: {"p95_ms": 1.9}, 4: {"p95_ms": 7.0}, 16: {"p95_ms": 21.0}, 32: {"p95_ms": 41.0}}
    assert streams(by_batch) == 21  # 21 calls of 1; 5 of 4 are 20, 1 of 16 is 16, and 32 come too late
    assert streams({8: {"p95_ms": 10.0}}) == 32
    assert streams({8: {"p95_ms": 10.0}}, rate=50) == 16
    assert streams({1: {"p95_ms": 45.0}}) == 0
    assert streams({}) == 0


def test_repeats_are_as_many_as_fit_into_the_time() -> None:
    calls: list[int] = []
    durations = wall_seconds(lambda: calls.append(0), repeats=7)
    assert len(durations) == 7
    assert len(calls) == 7 + 2 + gpu_timing.WARM_UP
    assert gpu_timing._count(0.5, 300, 3.0) == 6
    assert gpu_timing._count(60.0, 300, 3.0) == 1


def test_shares_of_the_ceilings() -> None:
    work = Work(flops=4 * 10**9, least_bytes=10**7, operator_bytes=4 * 10**7)
    # At best 50 ms of arithmetic, 10 ms of memory.
    assert shares(work, 0.1, "fp16", LIMITS) == pytest.approx({"of_matrix": 0.5, "of_copy": 0.4, "of_roofline": 0.5})
    few = Work(flops=10**6, least_bytes=10**7, operator_bytes=2 * 10**7)
    assert shares(few, 0.02, "fp32", LIMITS)["of_roofline"] == pytest.approx(0.5)


def test_work_of_a_known_network_is_counted() -> None:
    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)

        def forward(self, x: Any) -> Any:
            y = self.conv(x).view(2, 8, 100)  # a view moves nothing
            y.relu_()
            return y.sum(2)

    weights, taken, maps, sums = 4 * 8 * 3 * 9, 4 * 2 * 3 * 100, 4 * 2 * 8 * 100, 4 * 2 * 8
    work = count(Known(), [torch.zeros(2, 3, 10, 10)])
    assert work.flops == 2 * (2 * 8 * 100) * (3 * 9)
    assert work.least_bytes == weights + taken + sums
    # Convolution, in place once in and once out, and the sum.
    assert work.operator_bytes == (weights + taken + maps) + 2 * maps + (maps + sums)


def test_ceilings_are_bytes_and_products_by_the_time() -> None:
    took: list[Any] = []

    def half_a_second(work: Any) -> list[float]:
        took.append(work())
        return [0.4, 0.5, 9.0]

    found = ceilings(half_a_second, "cpu", side=64)
    assert found.copy_bytes_per_s == 2 * (1 << 30) * 64 / 8192 / 0.5
    assert set(found.flops_per_s) == {"fp16", "bf16", "fp32", "tf32"}
    assert all(rate == 2 * 64**3 / 0.5 for rate in found.flops_per_s.values())
    assert [tensor.dtype for tensor in took[1:]] == [torch.float16, torch.bfloat16, torch.float32, torch.float32]
    assert as_figures(LIMITS)["copy_gb_per_s"] == 1.0
    assert as_figures(LIMITS)["tflops_per_s"]["fp16"] == 0.08


def test_deviation_is_of_pictures_alone_and_of_every_row() -> None:
    expected = {"frame": np.full((1, 2, 2, 3), 250, np.uint8), "features": np.zeros((1, 4), np.float32)}
    outputs = {"frame": np.full((2, 2, 2, 3), 250, np.uint8), "features": np.ones((2, 4), np.float32)}
    outputs["frame"][1] = 254
    assert gpu.deviation(outputs, expected) == 2.0
    assert gpu.deviation(outputs, {}) is None


def twice(work: Any) -> list[float]:
    """A timer without rehearsals: what is measured here is of no interest."""
    durations = []
    for _ in range(2):
        begin = time.perf_counter()
        work()
        durations.append(time.perf_counter() - begin)
    return durations


@pytest.fixture(scope="module")
def tiny_run() -> dict[str, Any]:
    """A really small network, measured on the processor in all ways that it has: figures as of a GPU."""
    ways = [one for one in VARIANTS if not one.recorded and not one.compiled]
    console = Console(quiet=True)
    torch.set_num_threads(1)
    with measured("fomm", 128, SMALL) as one:
        figures = gpu.measure_generator(one, LIMITS, "cpu", (1, 2), twice, console, True, ways)
        figures["failing"] = gpu.measure_generator(one, LIMITS, "cpu", (1,), twice, console, True, [*ways[:1], NO_WAY])[
            "ways"
        ][NO_WAY.name]
    return figures


NO_WAY = Variant("graph on a processor", "fp32", recorded=True)


def test_a_tiny_network_in_all_ways(tiny_run: dict[str, Any]) -> None:
    assert tiny_run["weights"] == "random"
    ways = tiny_run["ways"]
    assert set(ways) == {"eager fp32", "eager fp16", "host cuda", "host tensorrt"}
    for name in ("eager fp32", "eager fp16"):
        way = ways[name]
        assert set(way["batches"]) == {1, 2}
        for batch, entry in way["batches"].items():
            assert 0 < entry["p50_ms"] <= entry["p95_ms"] <= entry["p99_ms"]
            assert entry["fps"] == pytest.approx(batch / entry["p50_ms"] * 1e3)
            assert entry["of_roofline"] > 0
        assert way["times"][1] == pytest.approx(
            ways["eager fp32"]["batches"][1]["p50_ms"] / way["batches"][1]["p50_ms"]
        )
        one, two = way["batches"][1], way["batches"][2]
        assert two["flops"] == 2 * one["flops"] > 10**6
        assert one["least_bytes"] < two["least_bytes"] < 2 * one["least_bytes"]  # the weights are there once
    assert ways["eager fp32"]["batches"][2]["deviation"] < 0.01
    assert 0 < ways["eager fp16"]["batches"][2]["deviation"] < 2
    half, full = ways["eager fp16"]["batches"][1], ways["eager fp32"]["batches"][1]
    assert half["flops"] == full["flops"]
    assert half["least_bytes"] < full["least_bytes"]
    if not torch.cuda.is_available():
        assert ways["host cuda"]["failed"].startswith(("runtime cuda: no NVIDIA GPU", "no runtime cuda"))


def test_a_way_that_fails_leaves_the_others_their_figures(tiny_run: dict[str, Any]) -> None:
    if torch.cuda.is_available():
        pytest.skip("with a GPU no way fails")
    assert tiny_run["failing"]["failed"]
    assert tiny_run["failing"]["times"] == {}


def figures_of(tiny_run: dict[str, Any]) -> dict[str, Any]:
    generator = {key: value for key, value in tiny_run.items() if key != "failing"}
    return {
        "gpu": {"name": "none"},
        "ceilings": as_figures(LIMITS),
        "rate": 25.0,
        "size": 128,
        "kernels": None,
        "generators": {"fomm": generator, "again": generator},
    }


def test_figures_as_tables_plot_and_json(tiny_run: dict[str, Any], tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="reads the plot by OpenCV")
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra: bench)")
    figures = figures_of(tiny_run)
    first, second = tables(figures)
    assert "fomm 128x128, random weights, none" in str(first.title)
    cells = [list(column.cells) for column in first.columns]
    assert cells[0].count("eager fp16") == 2
    assert cells[1][:2] == ["1", "2"]
    assert second.row_count == first.row_count
    console = Console(record=True, width=200)
    gpu.write(figures, tmp_path / "gpu.json", console)
    assert "copy 1 GB/s" in console.export_text()
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert {"command", "commit", "date", "processor"} <= set(stored["environment"])
    entry = stored["figures"]["generators"]["fomm"]["ways"]["eager fp16"]["batches"]["2"]
    assert {"p50_ms", "p95_ms", "p99_ms", "spread", "fps", "deviation", "flops", "of_copy", "n"} <= set(entry)
    picture = cv2.imread(str(tmp_path / "gpu.png"))
    assert picture is not None
    assert picture.std() > 5
    plot(stored["figures"], tmp_path / "from_json.png")  # whose batch sizes are strings
    assert sizes_of(stored["figures"]["generators"]["fomm"]) == [1, 2]


def test_without_matplotlib_the_figures_are_written_all_the_same(
    tiny_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    console = Console(record=True)
    gpu.write(figures_of(tiny_run), tmp_path / "gpu.json", console)
    assert (tmp_path / "gpu.json").is_file()
    assert "pip install 'visavis[bench]'" in console.export_text()


def test_without_a_gpu_it_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.runtime.cuda_runtime._driver_finds_gpu", lambda: False)
    assert main(["bench", "gpu"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("visavis: bench gpu: no NVIDIA GPU on this machine")
    assert shown.count("\n") == 1
    with pytest.raises(RuntimeUnavailableError, match="there is nothing to measure"):
        gpu.bench_gpu(Console(quiet=True))
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == 1


def test_what_is_compared() -> None:
    assert VARIANTS[0] is REFERENCE
    assert len({one.name for one in VARIANTS}) == len(VARIANTS)
    assert {one.name for one in VARIANTS if one.recorded} >= {"graph fp16", "graph of compile fp16"}
    assert set(GENERATORS) == {"portrait", "adaat", "fomm", "dagan", "iplap", "lsr", "rhythmic"}


def test_installed_weights_are_measured_where_there_are_some() -> None:
    with measured("portrait") as one:
        assert one.weights == "installed"
        assert {array.shape[0] for array in one.inputs.values()} == {1}
        assert {array.shape[0] for array in one.batch(3).values()} == {3}
        assert not isinstance(one.generator, WarpGenerator)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("adaat", AdaATConfig(divisor=32)),
        (
            "dagan",
            DaGANConfig(warp=replace(SMALL, detector=replace(SMALL.detector, channels=4), limit=32)),
        ),
        ("lsr", LSRConfig(size=64, width=2, limit=8, latent=8, hidden=4)),
        ("rhythmic", RhythmicConfig(width=2, references=2)),
    ],
)
def test_random_ones_render_a_face_that_has_turned(name: str, config: Any) -> None:
    with measured(name, 256, config) as one:
        assert one.weights == "random"
        specs = one.generator.network_specs()
        assert set(one.by_half) == set(specs)
        for half, spec in specs.items():
            assert set(one.by_half[half]) == {entry.name for entry in spec.inputs}
            assert all(np.isfinite(array).all() for array in one.by_half[half].values())


def test_of_several_pictures_the_frame_sees_all() -> None:
    with random_weights("iplap", 256, RendererConfig(64, 4, 8, 4, 4, 4, 4), references=3) as one:
        assert one.inputs["pictures"].shape[:2] == (1, 3)
        assert one.by_half["encode"]["picture"].shape[0] == 1


@pytest.mark.gpu
@pytest.mark.slow
def test_a_small_network_in_all_ways_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no NVIDIA GPU")
    with measured("fomm", 128, SMALL) as one:
        limits = ceilings(lambda work: gpu_timing.event_seconds(work, 5), "cuda", side=1024)
        figures = gpu.measure_generator(
            one,
            limits,
            "cuda:0",
            (1, 2),
            lambda work: gpu_timing.event_seconds(work, 20),
            Console(quiet=True),
            gpu._kernels_run("cuda"),
        )
    for variant in VARIANTS:
        assert "failed" not in figures["ways"][variant.name], figures["ways"][variant.name]
    assert "failed" not in figures["ways"]["host cuda"]
