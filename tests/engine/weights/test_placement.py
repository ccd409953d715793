"""All of what is written comes into the folder, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.weights.placement import placed


def content_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def place(folder: Path, files: dict[str, str], error: BaseException | None = None) -> None:
    """Write files, and then fail if there is an error to fail with."""
    with placed(folder) as unfinished:
        for name, text in files.items():
            (unfinished / name).write_text(text)
        if error is not None:
            raise error


def test_files_come_into_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "some"
    with placed(folder) as unfinished:
        (unfinished / "some.safetensors").write_text("weights")
        (unfinished / "card.md").write_text("card")
        assert not (folder / "some.safetensors").exists()
    assert content_of(folder) == {"some.safetensors": "weights", "card.md": "card"}


def test_files_replace_those_of_their_names_and_networks_made_of_them(tmp_path: Path) -> None:
    for name in ("some.safetensors", "render_256.onnx", "notes.txt"):
        (tmp_path / name).write_text("old")
    with placed(tmp_path) as unfinished:
        (unfinished / "some.safetensors").write_text("new")
        assert (tmp_path / "render_256.onnx").exists()
    assert content_of(tmp_path) == {"some.safetensors": "new", "notes.txt": "old"}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_nothing_is_left_where_writing_failed(tmp_path: Path, error: BaseException) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "some.safetensors").write_text("old")
    (old / "render_256.onnx").write_text("old")
    for folder in (old, tmp_path / "new" / "some"):
        with pytest.raises(type(error)):
            place(folder, {"some.safetensors": "half of"}, error)
    assert content_of(old) == {"some.safetensors": "old", "render_256.onnx": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_folder_in_the_place_of_a_file_stops_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "some.safetensors").mkdir()
    (tmp_path / "render_256.onnx").write_text("old")
    with pytest.raises(IsADirectoryError, match=r"some\.safetensors"):
        place(tmp_path, {"card.md": "card", "some.safetensors": "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["render_256.onnx", "some.safetensors"]


def test_file_in_the_place_of_a_folder_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NotADirectoryError):
        place(tmp_path / "file" / "some", {"card.md": "card"})
    assert content_of(tmp_path) == {"file": "not a folder"}
