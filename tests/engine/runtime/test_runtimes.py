"""Every runtime makes the same frames; what is missing or damaged is said in one sentence."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.generators.base import Generator, GeneratorError, Identity, Tensors
from engine.motion import FaceState
from engine.runtime import Compiled, RuntimeConfig, RuntimeUnavailableError, load_runtime, runtime_names
from engine.runtime.auto_runtime import PREFERENCE, AutoRuntime
from engine.runtime.network_runtime import GraphError
from engine.runtime.numpy_runtime import NumpyRuntime

GRAPH_RUNTIMES = ("onnxruntime", "openvino")
LANDMARKS = np.zeros((1, 478, 3), np.float32)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here `auto` is what it is without one; tests/engine/runtime/test_cuda_runtime.py is about the other case."""
    monkeypatch.setattr("engine.runtime.cuda_runtime._driver_finds_gpu", lambda: False)


def compiled(name: str, generator: Any) -> Compiled:
    package = name.partition(":")[0]
    if package in (*GRAPH_RUNTIMES, "torch"):
        pytest.importorskip(package, reason=f"needs {package}")
    return load_runtime(name).compile(generator)


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def render_all(halves: Compiled, generator: Any) -> list[np.ndarray]:
    """One source, two sources, and a batch of two."""
    one, other = (halves.encode(frames(1, seed), LANDMARKS) for seed in (0, 1))
    pair = halves.encode(frames(2), LANDMARKS)
    batch = {"grid": np.concatenate([generator.at((0.1, 0.0))["grid"], generator.at((0.0, -0.3))["grid"]])}
    return [
        *(halves.render(one, generator.at((0.1 * k, 0.3))) for k in range(3)),
        halves.render(generator.merge([one, other]), generator.at((-0.2, 0.1))),
        halves.render(pair, batch),
    ]


class Plain(Generator):
    """No network: the frame, brighter by the motion."""

    name = "plain"
    sizes = (32,)
    expensive_half = "render"

    def encode(self, frames: np.ndarray, landmarks: np.ndarray) -> Identity:
        return {"frame": frames}

    def motion(self, person: Any, driving: FaceState) -> Tensors:
        return {"by": np.zeros((1, 1, 1, 1), np.uint8)}

    def render(self, identity: Identity, motion: Tensors) -> np.ndarray:
        return identity["frame"] + motion["by"]


@pytest.mark.parametrize("name", [*GRAPH_RUNTIMES, "torch", "auto"])
@pytest.mark.parametrize("threads", ["", ":1", ":2"])
def test_frames_agree_with_torch(exported_generator: Any, name: str, threads: str) -> None:
    generator, _ = exported_generator
    expected = render_all(Compiled(generator.encode, generator.render), generator)
    rendered = render_all(compiled(name + threads, generator), generator)
    for frame, wanted in zip(rendered, expected, strict=True):
        assert frame.dtype == np.uint8
        assert frame.shape == wanted.shape
        difference = np.abs(frame.astype(int) - wanted)
        assert difference.max() <= 1  # where the value before rounding is half way
        assert difference.mean() < 0.01
    moved = np.abs(expected[0].astype(int) - expected[2])
    assert moved.mean() > 1  # else the agreement would say nothing about the motion


@pytest.mark.parametrize("name", [*GRAPH_RUNTIMES, "torch"])
def test_several_threads_render_at_once(exported_generator: Any, name: str) -> None:
    pytest.importorskip(name, reason=f"needs {name}")
    generator, _ = exported_generator
    halves = load_runtime(name, at_once=3).compile(generator)
    identity = halves.encode(frames(1), LANDMARKS)
    motions = [generator.at((0.01 * k, 0.2)) for k in range(40)]
    expected = [halves.render(identity, motion) for motion in motions]
    with ThreadPoolExecutor(3) as pool:
        for frame, wanted in zip(pool.map(partial(halves.render, identity), motions), expected, strict=True):
            np.testing.assert_array_equal(frame, wanted)


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_rendered_frame_is_the_callers_to_keep(exported_generator: Any, name: str) -> None:
    generator, _ = exported_generator
    halves = compiled(name, generator)
    identity = halves.encode(frames(1), LANDMARKS)
    first = halves.render(identity, generator.at((0.0, 0.0)))
    kept = first.copy()
    second = halves.render(identity, generator.at((0.5, 0.5)))
    assert (second != kept).any()
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writable


@pytest.mark.parametrize("name", ["auto", "numpy", "onnxruntime", "openvino", "torch"])
def test_generator_without_networks_passes_through(name: str) -> None:
    generator = Plain(32)
    halves = compiled(name, generator)
    identity = halves.encode(frames(1), LANDMARKS)
    rendered = halves.render(identity, {"by": np.full((1, 1, 1, 1), 3, np.uint8)})
    np.testing.assert_array_equal(rendered, frames(1) + np.uint8(3))


def test_numpy_refuses_networks(small_generator: Any) -> None:
    with pytest.raises(RuntimeUnavailableError, match="generator small has some; use runtime auto"):
        NumpyRuntime().compile(small_generator)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("onnxruntime", "pip install onnxruntime"),
        ("openvino", "pip install openvino"),
        ("torch", r"pip install 'visavis\[torch\]'"),
    ],
)
def test_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str, way_out: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    with pytest.raises(RuntimeUnavailableError, match=way_out):
        load_runtime(name)


def test_auto_takes_the_next_that_is_installed(exported_generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, _ = exported_generator
    for kind in PREFERENCE[:-1]:
        monkeypatch.setitem(sys.modules, kind.name, None)
    halves = AutoRuntime().compile(generator)
    expected = generator.render(generator.encode(frames(1), LANDMARKS), generator.at((0.0, 0.0)))
    rendered = halves.render(halves.encode(frames(1), LANDMARKS), generator.at((0.0, 0.0)))
    assert np.abs(rendered.astype(int) - expected).max() <= 1


def test_auto_without_any_names_the_best(small_generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in PREFERENCE:
        monkeypatch.setitem(sys.modules, kind.name, None)
    with pytest.raises(RuntimeUnavailableError, match=f"pip install {PREFERENCE[0].name}"):
        AutoRuntime().compile(small_generator)
    AutoRuntime().compile(Plain(32))  # needs none


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
@pytest.mark.parametrize("damage", ["empty", "noise", "cut"])
def test_damaged_file_is_named(
    exported_generator: Any, small_generator: Any, tmp_path: Path, name: str, damage: str
) -> None:
    intact = exported_generator[0].graph_path("render").read_bytes()
    content = {"empty": b"", "noise": bytes(range(256)) * 20, "cut": intact[: len(intact) // 2]}[damage]
    small_generator.folder.mkdir()
    small_generator.graph_path("encode").write_bytes(exported_generator[0].graph_path("encode").read_bytes())
    small_generator.graph_path("render").write_bytes(content)
    with pytest.raises(GraphError, match=r"render_32\.onnx: .*visavis export") as caught:
        compiled(name, small_generator)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_file_of_another_version_of_the_network_is_refused(
    exported_generator: Any, small_generator: Any, name: str
) -> None:
    small_generator.folder.mkdir()
    for half in ("encode", "render"):
        content = exported_generator[0].graph_path("encode").read_bytes()
        small_generator.graph_path(half).write_bytes(content)
    with pytest.raises(GraphError, match=r"its inputs are frame uint8 \[32, 32, 3\], those of this version"):
        compiled(name, small_generator)


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_missing_file_is_the_generators_own_error(
    small_generator: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def missing(half: str) -> Path:
        raise GeneratorError("not exported; visavis export")

    monkeypatch.setattr(small_generator, "graph_path", missing)
    with pytest.raises(GeneratorError, match="visavis export"):
        compiled(name, small_generator)


SIGNAL_AFTER_RUNTIMES = """
import os, signal, sys
from engine.generators import load_generator
from engine.runtime import load_runtime

caught = []
signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
generator = load_generator("portrait", 256)
one = load_runtime(sys.argv[1]).compile(generator)
other = load_runtime(sys.argv[1]).compile(generator)
del one
del other
os.kill(os.getpid(), signal.SIGUSR1)
assert caught == [signal.SIGUSR1]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_signals_still_arrive_when_the_runtimes_are_gone(name: str) -> None:
    pytest.importorskip(name, reason=f"needs {name}")
    subprocess.run([sys.executable, "-c", SIGNAL_AFTER_RUNTIMES, name], check=True, timeout=120)


def test_threads_of_torch_are_those_asked_for() -> None:
    torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")
    before = torch.get_num_threads()
    try:
        load_runtime("torch:1")
        assert torch.get_num_threads() == 1
        load_runtime("torch:2")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_are_as_many_as_cores_but_four_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (2, 2), (4, 4), (64, 4)):
        monkeypatch.setattr("engine.runtime.base._usable_cores", lambda cores=cores: cores)
        assert RuntimeConfig().thread_count() == threads
    assert RuntimeConfig(threads=7).thread_count() == 7
    assert RuntimeConfig(threads=4, at_once=3).threads_each() == 1
    assert RuntimeConfig(threads=4, at_once=2).threads_each() == 2
    with pytest.raises(ValueError, match="at least one frame"):
        RuntimeConfig(at_once=0)


def test_names_that_are_no_runtime() -> None:
    assert {"auto", "numpy", "onnxruntime", "openvino", "torch"} <= set(runtime_names())
    with pytest.raises(RuntimeUnavailableError, match=r"no runtime is called .abacus.; there are: auto, .*numpy"):
        load_runtime("abacus")
    with pytest.raises(ValueError, match="number of threads, as in auto:2"):
        load_runtime("auto:many")
    with pytest.raises(ValueError, match="at least one thread"):
        load_runtime("auto:0")
