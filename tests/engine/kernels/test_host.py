import numpy as np
import pytest
import torch

from engine.kernels import host as on_host
from engine.kernels.host import HostLauncher, NoCompilerError
from engine.kernels.launch import LaunchShape

ONE_BLOCK = LaunchShape((1, 1, 1), (256, 1, 1))
CONVERSIONS = """
extern "C" __global__ void widen_all(const SCALAR* given, float* wide, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        wide[i] = widened(given[i]);
    }
}
extern "C" __global__ void narrow_all(const float* wide, SCALAR* narrowed, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        store(narrowed + i, wide[i]);
    }
}
"""
BARRIER = """
extern "C" __global__ void reversed_sums(const int* in, int* out) {
    __shared__ int held[256];
    const int i = threadIdx.x, last = blockDim.x - 1;
    held[i] = in[blockIdx.x * blockDim.x + i];
    __syncthreads();
    const int sum = held[last - i] + held[i];
    __syncthreads();
    held[i] = sum * 10;
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = held[(i + 1) % blockDim.x] + i;
}
"""


@pytest.fixture
def with_source(monkeypatch):
    """Compiles a text as if it were a kernel's."""

    def compiled(text, backwards=False):
        header = (on_host.FOLDER / "scalars.cuh").read_text().replace("#pragma once", "")
        entries = [line.split("void ")[1].split("(")[0] for line in text.splitlines() if "__global__ void" in line]
        monkeypatch.setattr(on_host, "kernel_source", lambda kernel: header + text)
        monkeypatch.setattr(on_host, "entry_points", lambda kernel: tuple(entries))
        monkeypatch.setattr(on_host, "check_scalar", lambda kernel, scalar: None)
        try:
            return HostLauncher(backwards=backwards)
        except NoCompilerError as error:
            pytest.skip(str(error))

    return compiled


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_narrow_numbers_are_those_of_torch(with_source, dtype):
    launcher, scalar = with_source(CONVERSIONS), str(dtype).removeprefix("torch.")
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    wide = torch.empty(2**16)
    launcher.launch("conversions", "widen_all", scalar, ONE_BLOCK, [every, wide, np.int32(2**16)])
    torch.testing.assert_close(wide, every.float(), rtol=0, atol=0, equal_nan=True)

    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(0)).int()
    # Every number half way between two neighbours, and those beside it.
    middle = every.float().view(torch.int32) + (0x1000 if dtype == torch.float16 else 0x8000)
    near_zero = torch.linspace(-1e-6, 1e-6, 40_001)
    numbers = torch.cat([part.view(torch.float32) for part in (bits, middle - 1, middle, middle + 1)] + [near_zero])
    narrow = torch.empty(len(numbers), dtype=dtype)
    launcher.launch("conversions", "narrow_all", scalar, ONE_BLOCK, [numbers, narrow, np.int32(len(numbers))])
    torch.testing.assert_close(narrow, numbers.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_levels_are_rounded_and_limited(with_source):
    values = torch.tensor([-3.0, 0.49, 0.51, 254.6, 300.0, float("nan"), float("inf")])
    levels = torch.empty(7, dtype=torch.uint8)
    with_source(CONVERSIONS).launch("conversions", "narrow_all", "uint8", ONE_BLOCK, [values, levels, np.int32(7)])
    assert levels.tolist() == [0, 0, 1, 255, 255, 0, 255]


@pytest.mark.parametrize("backwards", [False, True])
def test_threads_of_a_block_wait_for_each_other(with_source, backwards):
    given = torch.arange(3 * 200, dtype=torch.int32)
    result = torch.empty_like(given)
    shape = LaunchShape((3, 1, 1), (200, 1, 1))
    with_source(BARRIER, backwards).launch("barrier", "reversed_sums", "float32", shape, [given, result])
    blocks = given.view(3, 200)
    expected = ((blocks + blocks.flip(1)) * 10).roll(-1, 1) + torch.arange(200, dtype=torch.int32)
    assert torch.equal(result.view(3, 200), expected)


def test_source_that_is_refused_comes_with_the_compilers_words(with_source):
    with pytest.raises(RuntimeError, match=r"(?s)wrong.cu does not compile.*missing"):
        with_source('extern "C" __global__ void k() { missing(); }').launch("wrong", "k", "float32", ONE_BLOCK, [])


def test_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(on_host.shutil, "which", lambda name: None)
    with pytest.raises(NoCompilerError, match="install g\\+\\+"):
        HostLauncher()
