"""A generator's networks as ONNX files: what is written, and what is not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.export import DEFAULT_TOLERANCE, Exported, ExportError, Tolerance, export_network

onnx = pytest.importorskip("onnx", reason="export needs onnx (extra: train)")
torch = pytest.importorskip("torch", reason="export needs torch (extra: train)")
pytest.importorskip("onnxscript", reason="export needs onnxscript (extra: train)")

FRAMES = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)


def export_encoder(generator: Any, tolerance: Tolerance = DEFAULT_TOLERANCE) -> Exported:
    spec = generator.network_specs()["encode"]
    module = generator.torch_module("encode")
    return export_network(module, spec, [{"frame": FRAMES}], generator.graph_path("encode"), tolerance)


def constant_types(path: Path) -> set[int]:
    """Of the constants that are large."""
    return {constant.data_type for constant in onnx.load(path).graph.initializer if np.prod(constant.dims) >= 256}


def test_each_half_becomes_one_file_that_agrees_with_torch(exported_generator: Any) -> None:
    generator, written = exported_generator
    assert {half: entry.path for half, entry in written.items()} == {
        half: generator.graph_path(half) for half in ("encode", "render")
    }
    assert sorted(path.name for path in generator.folder.iterdir()) == ["encode_32.onnx", "render_32.onnx"]
    for deviations in written["render"].deviations.values():
        assert deviations["moved"].largest <= 1
        assert deviations["moved"].mean < 0.01
    for deviations in written["encode"].deviations.values():
        assert deviations["features"].largest < 1e-5


def test_graph_is_for_any_batch_and_any_number_of_sources(exported_generator: Any) -> None:
    generator, _ = exported_generator
    model = onnx.load(generator.graph_path("render"))
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [20]
    shapes = {
        entry.name: [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
        for entry in model.graph.input
    }
    assert shapes == {
        "frame": ["batch", 32, 32, 3],
        "features": ["batch", "sources", 8, 16, 16],
        "grid": ["batch", 16, 16, 2],
    }


def test_weights_that_float16_represents_are_stored_so(exported_generator: Any, small_generator: Any) -> None:
    generator, _ = exported_generator
    assert constant_types(generator.graph_path("encode")) == {onnx.TensorProto.FLOAT16}
    assert constant_types(generator.graph_path("render")) == {onnx.TensorProto.FLOAT16}
    for parameter in small_generator.modules["encode"].parameters():
        parameter.data += 1e-5
    path = export_encoder(small_generator).path
    assert constant_types(path) == {onnx.TensorProto.FLOAT}
    weights = small_generator.modules["encode"].conv.weight.numel()
    assert path.stat().st_size - generator.graph_path("encode").stat().st_size == pytest.approx(2 * weights, rel=0.2)


def test_file_does_not_say_where_it_was_made(exported_generator: Any) -> None:
    generator, _ = exported_generator
    for half in ("encode", "render"):
        content = generator.graph_path(half).read_bytes()
        assert b".py" not in content
        assert str(Path.cwd()).encode() not in content


def test_network_that_differs_from_torch_is_not_written(exported_generator: Any, small_generator: Any) -> None:
    of_before = exported_generator[0].graph_path("encode")
    small_generator.folder.mkdir()
    shutil.copy(of_before, small_generator.folder)
    with pytest.raises(ExportError, match=r"encode_32\.onnx in \w+: output features differs from torch by"):
        export_encoder(small_generator, Tolerance(relative=-1.0))
    assert [path.name for path in small_generator.folder.iterdir()] == ["encode_32.onnx"]
    assert small_generator.graph_path("encode").read_bytes() == of_before.read_bytes()


def test_network_whose_results_are_not_numbers_is_not_written(small_generator: Any) -> None:
    small_generator.modules["encode"].conv.bias.data[0] = float("nan")
    with pytest.raises(ExportError, match="nan"):
        export_encoder(small_generator)
    assert list(small_generator.folder.iterdir()) == []


def test_network_that_torch_cannot_export_says_so(small_generator: Any) -> None:
    class DependsOnItsData(torch.nn.Module):
        def forward(self, frame: torch.Tensor) -> torch.Tensor:
            return frame.float() if frame.float().mean() > 1 else frame.float() + 1

    small_generator.modules["encode"] = DependsOnItsData()
    with pytest.raises(ExportError, match="torch cannot export this network"):
        export_encoder(small_generator)
    assert not small_generator.folder.exists()
