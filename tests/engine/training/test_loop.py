"""The training loop: it learns, and what happens does not depend on when it was stopped."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.training.loop import CHECKPOINT, Trainer, learning_rate
from engine.training.recipe import OptimizerConfig, Recipe, RecipeError, Stage
from engine.training.task import TrainingError, load_task


def trainer(recipe: Recipe, output: Path, **options: object) -> Trainer:
    return Trainer(recipe, load_task(recipe, None), output, device="cpu", **options)


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "weights" / "toy.safetensors")


def checkpoint(output: Path) -> dict:
    return torch.load(output / CHECKPOINT, weights_only=True)


def assert_same(a: object, b: object) -> None:
    """Equal to the last bit, through all containers."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def terms(output: Path) -> list[tuple[int, dict[str, float]]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["terms"]) for line in lines if "terms" in line]


def learned(output: Path) -> dict:
    """All that a run leaves but the time that it took."""
    state = checkpoint(output)
    state.pop("seconds")
    return {"state": state, "weights": weights(output), "terms": terms(output)}


def test_it_learns_and_leaves_numbers_curves_sheets_and_weights(toy_recipe, tmp_path):
    recipe = toy_recipe(
        stage=[{"size": 16, "steps": 200, "batch": 8, "lr": 2e-2}],
        intervals={"log": 20, "validate": 100, "sheet": 100, "checkpoint": 50},
    )
    seen = []
    summary = trainer(recipe, tmp_path).run(on_step=seen.append)
    assert summary.complete
    assert [one.step for one in seen] == list(range(1, 201))
    log = terms(tmp_path)
    assert [step for step, _ in log] == list(range(20, 201, 20))
    assert log[-1][1]["l1"] < 0.25 * log[0][1]["l1"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    validations = {line["step"]: line["validation"]["l1"] for line in lines if "validation" in line}
    assert validations.keys() == {100, 200}
    assert validations[200] < 0.05
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["00000100.png", "00000200.png"]
    assert summary.files == (tmp_path / "weights" / "toy.safetensors",)
    shipped = weights(tmp_path)
    assert shipped["0.weight"].dtype == torch.float16
    pytest.importorskip("matplotlib", reason="curves need matplotlib (extra: bench)")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_the_same_recipe_twice_gives_the_same(toy_recipe, tmp_path):
    recipe = toy_recipe(options={"adversarial": True})
    for name in ("one", "two"):
        trainer(recipe, tmp_path / name).run()
    assert_same(learned(tmp_path / "one"), learned(tmp_path / "two"))


def test_another_seed_gives_something_else(toy_recipe, tmp_path):
    for seed in (1, 2):
        trainer(toy_recipe(seed=seed), tmp_path / str(seed)).run(steps=5)
    assert not torch.equal(weights(tmp_path / "1")["0.weight"], weights(tmp_path / "2")["0.weight"])


def test_samples_do_not_depend_on_the_number_of_workers(toy_recipe, tmp_path):
    for workers in (0, 2):
        trainer(toy_recipe(workers=workers), tmp_path / str(workers)).run(steps=12)
    assert_same(terms(tmp_path / "0"), terms(tmp_path / "2"))


@pytest.mark.parametrize("slices", [(17, 6, 100), (40, 100)], ids=str)  # within stages, and where one ends
def test_a_run_in_slices_ends_as_one_that_was_not_stopped(toy_recipe, tmp_path, slices):
    recipe = toy_recipe(options={"adversarial": True})
    trainer(recipe, tmp_path / "whole").run()
    for number, steps in enumerate(slices):
        summary = trainer(recipe, tmp_path / "slices", resume=number > 0).run(steps=steps)
        assert summary.complete == (number == len(slices) - 1)
    assert_same(learned(tmp_path / "slices"), learned(tmp_path / "whole"))


KILLED_RUN = """
import json, os, signal, sys
from pathlib import Path
import torch
from engine.training.loop import Trainer
from engine.training.recipe import Recipe, from_table
from engine.training.task import load_task

def kill(progress):
    if progress.step == 33:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
recipe = from_table(Recipe, json.loads(sys.argv[1]), "toy")
Trainer(recipe, load_task(recipe, None), Path(sys.argv[2]), "cpu").run(on_step=kill)
"""


def test_a_run_that_was_killed_ends_as_one_that_was_not(toy_recipe, tmp_path):
    """The last checkpoint is of step 25: eight steps, and a line of the log, are done again."""
    recipe = toy_recipe(
        options={"adversarial": True}, intervals={"log": 5, "validate": 0, "sheet": 0, "checkpoint": 25}, workers=1
    )
    trainer(recipe, tmp_path / "whole").run()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, json.dumps(recipe.as_table()), str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=170,
    )
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint(tmp_path / "killed")["step"] == 25
    assert terms(tmp_path / "killed")[-1][0] == 30
    trainer(recipe, tmp_path / "killed", resume=True).run()
    assert_same(learned(tmp_path / "killed"), learned(tmp_path / "whole"))


def test_sigterm_saves_after_the_step_under_way(toy_recipe, tmp_path):
    recipe = toy_recipe()

    def stop(progress) -> None:
        if progress.step == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    summary = trainer(recipe, tmp_path / "stopped").run(on_step=stop)
    assert summary.stopped_by_signal
    assert not summary.complete
    assert checkpoint(tmp_path / "stopped")["step"] == summary.step
    assert 13 <= summary.step <= 14
    assert signal.getsignal(signal.SIGTERM) is before
    trainer(recipe, tmp_path / "stopped", resume=True).run()
    trainer(recipe, tmp_path / "whole").run()
    assert_same(learned(tmp_path / "stopped"), learned(tmp_path / "whole"))


def test_a_run_ends_after_so_many_seconds(toy_recipe, tmp_path):
    begin = time.monotonic()
    recipe = toy_recipe(stage=[{"size": 16, "steps": 1_000_000, "batch": 8, "lr": 1e-3}])
    summary = trainer(recipe, tmp_path).run(max_seconds=0.3)
    assert time.monotonic() - begin < 10
    assert 0 < summary.step < 1_000_000
    assert checkpoint(tmp_path)["step"] == summary.step


def test_a_step_without_a_finite_loss_is_skipped_and_leaves_nothing_behind(toy_recipe, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "engine.training"):
        summary = trainer(toy_recipe(options={"bad_step": 7}), tmp_path).run(steps=9)
    assert summary.skipped == 1
    assert "step 8: loss or gradient is not finite; skipped" in caplog.text
    state = checkpoint(tmp_path)
    assert state["networks"]["painter"]["1.num_batches_tracked"] == 8
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


def test_too_many_such_steps_end_the_run_and_say_what_to_do(toy_recipe, tmp_path):
    recipe = toy_recipe(options={"bad_step": 3, "bad_forever": True}, bad_steps_limit=4)
    with pytest.raises(TrainingError, match=r"4 steps in a row without a finite loss.*lower the lr"):
        trainer(recipe, tmp_path).run()


def test_a_folder_with_a_run_is_not_overwritten_and_one_without_not_resumed(toy_recipe, tmp_path):
    trainer(toy_recipe(), tmp_path).run(steps=1)
    with pytest.raises(TrainingError, match="holds a run already; go on with --resume"):
        trainer(toy_recipe(), tmp_path)
    with pytest.raises(TrainingError, match="nothing to resume"):
        trainer(toy_recipe(), tmp_path / "other", resume=True)
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        trainer(toy_recipe(), tmp_path, resume=True)


def test_resuming_with_other_networks_is_refused_and_with_other_weights_said(toy_recipe, tmp_path, caplog):
    trainer(toy_recipe(), tmp_path).run(steps=1)
    with pytest.raises(TrainingError, match="was trained with options"):
        trainer(toy_recipe(options={"width": 16}), tmp_path, resume=True)
    with caplog.at_level(logging.WARNING, "engine.training"):
        trainer(toy_recipe(loss={"l1": 2.0}), tmp_path, resume=True)
    assert "differs from the one that this run began with in: loss" in caplog.text


def test_a_run_can_begin_with_shipped_weights(toy_recipe, tmp_path):
    trainer(toy_recipe(), tmp_path / "first").run(steps=10)
    file = tmp_path / "first" / "weights" / "toy.safetensors"
    trainer(toy_recipe(), tmp_path / "second", weights=file).run(steps=0)
    assert_same(weights(tmp_path / "second"), weights(tmp_path / "first"))
    with pytest.raises(TrainingError, match="holds other networks"):
        trainer(toy_recipe(options={"width": 4}), tmp_path / "third", weights=file)
    with pytest.raises(TrainingError, match="leave out --weights"):
        trainer(toy_recipe(), tmp_path / "first", resume=True, weights=file)


def test_a_term_without_a_weight_is_named(toy_recipe, tmp_path):
    with pytest.raises(TrainingError, match=r"loss term 'l1' has no weight; add it to the recipe's \[loss\] table"):
        trainer(toy_recipe(loss={}), tmp_path).run()


def test_a_task_that_is_not_there_is_named(toy_recipe):
    for name in ("nonesuch", "toy_task:Nonesuch", "nonesuch:Task"):
        with pytest.raises(RecipeError, match=f"no training task is called '{name}'"):
            load_task(toy_recipe(task=name), None)


def test_what_a_task_lacks_is_named(toy_recipe, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for line in ("from json import nonesuch", "import nonesuch"):
        (tmp_path / "halftask.py").write_text(f"{line}\n")
        with pytest.raises(ImportError, match="nonesuch"):
            load_task(toy_recipe(task="halftask:Task"), None)


def test_bf16_trains_as_well(toy_recipe, tmp_path):
    recipe = toy_recipe(precision="bf16", stage=[{"size": 8, "steps": 60, "batch": 4, "lr": 2e-2}])
    run = trainer(recipe, tmp_path)
    assert run.dtype == torch.bfloat16
    run.run()
    assert terms(tmp_path)[-1][1]["l1"] < 0.5 * terms(tmp_path)[0][1]["l1"]
    assert checkpoint(tmp_path)["networks"]["painter"]["0.weight"].dtype == torch.float32


def test_learning_rate_warms_up_and_falls_to_its_last_share():
    config = OptimizerConfig(warmup_steps=10, final_lr_share=0.1)
    stage = Stage(size=256, steps=1000, batch=1, lr=2.0)
    assert learning_rate(config, stage, 0) == pytest.approx(2.0 / 11)
    assert learning_rate(config, stage, 500) == pytest.approx(2.0 * 0.55)
    assert learning_rate(config, stage, 999) == pytest.approx(0.2, rel=1e-3)
    rates = [learning_rate(config, stage, step) for step in range(1000)]
    assert max(rates) == max(rates[:12])
