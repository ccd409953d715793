"""`portrait` in the training room, on real clips."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.nets.portrait_halves import load_portrait  # noqa: E402
from engine.training.clip_cache import Clip, ClipError, build_cache  # noqa: E402
from engine.training.portrait_samples import (  # noqa: E402
    PortraitSampleConfig,
    PortraitSamples,
    encode_sources,
    load_source,
)
from engine.training.portrait_task import PortraitTask, PortraitWindowsTask  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError, load_task  # noqa: E402

pytestmark = pytest.mark.data

FRAMES = 10


@pytest.fixture(scope="module")
def clips(small_pack, tmp_path_factory):
    whole = build_cache(small_pack, tmp_path_factory.mktemp("cache"), step=8)
    return [Clip(c.name, c.identity, c.split, c.frames[:FRAMES], c.landmarks[:FRAMES]) for c in whole]


@pytest.fixture(scope="module")
def sources(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for clip in clips:
        encode_sources(clip, folder, 2)
    return folder


@pytest.fixture
def samples(clips, sources):
    return PortraitSamples(clips, sources, PortraitSampleConfig(sources_per_clip=2))


def test_a_source_drives_itself_to_itself(clips, sources, samples):
    """The drawing of the source's own frame is the source, and its places are its own."""
    source = load_source(sources, clips[0].name, 0)
    row = samples.sample(clips[0], source, source.frame)
    assert np.abs(row["drawn"][..., :3].astype(int) - row["target"]).mean() < 3
    steps = (2 * np.arange(64, dtype=np.float32) + 1) / 64 - 1
    own = np.stack(np.meshgrid(steps, steps), axis=-1)
    assert np.abs(row["place"][0] - own).mean() < 0.01


def test_a_batch_depends_on_the_generator_alone(samples):
    first, again, other = (samples.batch(np.random.default_rng(seed), 4) for seed in (1, 1, 2))
    assert first["drawn"].shape == (4, 256, 256, 4)
    assert first["source"].shape == (2, 256, 256, 4)
    assert first["source_of"].tolist() == [0, 0, 1, 1]
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert (first["drawn"] != other["drawn"]).any()
    with pytest.raises(ClipError, match="a batch of 3 is not a multiple of 2"):
        samples.batch(np.random.default_rng(0), 3)


def test_a_mirrored_sample_is_the_mirror_image(clips, sources):
    rows = []
    for flip in (0.0, 1.0):
        config = PortraitSampleConfig(sources_per_clip=2, flip=flip, gain=0.0)
        rows.append(PortraitSamples(clips, sources, config).batch(np.random.default_rng(5), 2))
    plain, mirrored = rows
    for name in ("drawn", "target", "importance"):
        np.testing.assert_array_equal(mirrored[name], plain[name][:, :, ::-1])
    np.testing.assert_allclose(mirrored["place"][..., 0], -plain["place"][:, :, :, ::-1, 0], atol=1e-6)
    np.testing.assert_allclose(mirrored["place"][..., 1], plain["place"][:, :, :, ::-1, 1], atol=1e-6)


def test_what_windows_cover_counts_less(samples):
    importance = samples.batch(np.random.default_rng(3), 2)["importance"]
    assert set(np.unique(importance)) == {0.5, 1.0}
    assert (importance == 1).mean() > 0.5


def test_reduced_frames_are_means_of_whole_ones(clips, sources):
    whole, halved = (
        PortraitSamples(clips, sources, PortraitSampleConfig(sources_per_clip=2, gain=0.0, reduction=reduction)).batch(
            np.random.default_rng(2), 2
        )
        for reduction in (1, 2)
    )
    for name in ("drawn", "target", "source", "importance"):
        blocks = whole[name].reshape(len(whole[name]), 128, 2, 128, 2, -1).astype(np.float32)
        means = blocks.mean(axis=(2, 4)).reshape(halved[name].shape)
        assert np.abs(halved[name] - means).max() <= 0.5
    np.testing.assert_array_equal(whole["place"], halved["place"])


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


@pytest.fixture
def recipe():
    table = {
        "task": "portrait",
        "options": {"step": 8, "validation": ["p07"], "window_targets": 4, "samples": {"sources_per_clip": 2}},
        "loss": {"l1": 1.0, "gradient": 0.5, "ssim": 0.1, "source": 0.1, "smooth": 0.5},
        "stage": [{"size": 256, "steps": 10, "batch": 4, "lr": 1e-3}],
    }
    return from_table(Recipe, table, "test")


@pytest.mark.parametrize("kind", ["portrait", "portrait-windows"])
def test_it_learns_and_is_read_back(kind, recipe, small_pack, caches, tmp_path, monkeypatch):
    """A few steps on one batch make its loss smaller, and what is exported is what the generator loads."""
    monkeypatch.setenv("VISAVIS_CACHE", str(caches))
    own = {"changed": 0.02, "paint": 0.1} if kind == "portrait" else {"drawn": 0.3}
    recipe = replace(recipe, task=kind, loss={**recipe.loss, **own})
    task = load_task(recipe, small_pack)
    assert isinstance(task, PortraitTask if kind == "portrait" else PortraitWindowsTask)
    stage = recipe.stage[0]
    arrays = task.samples(stage).batch(np.random.default_rng(0), 4)
    batch = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    weights = recipe.weights(stage)
    parameters = [p for network in task.networks().values() for p in network.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    losses = []
    for _ in range(20):
        terms = task.generator_terms(batch, task.forward(batch), weights)
        assert terms.keys() == weights.keys()
        loss = sum(weights[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]

    with torch.no_grad():
        outputs = task.forward(batch)
        side = batch["target" if kind == "portrait" else "mouth_target"].shape[1]
        assert task.sheet(batch, outputs).shape == (4 * side, 7 * side, 3)
        figures = task.validate(stage)
    assert figures
    assert all(0 < value < 1 for value in figures.values())
    assert {name.removeprefix("mesh_") for name in figures} <= figures.keys()
    held_out = task.sheet_samples(stage)
    assert {clip.identity for clip in held_out.clips} == {"p07"}
    assert {clip.identity for clip in task.samples(stage).clips} == {"p03"}

    (path,) = task.export(tmp_path, {})
    loaded = load_portrait(path)
    for name, network in task.networks().items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(loaded[name].state_dict()[key], value, atol=2e-3, rtol=2e-3)


def test_what_is_missing_is_named(recipe):
    with pytest.raises(TrainingError, match="--data"):
        load_task(recipe, None)


@pytest.mark.parametrize(("name", "kind"), [("portrait", PortraitTask), ("portrait-windows", PortraitWindowsTask)])
def test_the_shipped_recipes_are_ones(tmp_path, name, kind):
    recipe = load_recipe(name)
    assert isinstance(load_task(recipe, tmp_path), kind)
    table = {**recipe.as_table(), "options": {"flips": 1}}
    with pytest.raises(RecipeError, match="flips"):
        load_task(from_table(Recipe, table, "test"), tmp_path)
