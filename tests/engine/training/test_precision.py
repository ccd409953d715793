"""bfloat16 only where the machine computes it."""

from __future__ import annotations

import pytest
import torch

from engine.training.precision import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (False, False)])
def test_auto_on_a_cpu_follows_its_instructions(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision("auto", CPU) == (torch.bfloat16 if avx512 or amx else torch.float32)


def test_what_is_asked_for_is_taken():
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16
