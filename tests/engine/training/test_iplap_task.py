"""IP-LAP's renderer and landmark generator in the training room, on real clips."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.generators.iplap import IPLAPGenerator  # noqa: E402
from engine.nets.iplap_weights import load_landmarks  # noqa: E402
from engine.training.augmentation import Change  # noqa: E402
from engine.training.clip_cache import Clip, build_cache  # noqa: E402
from engine.training.clip_mels import mel_of_clip, voiced_rows  # noqa: E402
from engine.training.clip_sounds import ClipSounds, known_sounds  # noqa: E402
from engine.training.iplap_landmark_samples import LandmarkSampleConfig, LandmarkSamples, load_voiced_clips  # noqa: E402
from engine.training.iplap_landmark_task import LandmarkTask, velocity_term  # noqa: E402
from engine.training.iplap_samples import IPLAPSampleConfig, IPLAPSamples  # noqa: E402
from engine.training.iplap_task import IPLAPTask  # noqa: E402
from engine.training.portrait_samples import encode_sources, load_source  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError, load_task  # noqa: E402

pytestmark = pytest.mark.data

SIDE, FRAMES = 32, 10
NARROW = {"side": SIDE, "shallow": 4, "deep": 8, "hidden": 6, "head": 3, "audio": 1, "shared": 4}


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


def samples(clips, sources, voices=None, **changes):
    config = IPLAPSampleConfig(**{"sources_per_clip": 2, "seen": "held", "gain": 0.0, "flip": 0.0, **changes})
    return IPLAPSamples(clips, sources, SIDE, config, voices)


class TestSamples:
    def test_a_batch_depends_on_the_generator_alone(self, clips, sources):
        made = samples(clips, sources, flip=0.5, gain=0.2)
        first, again, other = (made.batch(np.random.default_rng(seed), 3) for seed in (1, 1, 2))
        count = first["references"].shape[1]
        assert 1 <= count <= 3
        shapes = {name: value.shape[1:] for name, value in first.items()}
        picture = (SIDE, SIDE, 3)
        assert shapes == {
            **dict.fromkeys(("face", "target", "source"), picture),
            "sketches": (5, SIDE, SIDE),
            "mel": (80, 16),
            "references": (count, *picture),
            "reference_sketches": (count, SIDE, SIDE),
            "boxes": (SIDE, SIDE),
        }
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])
        assert (first["target"] != other["target"]).any()
        assert {made.batch(np.random.default_rng(k), 1)["references"].shape[1] for k in range(12)} == {1, 2, 3}

    def test_a_source_is_its_own_target_and_reference(self, clips, sources):
        source = load_source(sources, clips[0].name, 0)
        made = samples(clips, sources)
        row = made.sample(clips[0], source, source.frame, [source.frame], Change.none(), np.full(2, 0.125))
        for name in ("target", "source"):
            np.testing.assert_array_equal(row[name], row["references"][0])
        assert np.abs(row["face"].astype(int) - row["target"]).mean() < 3
        np.testing.assert_array_equal(row["sketches"], np.repeat(row["reference_sketches"], 5, axis=0))

    def test_the_target_is_no_reference(self, clips, sources):
        """Else it would be copied, which no call can."""
        made = samples(clips, sources, jitter=0.0)
        for seed in range(8):
            batch = made.batch(np.random.default_rng(seed), 2)
            for target, references in zip(batch["target"], batch["references"], strict=True):
                assert (references != target).reshape(len(references), -1).any(axis=1).all()

    def test_a_mirrored_sample_is_the_mirror_image(self, clips, sources):
        plain, mirrored = (samples(clips, sources, flip=flip).batch(np.random.default_rng(5), 2) for flip in (0.0, 1.0))
        for name, value in plain.items():
            axis = {"sketches": 3, "references": 3, "reference_sketches": 3}.get(name, 2)
            expected = value if name == "mel" else np.flip(value, axis)
            np.testing.assert_array_equal(mirrored[name], expected)

    @pytest.mark.parametrize(("seen", "offsets"), [("centred", (-2, -1, 0, 1, 2)), ("causal", (-4, -3, -2, -1, 0))])
    def test_frames_around_are_drawn(self, clips, sources, seen, offsets):
        source = load_source(sources, clips[0].name, 0)
        held, moving = samples(clips, sources), samples(clips, sources, seen=seen)

        def drawn(made, target):
            return made.sample(clips[0], source, target, [0], Change.none(), np.full(2, 0.125))["sketches"]

        for target in (1, 5):
            own = [drawn(held, min(max(target + k, 0), FRAMES - 1))[0] for k in offsets]
            np.testing.assert_array_equal(drawn(moving, target), own)

    def test_half_of_the_samples_hear(self, clips, sources):
        voices = {clip.name: np.full((FRAMES, 80, 16), 1.0, np.float32) for clip in clips}
        mels = samples(clips, sources, voices).batch(np.random.default_rng(0), 12)["mel"]
        assert set(mels[:, 0, 0].tolist()) == {-4.0, 1.0}
        assert set(np.unique(samples(clips, sources).batch(np.random.default_rng(0), 4)["mel"])) == {-4.0}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


def iplap_recipe(**changes):
    table = {
        "task": "engine.training.iplap_task:IPLAPTask",
        "options": {
            "step": 8,
            "validation": ["p07"],
            "voice": False,
            "discriminator_width": 2,
            "renderer": NARROW,
            "iplap": {"sources_per_clip": 2, "seen": "held", "smooth": True},
        },
        "loss": {"l1": 4.0, "ssim": 1.0, "warped_l1": 2.0, "adversarial": 0.05, "matching": 0.1},
        "stage": [{"size": 256, "steps": 10, "batch": 2, "lr": 1e-3}],
    }
    return from_table(Recipe, {**table, **changes}, "test")


@pytest.fixture
def alone(monkeypatch, caches):
    """A cache of its own, one batch to validate with, no VGG19."""
    monkeypatch.setenv("VISAVIS_CACHE", str(caches))
    monkeypatch.delenv("VISAVIS_VGG19", raising=False)
    monkeypatch.setattr("engine.training.clip_task.VALIDATION_BATCHES", 1)
    monkeypatch.setattr("engine.training.iplap_landmark_task.VALIDATION_BATCHES", 1)


def learned(task, recipe, steps, lr):
    """The weighted loss on one batch, step by step."""
    stage = recipe.stage[0]
    arrays = task.samples(stage).batch(np.random.default_rng(0), stage.batch)
    batch = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    weights = recipe.weights(stage)
    optimizer = torch.optim.Adam([p for one in task.networks().values() for p in one.parameters()], lr)
    losses = []
    for _ in range(steps):
        terms = task.generator_terms(batch, task.forward(batch), weights)
        assert terms.keys() == weights.keys()
        loss = sum(weights[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, batch


def test_renderer_learns_and_is_read_back(alone, small_pack, tmp_path):
    recipe = iplap_recipe()
    task = load_task(recipe, small_pack)
    assert isinstance(task, IPLAPTask)
    losses, batch = learned(task, recipe, 12, 3e-3)
    assert losses[-1] < 0.9 * losses[0]
    listener, silence = task._network.translation.audio_encoder, batch["mel"][:, None]
    trained_with = listener(silence)
    torch.testing.assert_close(listener.eval()(silence), trained_with, msg="not what was trained: an overblown silence")
    outputs = task.forward(batch)
    of_discriminator = task.discriminator_terms(batch, {k: v.detach() for k, v in outputs.items()})
    assert set(of_discriminator) == {"real", "fake"}
    assert all(0 < float(term.detach()) < 10 for term in of_discriminator.values())
    task._network.eval()
    with torch.no_grad():
        figures = task.validate(recipe.stage[0])
        assert {"l1", "source_l1", "mesh_l1", "warped_l1", "mouth_l1"} <= figures.keys()
        sheet = task.sheet(batch, outputs)
    assert sheet.shape == (2 * SIDE, 7 * SIDE, 3)
    (path,) = task.export(tmp_path, {"recipe": "test"})
    generator = IPLAPGenerator(256, path)
    assert (generator.side, generator.seen, generator.hears) == (SIDE, "held", False)
    again = load_task(recipe, small_pack)
    again.load_weights(path)
    for key, value in task._network.named_parameters():
        torch.testing.assert_close(again._network.get_parameter(key).detach(), value.detach().half().float())
    wider = load_task(iplap_recipe(options={**recipe.options, "renderer": {**NARROW, "hidden": 8}}), small_pack)
    with pytest.raises(TrainingError, match=r"\[options.renderer\]"):
        wider.load_weights(path)


def test_without_adversarial_terms_there_is_no_discriminator(alone, small_pack):
    assert not load_task(iplap_recipe(loss={"l1": 1.0}), small_pack).discriminators()


def test_neighbouring_frames_want_every_frame(small_pack):
    options = {**iplap_recipe().options, "iplap": {"seen": "centred"}}
    with pytest.raises(RecipeError, match="set step = 1"):
        load_task(iplap_recipe(options=options), small_pack)


def test_recipes_that_come_along_are_read():
    from engine.training.iplap_landmark_task import LandmarkOptions
    from engine.training.iplap_task import IPLAPOptions

    assert load_recipe("iplap").options_as(IPLAPOptions).renderer.deep == 32
    assert load_recipe("iplap-landmarks").options_as(LandmarkOptions).network.width == 128


@pytest.fixture(scope="module")
def voiced_pack(data_pack, tmp_path_factory):
    """Two clips with a voice."""
    rows = list(voiced_rows(data_pack.root).values())
    rows = [row for row in rows if row["split"] == "train"]
    rows = sorted(rows, key=lambda row: int(row["frames"]))[:2]
    folder = tmp_path_factory.mktemp("voiced")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for name in ("clips", "landmarks"):
        (folder / name).symlink_to(data_pack.root / name)
    return folder


class TestLandmarks:
    def test_only_clips_with_a_voice_in_time(self, data_pack):
        rows = voiced_rows(data_pack.root)
        assert len(rows) > 20
        assert {row["kind"] for row in rows.values()} <= {"speech", "synthetic"}
        assert "p02_03" not in rows  # 200 ms late

    def test_what_is_known_of_the_sounds_counts_instead_of_the_manifest(self, data_pack):
        sounds = known_sounds("voice")
        rows = voiced_rows(data_pack.root, sounds)
        assert "p02_03" in rows
        assert not set(sounds.exclude) & set(rows)
        assert sounds.delays_ms["p02_03"] == 220.0
        as_stored, in_time = (mel_of_clip(data_pack.root, rows["p02_03"], one) for one in (None, sounds))
        np.testing.assert_array_equal(as_stored[18:], in_time)  # 17.6 columns of 12.5 ms
        early = ClipSounds(delays_ms={"p02_03": -100.0})
        np.testing.assert_array_equal(mel_of_clip(data_pack.root, rows["p02_03"], early)[8:], as_stored)

    def test_samples_are_windows_and_frames_outside(self, voiced_pack):
        clips = load_voiced_clips(voiced_pack)
        config = LandmarkSampleConfig(references=4).as_recorded()
        batch = LandmarkSamples(clips, config).batch(np.random.default_rng(0), 3)
        assert {name: value.shape for name, value in batch.items()} == {
            "references": (3, 4, 131, 2),
            "mels": (3, 5, 80, 16),
            "poses": (3, 5, 74, 2),
            "contents": (3, 5, 57, 2),
        }
        assert all(np.isfinite(value).all() for value in batch.values())
        known = np.concatenate([clip.points for clip in clips])
        for references, poses in zip(batch["references"], batch["poses"], strict=True):
            at = [int(np.flatnonzero(np.isclose(known, one, atol=1e-6).all(axis=(1, 2)))[0]) for one in references]
            window = [
                int(np.flatnonzero(np.isclose(known[:, :74], one, atol=1e-6).all(axis=(1, 2)))[0]) for one in poses
            ]
            assert (np.diff(window) == 1).all()
            assert not set(at) & set(window)

    def test_some_persons_have_but_few_different_references(self, voiced_pack):
        clips = load_voiced_clips(voiced_pack)
        config = LandmarkSampleConfig(references=6)
        batch = LandmarkSamples(clips, config).batch(np.random.default_rng(0), 40)
        assert {len(np.unique(row, axis=0)) for row in batch["references"]} == {1, 2, 3, 4, 5, 6}
        batch = LandmarkSamples(clips, config.as_recorded()).batch(np.random.default_rng(0), 9)
        assert {len(np.unique(row, axis=0)) for row in batch["references"]} == {6}

    def test_faces_are_made_strange_as_wholes(self, voiced_pack):
        clips = load_voiced_clips(voiced_pack)
        config = LandmarkSampleConfig(references=4, fewest=4)
        plain, strange = (
            LandmarkSamples(clips, one).batch(np.random.default_rng(0), 1) for one in (config.as_recorded(), config)
        )
        # The references have been drawn before the change.
        apart = strange["references"][0] - plain["references"][0]
        assert np.abs(apart).max() > 0.01
        before, after = (np.concatenate((batch["poses"], batch["contents"]), axis=2)[0] for batch in (plain, strange))
        # One stretch and one displacement a point: what moves between two frames is stretched, and nothing else.
        moved, moved_then = (points[1:] - points[:1] for points in (before, after))
        stretch = (moved * moved_then).sum((0, 1)) / (moved**2).sum((0, 1))
        np.testing.assert_allclose(moved_then, moved * stretch, atol=1e-5)
        between = plain["references"][0, 0] - before[0], strange["references"][0, 0] - after[0]
        np.testing.assert_allclose(between[1], between[0] * stretch, atol=1e-5)

    def test_velocity_is_the_difference_of_changes(self):
        truth = torch.zeros(1, 3, 1, 2)
        predicted = truth.clone()
        predicted[0, 1:] = torch.tensor((3.0, 4.0))
        assert velocity_term(predicted, truth).item() == pytest.approx(2.5, abs=1e-4)  # of 5 and 0
        assert velocity_term(truth + 7, truth).item() == pytest.approx(0, abs=1e-4)

    def test_it_learns_and_is_read_back(self, alone, voiced_pack, tmp_path):
        held_out = load_voiced_clips(voiced_pack)[0].identity
        table = {
            "task": "engine.training.iplap_landmark_task:LandmarkTask",
            "options": {
                "validation": [held_out],
                "network": {"width": 128, "layers": 1, "feed_forward": 32},
                "samples": {"references": 3},
            },
            "loss": {"l1": 1.0, "velocity": 0.1},
            "stage": [{"size": 256, "steps": 10, "batch": 4, "lr": 1e-3}],
        }
        recipe = from_table(Recipe, table, "test")
        task = load_task(recipe, voiced_pack)
        assert isinstance(task, LandmarkTask)
        task._network.train()
        losses, _ = learned(task, recipe, 15, 1e-3)
        assert losses[-1] < 0.8 * losses[0]
        task._network.eval()
        with torch.no_grad():
            figures = task.validate(recipe.stage[0])
        assert figures.keys() == {"jaw_l1", "mouth_l1", "still_jaw_l1", "still_mouth_l1"}
        (path,) = task.export(tmp_path, {})
        assert load_landmarks(path).config == task._network.config
