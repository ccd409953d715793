import builtins
import gc

import numpy as np
import pytest
import torch

from engine.kernels import launch
from engine.kernels.color_convert import color_convert
from engine.kernels.grid_sample_2d import grid_sample_2d
from engine.kernels.launch import KernelsUnavailableError, launcher_of, sizes, strides


def test_tensors_on_the_processor_need_no_launcher():
    assert launcher_of(torch.zeros(1), None, torch.zeros(2)) is None


def test_devices_are_not_mixed_and_others_are_refused():
    with pytest.raises(ValueError, match="several devices: cpu, meta"):
        launcher_of(torch.zeros(1), torch.zeros(1, device="meta"))
    with pytest.raises(ValueError, match="run on CUDA devices; these tensors are on meta"):
        launcher_of(torch.zeros(1, device="meta"))


def test_missing_package_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_cupy(name, *arguments, **options):
        if name == "cupy":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_cupy)
    launch._cupy.cache_clear()
    with pytest.raises(KernelsUnavailableError, match="pip install 'visavis\\[gpu\\]'"):
        launch._cupy()


def test_missing_gpu_is_said():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'visavis[gpu]'")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    launch._cupy.cache_clear()
    with pytest.raises(KernelsUnavailableError, match=r"no GPU.*nvidia-smi"):
        launch._cupy()


def test_arguments_have_the_kernels_types():
    assert [type(size) for size in sizes(1, 2)] == [np.int32, np.int32]
    assert strides(torch.zeros(2, 3, 4), but=1) == [12, 1]
    with pytest.raises(ValueError, match="at most 2\\^31 - 1025"):
        sizes(3, 2**31 - 1024)


@pytest.mark.gpu
def test_kernels_run_on_torchs_stream(gpu):
    """A long wait before the input is written: a kernel on another stream would come too early."""
    stream, grid = torch.cuda.Stream(), torch.zeros(1, 1, 1, 2, device=gpu)
    maps = torch.zeros(1, 1, 1, 1, device=gpu)
    grid_sample_2d(maps, grid)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        maps.fill_(7.0)
        sampled = grid_sample_2d(maps, grid)
    stream.synchronize()
    assert sampled.item() == 7.0


@pytest.mark.gpu
def test_torchs_stream_outlives_what_ran_on_it(gpu):
    stream, grid = torch.cuda.Stream(), torch.zeros(1, 1, 1, 2, device=gpu)
    for value in range(3):
        with torch.cuda.stream(stream):
            sampled = grid_sample_2d(torch.full((1, 1, 1, 1), float(value), device=gpu), grid)
        gc.collect()
        stream.synchronize()
        assert sampled.item() == value


@pytest.mark.gpu
def test_kernels_are_captured_in_a_graph(gpu):
    frames = torch.zeros(1, 4, 4, 3, dtype=torch.uint8, device=gpu)
    color_convert(frames)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        converted = color_convert(frames)
    frames.fill_(255)
    graph.replay()
    torch.cuda.synchronize()
    assert converted.y.unique().tolist() == [235]


@pytest.mark.gpu
def test_arrays_of_cupy_come_and_go_without_a_copy(gpu):
    import cupy

    maps = cupy.arange(6, dtype=cupy.float32).reshape(1, 1, 2, 3)
    shared = torch.from_dlpack(maps)
    assert shared.data_ptr() == maps.data.ptr
    sampled = grid_sample_2d(shared, torch.zeros(1, 1, 1, 2, device=gpu))
    array = cupy.from_dlpack(sampled)
    assert array.data.ptr == sampled.data_ptr()
    assert float(array[0, 0, 0, 0]) == 2.5


@pytest.mark.gpu
def test_gradients_are_refused(gpu):
    maps = torch.zeros(1, 1, 2, 2, device=gpu, requires_grad=True)
    with pytest.raises(ValueError, match=r"torch\.no_grad"):
        grid_sample_2d(maps, torch.zeros(1, 1, 1, 2, device=gpu))
