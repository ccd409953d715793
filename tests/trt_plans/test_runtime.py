"""What a machine without a GPU, or without TensorRT, says; and what one with both renders."""

from __future__ import annotations

import subprocess
import sys
import types

import numpy as np
import pytest

from engine.runtime import RuntimeConfig, RuntimeUnavailableError
from trt_plans import runtime as runtime_module
from trt_plans import tensorrt_package
from trt_plans.device import Gpu, find_gpu
from trt_plans.runtime import Machine, TensorRTRuntime
from trt_plans.tensorrt_package import load_tensorrt


def has_gpu() -> bool:
    try:
        find_gpu()
    except RuntimeUnavailableError:
        return False
    return True


@pytest.fixture(autouse=True)
def nothing_was_said_yet():
    runtime_module._say_once.cache_clear()


without_gpu = pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")


@pytest.fixture
def portrait():
    """The inputs of its first half, and what torch makes of them."""
    torch = pytest.importorskip("torch", reason="the reference is torch's (extra: torch)")
    from engine.generators.neural import torch_network
    from engine.generators.portrait import PortraitGenerator

    torch.set_num_threads(1)
    generator = PortraitGenerator(256)
    spec = generator.network_specs()["encode"]
    random = np.random.default_rng(0)
    inputs = {entry.name: random.integers(0, 256, (1, *entry.shape), np.uint8) for entry in spec.inputs}
    return generator, spec, inputs, torch_network(generator.torch_module("encode"), spec)(inputs)


def assert_torch_runs(runtime, portrait):
    generator, spec, inputs, wanted = portrait
    found = runtime.network(generator, "encode", spec)(inputs)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-3)


@without_gpu
def test_machine_without_a_gpu_falls_back_to_torch_with_one_line(portrait, caplog):
    runtime = TensorRTRuntime()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "NVIDIA" in record.message
    assert record.message.endswith("; torch runs the networks instead")
    assert "\n" not in record.message
    caplog.clear()
    TensorRTRuntime()  # says nothing new
    assert_torch_runs(runtime, portrait)
    assert not caplog.records


@pytest.mark.parametrize(
    ("package", "words"),
    [(None, "TensorRT is not installed"), (types.SimpleNamespace(__version__="8.6.1"), "TensorRT 8.6 is installed")],
    ids=["missing", "wrong"],
)
def test_tensorrt_that_is_missing_or_wrong_falls_back_to_torch_with_one_line(
    package, words, portrait, caplog, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    monkeypatch.setattr("trt_plans.runtime.find_gpu", lambda: Gpu("NVIDIA Example 1", (9, 0), 13000))
    runtime = TensorRTRuntime(RuntimeConfig(threads=1))
    (record,) = caplog.records
    assert words in record.message
    assert "pip install 'visavis[tensorrt]'" in record.message
    assert record.message.endswith("; torch runs the networks instead")
    assert_torch_runs(runtime, portrait)
    assert len(caplog.records) == 1


def test_without_torch_too_there_is_no_such_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'visavis\[torch\]'"):
        TensorRTRuntime()


def test_plan_that_cannot_be_built_falls_back_to_torch_with_one_line(portrait, caplog, monkeypatch, tmp_path):
    """On a GPU that is older than the kernels: refused before TensorRT is asked."""
    pytest.importorskip("onnx", reason="plans are made of ONNX files (extra: export)")
    monkeypatch.setenv("VISAVIS_PLANS", str(tmp_path))
    machine = Machine(Gpu("NVIDIA Old", (6, 1), 13000), types.SimpleNamespace(__version__="11.4.0.106"))
    monkeypatch.setattr("trt_plans.runtime.find_machine", lambda: machine)
    generator = portrait[0]
    TensorRTRuntime(RuntimeConfig(threads=1)).network(generator, "render", generator.network_specs()["render"])
    (record,) = caplog.records
    assert record.message.endswith("; torch runs this network instead")
    assert "older than our kernels" in record.message or "NVRTC" in record.message


def test_missing_package_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(RuntimeUnavailableError, match=r"TensorRT is not installed .*pip install 'visavis\[tensorrt\]'"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["8.6.1", "10.8.0.43", "12.0.0", "", "nightly"])
def test_version_that_we_do_not_know_is_refused(monkeypatch, version):
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(__version__=version))
    with pytest.raises(RuntimeUnavailableError, match=r"wanted: at least 10\.9 and below 12"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["10.9.0.34", "10.16.1.11", "11.4.0.106"])
def test_version_that_we_know_is_taken(monkeypatch, version):
    package = types.SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    assert load_tensorrt() is package


def test_nothing_heavy_is_imported_to_find_out():
    code = "import sys, trt_plans.runtime; print(*{'torch', 'onnx', 'tensorrt', 'cupy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == ""


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not has_gpu(), reason="no NVIDIA GPU")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("half", ["encode", "render"])
def test_portrait_as_a_plan_renders_what_torch_renders(half, tmp_path):
    """Builds, caches, loads and runs for real; the second half has plugins."""
    pytest.importorskip("tensorrt", reason="no TensorRT (extra: tensorrt)")
    from engine.generators.neural import torch_network
    from engine.generators.portrait import PortraitGenerator
    from trt_plans.cache import PlanCache
    from trt_plans.network import prepare_half
    from trt_plans.store import PlanStore

    assert tensorrt_package.load_tensorrt()
    generator = PortraitGenerator(256)
    spec = generator.network_specs()[half]
    random = np.random.default_rng(0)
    inputs = {}
    for entry in spec.inputs:
        shape = (3, *(2 if isinstance(length, str) else length for length in entry.shape))
        values = random.integers(0, 256, shape) if entry.dtype == np.uint8 else random.uniform(-1, 1, shape)
        inputs[entry.name] = values.astype(entry.dtype)
    store = PlanStore(load_tensorrt(), find_gpu(), PlanCache(tmp_path))
    ready = prepare_half(generator, half, "fp16")
    built = store.plan(ready)
    built.verify(torch_network(generator.torch_module(half), spec), [inputs, {k: v[:1] for k, v in inputs.items()}])
    again = store.existing(ready)
    assert again is not None
    assert again.verified is not None
    with built.runner as first, again.runner as second:
        for name, value in first.run(inputs).items():
            np.testing.assert_array_equal(second.run(inputs)[name], value)
