"""Where weights and exported networks are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.generators.base import GeneratorError
from engine.weights import (
    VARIABLE,
    WeightsError,
    exported_graphs,
    graph_path,
    ships,
    user_folder,
    weights_folder,
    weights_path,
    weights_roots,
)


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


def test_named_folder_then_the_users_then_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    users = tmp_path / "data" / "visavis" / "weights"
    *own, shipped = weights_roots()
    assert own == [tmp_path / "named", users]
    assert (shipped / "portrait").is_dir()
    assert [ships(root) for root in weights_roots()] == [False, False, True]
    assert weights_folder("portrait") == shipped / "portrait"
    for root in (users, tmp_path / "named"):
        (root / "portrait").mkdir(parents=True)
        assert weights_folder("portrait") == root / "portrait"


def test_users_folder_is_where_the_desktop_standard_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative/folder"):
        monkeypatch.setenv("XDG_DATA_HOME", unset)
        assert user_folder() == tmp_path / ".local" / "share" / "visavis" / "weights"
    monkeypatch.setenv("HOME", "nowhere")
    assert user_folder() is None
    assert weights_folder("portrait") == weights_roots()[-1] / "portrait"


def test_missing_weights_that_are_published_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match="visavis weights import fomm FILE"):
        weights_path("fomm")


def test_exported_graphs_are_found_by_size_and_half(tmp_path: Path) -> None:
    assert exported_graphs(tmp_path / "nowhere") == {}
    names = ["render_512.onnx", "encode_256.onnx", "render_256.onnx"]
    for name in (*names, "other.onnx", "render_256.onnx.part"):
        (tmp_path / name).touch()
    assert {size: list(halves) for size, halves in exported_graphs(tmp_path).items()} == {
        256: ["encode", "render"],
        512: ["render"],
    }
