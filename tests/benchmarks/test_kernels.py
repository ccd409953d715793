import sys

import pytest
import torch

from benchmarks import kernels
from benchmarks.kernels import cases, measure, table
from engine.kernels.launch import KernelsUnavailableError
from engine.kernels.source import KERNELS

LARGE = 200 * 2**20
"Bytes: more than a GPU's cache keeps."


def test_every_kernel_is_measured_beside_torchs_way_to_the_same():
    seen = set()
    for case in cases("cpu", reduction=32):
        seen.add(case.kernel)
        assert case.bytes_moved > 0
        if case.torch is None:
            case.ours()
        elif case.kernel != "color_convert":  # whose torch way is our reference
            ours, theirs = case.ours().float(), case.torch().float()
            # In half precision torch wants half coordinates: the same place to a small part of a pixel.
            tolerance = 1e-4 if case.dtype == "float32" else 0.2
            assert (ours - theirs).abs().mean() < tolerance, case
    assert seen == set(KERNELS)


def test_bytes_are_those_of_all_tensors_once():
    first = next(cases("cpu", reduction=32))
    assert first.size == "8x64x16x16"
    assert first.dtype == "float32"
    assert first.bytes_moved == 4 * (8 * 64 * 16 * 16 * 2 + 8 * 16 * 16 * 2)


def test_figures_as_a_table():
    row = {"kernel": "warp", "size": "1x2", "dtype": "float16", "microseconds": 1.5, "gb_per_s": 9.0, "of_copy": 0.5}
    figures = {"gpu": "none", "copy_gb_per_s": 18.0, "kernels": [{**row, "torch_over_ours": None}]}
    assert [list(column.cells) for column in table(figures).columns] == [
        *(["warp"], ["1x2"], ["float16"], ["1.5"], ["9"], ["50%"], [""])
    ]


def test_without_a_gpu_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KernelsUnavailableError, match="no NVIDIA GPU"):
        measure()
    monkeypatch.setattr(sys, "argv", ["kernels"])
    with pytest.raises(SystemExit, match="no NVIDIA GPU"):
        kernels.main()


@pytest.fixture(scope="module")
def figures():
    """Of the GPU that is there."""
    try:
        return measure()
    except KernelsUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.slow
def test_large_maps_are_sampled_faster_than_by_torch(figures):
    sampled = {
        f"{row['kernel']} {row['size']} {row['dtype']}": row
        for row in figures["kernels"]
        if row["bytes"] > LARGE and row["kernel"].startswith("grid_sample")
    }
    assert len(sampled) == 10  # both kernels, types and layouts
    assert {name: row["torch_over_ours"] for name, row in sampled.items() if row["torch_over_ours"] <= 1} == {}


@pytest.mark.gpu
@pytest.mark.slow
def test_every_kernel_is_measured_on_a_gpu(figures):
    assert {row["kernel"] for row in figures["kernels"]} == set(KERNELS)
    assert all(0 < row["of_copy"] < 20 for row in figures["kernels"])
