"""`visavis plans`, as far as it goes without a GPU and TensorRT."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="plans are made of ONNX files (extra: export)")

from trt_plans.cache import PlanCache, PlanKey
from trt_plans.device import Gpu
from visavis.__main__ import main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    monkeypatch.setenv("VISAVIS_PLANS", str(tmp_path))
    return PlanCache()


@pytest.mark.parametrize("action", ["build", "verify"])
def test_missing_tensorrt_is_said_in_one_line(
    action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(["plans", action]) == 1
    error = capsys.readouterr().err
    assert "TensorRT is not installed" in error
    assert "pip install 'visavis[tensorrt]'" in error
    assert error.count("\n") == 1


def test_list_of_no_plans_says_how_to_make_some(cache: PlanCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plans", "list"]) == 0
    assert "no plans in" in capsys.readouterr().out


def test_list_shows_what_a_plan_is_for_and_what_was_found(
    cache: PlanCache, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    gpu = Gpu("NVIDIA Example 1", (9, 0), 13000)
    for name, verified in (("adaat-render-256", None), ("portrait-render-256", {"frame": {"largest": 2, "mean": 0.1}})):
        key = PlanKey.of(name.encode(), "11.4.0.106", gpu, "fp16", "batch=1:1:8", "level=3")
        path = cache.store(name, key, bytes(1_500_000))
        if verified:
            cache.set_verified(path, verified)
    assert main(["plans", "list"]) == 0
    first, second = (line for line in capsys.readouterr().out.splitlines() if "fp16" in line)
    for line in (first, second):
        assert "NVIDIA Example 1" in line
        assert "11.4.0.106" in line
        assert "1.5" in line
    assert "not compared yet" in first
    assert "frame 2 (0.1)" in second
