"""Weights of every published generator: where there are none, and files that are none."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="generators with weights need torch (extra: torch)")

from engine.generators.adaat import AdaATGenerator
from engine.generators.base import GeneratorError
from engine.generators.dagan import DaGANGenerator
from engine.generators.fomm import FOMMGenerator
from engine.generators.iplap import IPLAPGenerator
from engine.generators.lsr import LSRGenerator
from engine.generators.rhythmic import RhythmicGenerator

KINDS = {
    "adaat": AdaATGenerator,
    "dagan": DaGANGenerator,
    "fomm": FOMMGenerator,
    "iplap": IPLAPGenerator,
    "lsr": LSRGenerator,
    "rhythmic": RhythmicGenerator,
}


@pytest.mark.parametrize("name", KINDS)
def test_without_weights_it_is_said_how_to_get_some(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    with pytest.raises(GeneratorError, match=f"(?s)visavis train {name}.*visavis weights import {name}"):
        KINDS[name](256)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_missing_or_damaged_is_refused(name, tmp_path):
    path = tmp_path / f"{name}.safetensors"
    with pytest.raises(GeneratorError, match=f"generator {name}: cannot read its weights .*{name}.safetensors"):
        KINDS[name](256, path)
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(GeneratorError, match="not a safetensors file"):
        KINDS[name](256, path)
