"""Recipes: what a TOML file may say, and what is said of a wrong one."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

import pytest

from engine.training.recipe import Recipe, RecipeError, Stage, from_table, load_recipe, recipe_names

SMALLEST = 'task = "toy"\n[[stage]]\nsize = 256\nsteps = 10\nbatch = 2\nlr = 1\n'


def read(text: str) -> Recipe:
    return from_table(Recipe, tomllib.loads(text), "mine.toml")


def test_what_is_not_said_has_a_default():
    recipe = read(SMALLEST)
    assert recipe.stage == (Stage(256, 10, 2, 1.0),)
    assert recipe.steps == 10
    assert recipe.precision == "auto"


def test_a_stage_overrides_weights_and_options():
    @dataclass(frozen=True)
    class Options:
        width: int = 8
        crops: bool = False

    recipe = read(
        SMALLEST
        + "[stage.loss]\nssim = 0\n[stage.options]\ncrops = true\n[loss]\nl1 = 1\nssim = 2\n[options]\nwidth = 4\n"
    )
    assert recipe.weights(recipe.stage[0]) == {"l1": 1.0, "ssim": 0.0}
    assert recipe.options_as(Options) == Options(4, False)
    assert recipe.options_as(Options, recipe.stage[0]) == Options(4, True)


def test_a_table_of_plain_values_makes_the_same_recipe():
    recipe = read(SMALLEST + "[optimizer]\nbetas = [0.5, 0.999]\n[loss]\nl1 = 1\n")
    assert from_table(Recipe, recipe.as_table(), "again") == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALLEST.replace("lr = 1", "lr = 1\nlearning_rate = 2"), "mine.toml: stage 1: unknown key 'learning_rate'"),
        ("sede = 1\n" + SMALLEST, "mine.toml: unknown key 'sede'; did you mean 'seed'?"),
        (SMALLEST.replace("steps = 10\n", ""), "mine.toml: stage 1: 'steps' is missing"),
        (SMALLEST.replace("steps = 10", "steps = 0"), "mine.toml: stage 1: steps: expected more than 0"),
        (
            SMALLEST.replace("steps = 10", 'steps = "ten"'),
            "mine.toml: stage 1: steps: expected a whole number, got 'ten'",
        ),
        ('precision = "fp16"\n' + SMALLEST, "precision: expected one of auto, fp32, bf16, got 'fp16'"),
        ("channels_last = 1\n" + SMALLEST, "channels_last: expected true or false"),
        ("seed = true\n" + SMALLEST, "seed: expected a whole number"),
        ("stage = []\ntask = 'toy'\n", "expected at least one"),
        (SMALLEST + "[optimizer]\nbetas = [0.5]\n", "optimizer: betas: expected 2 values, got 1"),
        (SMALLEST + "[optimizer]\nbetas = [0.5, 1.0]\n", "mine.toml: optimizer: betas: expected two numbers"),
        (SMALLEST + "[loss]\nl1 = 'much'\n", "loss.l1: expected a number"),
        ("ema_decay = 1.0\n" + SMALLEST, "ema_decay: expected 0 to below 1"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place_and_the_way_out(text: str, words: str):
    with pytest.raises(RecipeError) as error:
        read(text)
    assert words in str(error.value)


def test_unknown_options_of_the_task_are_refused():
    @dataclass(frozen=True)
    class Options:
        width: int = 8

    with pytest.raises(RecipeError, match="options: unknown key 'widht'; did you mean 'width'"):
        read(SMALLEST + "[options]\nwidht = 4\n").options_as(Options)


def test_files_that_are_not_there_or_not_toml(tmp_path):
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="no recipe is called 'nonesuch'"):
        load_recipe("nonesuch")
    (tmp_path / "bad.toml").write_text("task = = 3")
    with pytest.raises(RecipeError, match="not TOML"):
        load_recipe(tmp_path / "bad.toml")


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_that_come_along_can_be_read(name: str):
    assert load_recipe(name).steps > 0
