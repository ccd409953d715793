from importlib.metadata import PackageNotFoundError, version

import pytest

from engine.kernels import compile as compiling
from engine.kernels.compile import (
    ARCHITECTURES,
    CompileError,
    NvrtcUnavailableError,
    compile_kernel,
    compile_text,
    nvrtc_version,
)
from engine.kernels.source import KERNELS, entry_points


@pytest.fixture(scope="session")
def nvrtc():
    try:
        return nvrtc_version()
    except NvrtcUnavailableError as error:
        pytest.skip(f"kernels are not compiled for GPUs: {error}")


def compiled(kernel, scalar, architecture):
    code = compile_kernel(kernel, scalar, architecture)
    assert code.startswith(b"\x7fELF")
    for entry in entry_points(kernel):
        assert f".text.{entry}\0".encode() in code
    return code


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_source_compiles_for_every_architecture(nvrtc, kernel, architecture):
    """For the last of its scalars: bfloat16 is the one that depends on the architecture."""
    compiled(kernel, KERNELS[kernel][-1], architecture)


@pytest.mark.parametrize(
    ("kernel", "scalar"), [(kernel, scalar) for kernel, scalars in KERNELS.items() for scalar in scalars[:-1]]
)
def test_every_other_scalar_compiles(nvrtc, kernel, scalar):
    compiled(kernel, scalar, "90")


def test_maps_with_channels_together_are_read_16_bytes_at_a_time(nvrtc):
    text = compile_kernel("grid_sample_2d", "float16", "90", "ptx").decode()
    assert "ld.global.nc.v4" in text
    assert "st.global.wb.v4" in text


def test_lookup_fuses_no_double_precision(nvrtc):
    text = compile_kernel("mesh_warp", "uint8", "90", "ptx").decode()
    assert "fma.rn.f64" not in text
    assert "mul.rn.f64" in text


def test_ptx_names_its_target_and_entries(nvrtc):
    text = compile_kernel("affine_sample", "float32", "75", "ptx").decode()
    assert ".target sm_75" in text
    for entry in entry_points("affine_sample"):
        assert f".entry {entry}(" in text


def test_version_is_the_wheels(nvrtc):
    try:
        wheel = version("nvidia-cuda-nvrtc")
    except PackageNotFoundError:
        pytest.skip("NVRTC is here, but not from the wheel nvidia-cuda-nvrtc")
    assert wheel.startswith(f"{nvrtc[0]}.{nvrtc[1]}.")


def test_source_that_is_refused_comes_with_the_compilers_words(nvrtc):
    with pytest.raises(CompileError, match=r"(?s)wrong\.cu with .*-DA=1.*identifier \"b\" is undefined"):
        compile_text("__global__ void k(int* a) { *a = b; }", "wrong.cu", ["-DA=1"], "ptx")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no kernel 'warp'; there are grid_sample_2d"):
        compile_kernel("warp", "float32", "90")
    with pytest.raises(ValueError, match="paste_back: no kernel for float32; it takes uint8"):
        compile_kernel("paste_back", "float32", "90")


def test_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compiling, "_library_path", lambda: None)
    compiling._nvrtc.cache_clear()
    with pytest.raises(NvrtcUnavailableError, match="pip install 'visavis\\[gpu\\]'"):
        nvrtc_version()
    compiling._nvrtc.cache_clear()
