"""Training of what makes motion of a voice: samples, learning, and weights that run without torch."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.audio.voice_motion import AHEAD, VoiceModel, VoiceMotion  # noqa: E402
from engine.training.clip_cache import ClipError  # noqa: E402
from engine.training.loop import Trainer  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError, load_task  # noqa: E402
from engine.training.voice_clips import VoiceClip, voice_clips  # noqa: E402
from engine.training.voice_samples import VoiceConfig, VoiceExample, VoiceSamples  # noqa: E402
from engine.training.voice_task import at_places  # noqa: E402

CLIPS = ("p60_01", "p62_01", "p34_01", "p35_01", "p30_01")
SILENT = "p03_01"


@pytest.fixture(scope="module")
def pack(data_pack, tmp_path_factory) -> Path:
    """Five short clips with sound and one without, under a manifest of their own."""
    folder = tmp_path_factory.mktemp("voices")
    rows = [row for row in data_pack.rows("train") if row["id"] in (*CLIPS, SILENT)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for name in ("clips", "landmarks"):
        (folder / name).symlink_to(data_pack.root / name)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("VISAVIS_CACHE", str(folder))
        yield folder


def recipe_of(**changes) -> Recipe:
    table = {
        "task": "engine.training.voice_task:VoiceTask",
        "workers": 0,
        "precision": "fp32",
        "ema_decay": 0.9,
        "options": {"validation": ["p62"], "width": 16, "blocks": 2, "outputs": 4, "delays_ms": {"p34_01": 100.0}},
        "loss": {"mouth": 1.0, "velocity": 1.0, "offsets": 0.3},
        "optimizer": {"warmup_steps": 3},
        "intervals": {"log": 5, "validate": 0, "sheet": 0, "checkpoint": 0},
        "stage": [{"size": 96, "steps": 40, "batch": 6, "lr": 1e-2}],
    }
    return from_table(Recipe, {**table, **changes}, "voice.toml")


def test_clips_with_sound_are_fitted_once_and_moved_by_their_delay(pack, cache):
    clips = {clip.name: clip for clip in voice_clips(pack, cache / "v", delays_ms={"p34_01": 100.0})}
    assert set(clips) == set(CLIPS)
    clip = clips["p34_01"]
    assert clip.expression.shape == (len(clip.seen), 24)
    assert clip.columns[0] == pytest.approx(8.0)
    assert np.diff(clip.columns) == pytest.approx(3.2, abs=1e-3)
    assert abs(np.median(clip.pose, axis=0)).max() < 0.01
    written = {path: path.stat().st_mtime_ns for path in (cache / "v").iterdir()}
    again = {clip.name: clip for clip in voice_clips(pack, cache / "v", exclude=("p60_01",))}
    assert set(again) == set(CLIPS) - {"p60_01"}
    assert {path: path.stat().st_mtime_ns for path in (cache / "v").iterdir()} == written
    np.testing.assert_array_equal(again["p34_01"].expression, clip.expression)
    with pytest.raises(ClipError, match="no clip of test has sound"):
        voice_clips(pack, cache / "v", splits=("test",))


def example(frames: int = 100, delay: float = 0.0) -> VoiceExample:
    """A clip whose mel columns and coefficients count."""
    columns = int(frames * 3.2)
    mel = np.repeat(np.arange(columns, dtype=np.float32)[:, None] / 100 - 4, 80, axis=1)
    seen = np.ones(frames, bool)
    seen[50] = False
    nothing = np.zeros((frames, 6), np.float32)
    clip = VoiceClip("a", "a", mel, seen, nothing, nothing, np.zeros((478, 3), np.float32), 25.0, delay)
    return VoiceExample(clip, np.arange(frames, dtype=np.float32)[:, None])


@pytest.mark.parametrize("delay", [0.0, 0.1, -0.1])
def test_a_frame_and_its_sound_stay_together(delay):
    quiet = VoiceConfig(gain_db=(0.0, 0.0), colour=0.0, shift=0, noise=0.0)
    batch = VoiceSamples([example(delay=delay)], 96, quiet).batch(np.random.default_rng(0), 8)
    for row in range(8):
        heard = np.interp(batch["place"][row] - AHEAD, np.arange(96), batch["mel"][row, :, 0])
        frame = batch["mouth"][row, :, 0]
        counts = batch["counts"][row] > 0
        assert counts.sum() > 10
        wanted = (frame / 25 + delay) * 80 / 100 - 4
        np.testing.assert_allclose(heard[counts], wanted[counts], atol=2e-3)
        assert not counts[frame == 50].any()
        assert batch["place"][row].max() <= 95


def test_sounds_are_changed_and_faces_are_not():
    samples = VoiceSamples([example()], 96, VoiceConfig())
    one, same, other = (samples.batch(np.random.default_rng(seed), 4) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["mel"], same["mel"])
    assert np.abs(one["mel"] - other["mel"]).max() > 0.3
    assert np.abs(one["mel"]).max() <= 4


def test_places_between_columns_are_interpolated():
    answers = torch.arange(10.0)[None, :, None]
    places = torch.tensor([[0.0, 2.5, 8.75, 9.0, 20.0]])
    assert at_places(answers, places)[0, :, 0].tolist() == [0.0, 2.5, 8.75, 9.0, 9.0]


def test_training_learns_and_its_weights_run_without_torch(pack, cache, tmp_path):
    recipe = recipe_of()
    task = load_task(recipe, pack)
    losses: list[float] = []
    summary = Trainer(recipe, task, tmp_path / "run", "cpu").run(on_step=lambda now: losses.append(now.loss))
    assert summary.complete
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    figures = task.validate(recipe.stage[0])
    assert set(figures) == {"opening_correlation", "error_over_mean"}
    (path,) = summary.files
    assert path.name == "voice.safetensors"
    model = VoiceModel.load(path)
    assert model.mouth.shape == (4, 24)
    assert model.head.memory() < 1
    motion = VoiceMotion(model)
    motion.push(np.random.default_rng(0).normal(0, 0.1, 16_000).clip(-1, 1))
    assert np.isfinite(motion.state(0.5).expression).all()
    # The same numbers as in training.
    clip = task._held_out[0].clip
    with torch.no_grad():
        task._net.load_state_dict({k[4:]: v for k, v in _stored(path).items() if k.startswith("net.")})
        task._net.eval()
    stream = model.network.stream()
    after = np.full((AHEAD + 2, 80), -4, np.float32)
    found = stream.push(np.concatenate((clip.mel, after)))
    frame = 25
    place = float(clip.columns[frame]) + AHEAD
    between = found[int(place)] + (place - int(place)) * (found[int(place) + 1] - found[int(place)])
    np.testing.assert_allclose(task.answers(clip)[frame], between, atol=1e-3)


def _stored(path):
    from safetensors.torch import load_file

    return {name: value.float() for name, value in load_file(str(path)).items()}


def test_the_recipe_that_ships_names_its_clips(data_pack):
    recipe = load_recipe("voice")
    options = recipe.options
    names = {row["id"] for row in data_pack.rows("train", ("speech", "expression", "synthetic"))}
    assert set(options["exclude"]) <= names
    assert set(options["delays_ms"]) <= names - set(options["exclude"])
    assert max(abs(delay) for delay in options["delays_ms"].values()) <= 400


def test_what_cannot_be_trained_is_said(pack, cache):
    with pytest.raises(TrainingError, match="name the folder with --data"):
        load_task(recipe_of(), None)
    everybody = sorted({name.split("_")[0] for name in CLIPS})
    with pytest.raises(TrainingError, match="but of people held out"):
        load_task(recipe_of(options={"validation": everybody}), pack)
    with pytest.raises(RecipeError, match="too few frames"):
        load_task(recipe_of(options={"exclude": list(CLIPS[1:])}), pack)
    with pytest.raises(RecipeError, match="expected positive numbers"):
        load_task(recipe_of(options={"width": 0}), pack)
