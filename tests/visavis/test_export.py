"""`visavis export`, from weights to frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.avatar import Avatar
from visavis.__main__ import main
from visavis.demo import PORTRAIT


def test_generator_without_networks_has_nothing_to_export(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--generator", "mesh"]) == 1
    assert "generator mesh has no networks" in capsys.readouterr().err


def test_missing_weights_are_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "portrait").mkdir()
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    assert main(["export", "--generator", "portrait"]) == 1
    error = capsys.readouterr().err
    assert "has no weights" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_exported_portrait_renders_what_torch_renders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="export needs torch (extra: train)")
    pytest.importorskip("onnxscript", reason="export needs onnxscript (extra: train)")
    from safetensors.torch import save_file

    from engine.nets.portrait_halves import portrait_networks

    folder = tmp_path / "portrait"
    folder.mkdir()
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    weights = portrait_networks().state_dict()
    noisy = {name: (value + 0.02 * torch.randn_like(value)).half() for name, value in weights.items()}
    save_file(noisy, folder / "portrait.safetensors")

    assert main(["export", "--generator", "portrait"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "encode_256.onnx",
        "portrait.safetensors",
        "render_256.onnx",
    ]
    assert "GMAC" in capsys.readouterr().out
    expected, rendered = (turned(Avatar.from_image(PORTRAIT, runtime=runtime)) for runtime in ("torch", "auto"))
    difference = np.abs(rendered.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.02


def turned(avatar: Avatar) -> np.ndarray:
    state = avatar.source_state
    return avatar.render_state(replace(state, rotation=state.rotation + np.float32([0.1, 0.3, 0.0])))
