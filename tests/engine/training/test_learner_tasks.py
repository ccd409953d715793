"""Rhythmic Head Motion's learners of the voice in the training room, on a real clip with sound."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.nets.learner_weights import load_expression_learner, load_head_motion_learner  # noqa: E402
from engine.training.learner_tasks import ExpressionTask, HeadMotionTask  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError  # noqa: E402

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def spoken_pack(data_pack, tmp_path_factory):
    """One clip with sound of some seconds, under a manifest of its own."""
    rows = [
        row for row in data_pack.rows("train", ("speech",)) if row["audio"] == "yes" and 6 < float(row["seconds"]) < 12
    ]
    folder = tmp_path_factory.mktemp("spoken")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerow(rows[0])
    for name in ("clips", "landmarks"):
        (folder / name).symlink_to(data_pack.root / name)
    return folder


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path_factory):
    monkeypatch.setattr("engine.training.learner_tasks.VALIDATION_BATCHES", 1)
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path_factory.getbasetemp() / "learners"))


def recipe_of(task, size, **options):
    stage = {"size": size, "steps": 2, "batch": 3, "lr": 1e-3}
    loss = {"face": 1.0, "motion": 1.0, "adversarial": 0.1}
    return from_table(Recipe, {"task": task, "workers": 0, "options": options, "loss": loss, "stage": [stage]}, "test")


@pytest.mark.parametrize(("kind", "size", "divisor"), [(ExpressionTask, 1, 16), (HeadMotionTask, 32, 8)])
def test_it_learns_and_is_exported(kind, size, divisor, spoken_pack, tmp_path):
    recipe = recipe_of(kind.name, size, divisor=divisor)
    task, stage = kind(recipe, spoken_pack), recipe.stage[0]
    samples = task.samples(stage)
    arrays, again = (samples.batch(np.random.default_rng(0), 3) for _ in range(2))
    assert all((arrays[name] == again[name]).all() for name in arrays)
    batch = {name: torch.from_numpy(value) for name, value in arrays.items()}
    for network in (*task.networks().values(), *task.discriminators().values()):
        network.train()
    optimizer = torch.optim.Adam([p for net in task.networks().values() for p in net.parameters()], lr=1e-3)
    losses = []
    for _ in range(8):
        outputs = task.forward(batch)
        terms = task.generator_terms(batch, outputs, recipe.weights(stage))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(float(terms[task.target].detach()))
    assert min(losses[4:]) < 0.8 * losses[0]
    if kind is HeadMotionTask:
        assert batch["known_chunks"].shape == (3, 32, 7, 640)
        assert set(task.discriminator_terms(batch, {"predicted": outputs["predicted"].detach()})) == {"real", "fake"}
    else:
        assert batch["voice"].shape == (3, 14_000)
        assert batch["voice"].abs().max() > 100  # of 32768
    (path,) = task.export(tmp_path, {"task": kind.name})
    if kind is HeadMotionTask:
        stored = load_head_motion_learner(path)
        assert stored.network.config.divisor == divisor
        normalised = (batch["motion"].numpy() * stored.deviation + stored.mean)[0, :, 5]
        assert np.abs(normalised).max() < 0.7  # logarithms of the head's size
    else:
        assert load_expression_learner(path).config.divisor == divisor
    assert task.validate(stage).keys() == {"error", "still_error"}
    kind(recipe, spoken_pack).load_weights(path)


def test_what_cannot_be_trained_with_is_named(spoken_pack):
    recipe = recipe_of("rhythmic-head-motion", 1000)
    task = HeadMotionTask(recipe, spoken_pack)
    with pytest.raises(TrainingError, match="no clip shows a face for 2000 frames on end"):
        task.samples(recipe.stage[0])
    with pytest.raises(RecipeError, match="divisor"):
        ExpressionTask(recipe_of("rhythmic-expression", 1, divisor=64), spoken_pack)
    with pytest.raises(TrainingError, match="name the folder with --data"):
        ExpressionTask(recipe_of("rhythmic-expression", 1), None)


@pytest.mark.parametrize("kind", [ExpressionTask, HeadMotionTask])
def test_recipe_that_comes_along_is_for_it(kind, spoken_pack):
    assert kind(load_recipe(kind.name), spoken_pack).networks()
