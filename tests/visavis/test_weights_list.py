"""`visavis weights list` as it is typed: a table of what is there, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from visavis.__main__ import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of weights."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home" / "visavis" / "weights"


def store(folder: Path, **about: str) -> Path:
    """A file of weights that holds one number."""
    header = json.dumps(
        {"__metadata__": about, "weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{folder.name}.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


def listed(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["weights", "list"]) == 0
    return capsys.readouterr().out


def test_what_ships_and_what_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = listed(capsys)
    assert "comes with visavis" in text
    assert "256: encode, render" in text
    assert "dagan: no weights; `visavis weights import dagan FILE...` reads published ones" in text
    assert "mesh: needs no weights" in text
    assert "portrait: " not in text
    assert not home.exists()


def test_imported_weights_with_source_licence_and_networks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = ["0123456789ab" + "c" * 52, "fedcba987654" + "d" * 52]
    store(
        home / "dagan", source="main.pth.tar, encoder.pth", sha256=", ".join(digests), licence="non-commercial use only"
    )
    for name in ("detect_256.onnx", "encode_256.onnx", "render_256.onnx", "render_512.onnx"):
        (home / "dagan" / name).touch()
    text = listed(capsys)
    for words in (
        str(home),
        "main.pth.tar",
        "sha256 0123456789ab ",
        "sha256 fedcba987654 ",
        "non-commercial use only",
        "256: detect, encode, render",
        "512: render",
    ):
        assert words in text
    assert "dagan: no weights" not in text


def test_weights_that_others_come_before_are_said_not_to_be_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path / "named"))
    store(home / "somebody", source="first.pth", sha256="1" * 64)
    assert "not used" not in listed(capsys)
    store(tmp_path / "named" / "somebody", source="second.pth", sha256="2" * 64)
    text = listed(capsys)
    assert text.index("second.pth") < text.index("not used")
    assert text.index("second.pth") < text.index("first.pth")


def test_damaged_files_are_said_to_be(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = store(home / "fomm", source="vox.pth.tar", sha256="1" * 64)
    path.write_bytes(path.read_bytes()[:-2])
    store(home / "dagan").write_bytes(b"[bold]no weights[/bold]")
    (home / "adaat").mkdir()
    (home / "adaat" / "render_256.onnx").touch()
    (home / "empty").mkdir()
    text = listed(capsys)
    assert "cut short" in text
    assert "not a safetensors file" in text
    assert "no weights, only networks" in text
    assert "empty" not in text


def test_needs_no_torch(home: Path) -> None:
    store(home / "fomm", source="vox.pth.tar", sha256="1" * 64)
    code = (
        "import sys\n"
        "from visavis.__main__ import main\n"
        "status = main(['weights', 'list'])\n"
        "sys.exit(status or len({'torch', 'safetensors'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert result.returncode == 0, result.stderr
    assert "vox.pth.tar" in result.stdout
