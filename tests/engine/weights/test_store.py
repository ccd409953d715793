"""Where weights and exported networks are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.generators.base import GeneratorError
from engine.weights import VARIABLE, WeightsError, graph_path, weights_folder, weights_path


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(GeneratorError, match="visavis train nobody"):
        weights_path("nobody")
    with pytest.raises(WeightsError, match=r"render_512\.onnx.*visavis export --generator nobody --size 512"):
        graph_path("nobody", "render", 512)


def test_own_folder_comes_before_what_ships_and_is_not_mixed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = weights_folder("somebody")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert weights_folder("somebody") == shipped
    own = tmp_path / "somebody"
    own.mkdir()
    (own / "somebody.safetensors").write_bytes(b"")
    (own / "render_256.onnx").write_bytes(b"")
    assert weights_path("somebody") == own / "somebody.safetensors"
    assert graph_path("somebody", "render", 256) == own / "render_256.onnx"
    with pytest.raises(WeightsError, match=str(own)):
        graph_path("somebody", "encode", 256)
