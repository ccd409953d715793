"""The folder of plans: what is found again, what is not, and what goes."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from trt_plans.cache import PlanCache, PlanKey, default_folder, write_whole
from trt_plans.device import Gpu
from trt_plans.errors import PlanCacheError

GPU = Gpu("NVIDIA Example 1", (9, 0), 13000)
KEY = PlanKey.of(b"network", "11.4.0.106", GPU, "fp16", "batch=1:1:8", "level=3")


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "plans")


def test_plan_is_found_again_by_its_key(cache: PlanCache) -> None:
    assert cache.load("portrait-render-256", KEY) is None
    path = cache.store("portrait-render-256", KEY, b"plan")
    assert cache.load("portrait-render-256", KEY) == b"plan"
    assert path.name.startswith("portrait-render-256-fp16-")
    assert sorted(entry.suffix for entry in cache.folder.iterdir()) == [".json", ".plan"]


@pytest.mark.parametrize(
    "other",
    [
        PlanKey.of(b"other network", "11.4.0.106", GPU, "fp16", "batch=1:1:8", "level=3"),
        replace(KEY, tensorrt="10.16.1.11"),
        replace(KEY, gpu="NVIDIA Example 2"),
        replace(KEY, compute_capability=(10, 0)),
        replace(KEY, driver=13010),
        replace(KEY, precision="bf16"),
        replace(KEY, profile="batch=1:1:16"),
        replace(KEY, options="level=5"),
    ],
    ids=["network", "tensorrt", "gpu", "capability", "driver", "precision", "profile", "options"],
)
def test_whatever_a_plan_depends_on_makes_another_plan(cache: PlanCache, other: PlanKey) -> None:
    cache.store("a", KEY, b"plan")
    assert cache.load("a", other) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "no description", "description cut"])
def test_damaged_plan_is_removed_with_one_line(cache: PlanCache, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = cache.store("a", KEY, b"a plan of some length")
    description = path.with_suffix(".json")
    if damage == "cut":
        path.write_bytes(b"a plan")
    elif damage == "changed":
        path.write_bytes(b"b plan of some length")
    elif damage == "no description":
        description.unlink()
    else:
        description.write_text(description.read_text()[:20])
    with caplog.at_level(logging.WARNING):
        assert cache.load("a", KEY) is None
    assert [record.message for record in caplog.records] == [f"{path} is damaged; it is built again"]
    assert list(cache.folder.iterdir()) == []


def test_what_was_not_used_for_the_longest_goes_first(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path, largest_bytes=250)
    keys = [replace(KEY, options=str(number)) for number in range(3)]
    for age, key in zip((30, 20), keys[:2], strict=True):
        os.utime(cache.store("a", key, bytes(100)), (1000 - age, 1000 - age))
    assert cache.load("a", keys[0]) is not None  # used now: the second one is the oldest
    cache.store("a", keys[2], bytes(100))
    assert [cache.load("a", key) is not None for key in keys] == [True, False, True]


def test_plan_larger_than_the_limit_is_kept_alone(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path, largest_bytes=10)
    cache.store("a", replace(KEY, options="old"), bytes(5))
    cache.store("a", KEY, bytes(100))
    assert [plan.size_bytes for plan in cache.plans()] == [100]


def test_verification_is_kept_with_the_plan(cache: PlanCache) -> None:
    path = cache.store("a", KEY, b"plan")
    assert cache.verified(path) is None
    cache.set_verified(path, {"frame": {"largest": 2.0, "mean": 0.1}})
    assert cache.verified(path) == {"frame": {"largest": 2.0, "mean": 0.1}}
    cache.set_verified(path, None)
    assert cache.verified(path) is None
    cache.set_verified(path, {"frame": {"largest": 2.0, "mean": 0.1}})
    assert cache.load("a", KEY) == b"plan"
    cache.store("a", KEY, b"another plan")  # built again: not compared yet
    assert cache.verified(path) is None


def test_verification_that_cannot_be_noted_is_no_failure(cache: PlanCache, caplog: pytest.LogCaptureFixture) -> None:
    path = cache.store("a", KEY, b"plan")
    path.with_suffix(".json").unlink()
    cache.set_verified(path, {})
    assert "is looked for again next time" in caplog.records[0].message


def test_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PlanCacheError, match="name another folder in VISAVIS_PLANS"):
        PlanCache(tmp_path / "file" / "plans").store("a", KEY, b"plan")


def test_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VISAVIS_PLANS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "visavis" / "plans"
    monkeypatch.setenv("VISAVIS_PLANS", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
