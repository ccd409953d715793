"""The networks that ship are those of the weights that ship."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.avatar import Avatar
from engine.weights import VARIABLE, WeightsError, graph_path, weights_path
from visavis.demo import PORTRAIT


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_portrait_renders_what_torch_renders_from_the_weights(
    monkeypatch: pytest.MonkeyPatch, runtime: str, size: int
) -> None:
    for package in (runtime, "torch"):
        pytest.importorskip(package, reason=f"needs {package}")
    monkeypatch.delenv(VARIABLE, raising=False)
    try:
        weights_path("portrait")
    except WeightsError as error:
        pytest.skip(str(error))
    graph_path("portrait", "render", size)  # where weights ship, so do networks
    expected, rendered = (Avatar.from_image(PORTRAIT, runtime=name, size=size) for name in ("torch", runtime))
    state = expected.source_state
    for turn in ((0.0, 0.0, 0.0), (0.1, 0.35, 0.0), (-0.2, -0.2, 0.2)):
        moved = replace(state, rotation=state.rotation + np.float32(turn))
        difference = np.abs(rendered.render_state(moved).astype(int) - expected.render_state(moved))
        assert difference.max() <= 2
        assert difference.mean() < 0.02
