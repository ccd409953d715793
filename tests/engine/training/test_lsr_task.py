"""LSR in the training room, on real clips: samples, the layout first, all of it, and one person."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.face.contours68 import contours_68, mirrored_contours  # noqa: E402
from engine.face.fit import fit_source, fit_state  # noqa: E402
from engine.face.model import FaceModel  # noqa: E402
from engine.generators.lsr import LSRGenerator  # noqa: E402
from engine.generators.lsr_drawing import draw_contours  # noqa: E402
from engine.nets.lsr import LSRConfig  # noqa: E402
from engine.nets.lsr_weights import beside, load_discriminator, load_network  # noqa: E402
from engine.training.augmentation import Change  # noqa: E402
from engine.training.clip_cache import build_cache  # noqa: E402
from engine.training.layout_targets import mirrored_layout  # noqa: E402
from engine.training.loop import Trainer  # noqa: E402
from engine.training.lsr_samples import LSRSampleConfig, LSRSamples  # noqa: E402
from engine.training.lsr_subject import LSRSubjectTask, Subject, published_steps  # noqa: E402
from engine.training.lsr_task import LSRLayoutTask, LSRTask  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError  # noqa: E402

pytestmark = pytest.mark.data

SIZE = 64
NETWORK = {"size": SIZE, "width": 4, "limit": 16, "latent": 16, "hidden": 8}
LOSS = {"l1": 10.0, "ssim": 1.0, "gan": 0.1, "style_code": 0.1, "layout_code": 0.1}
LAYOUT_LOSS = {"layout": 10.0, "layout_code": 1.0, "guide_l1": 1.0}


@pytest.fixture(scope="module")
def clips(small_pack, tmp_path_factory):
    return build_cache(small_pack, tmp_path_factory.mktemp("cache"), size=SIZE, step=8)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path_factory):
    """A cache of its own, no networks that judge, one batch to validate with."""
    monkeypatch.setattr("engine.training.clip_task.VALIDATION_BATCHES", 1)
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path_factory.getbasetemp() / "lsr"))
    for name in ("VISAVIS_VGG19", "VISAVIS_VGGFACE"):
        monkeypatch.delenv(name, raising=False)


def recipe_of(samples=None, **changes):
    options = {
        "network": NETWORK,
        "step": 8,
        "validation": ["p07"],
        "samples": samples or {"shots_least": 2, "shots_most": 2},
    }
    stage = {"size": SIZE, "steps": 2, "batch": 2, "lr": 1e-3}
    table = {"task": "lsr", "workers": 0, "options": options, "loss": LOSS, "stage": [stage], **changes}
    return from_table(Recipe, table, "test")


def task_of(kind, recipe, data):
    torch.manual_seed(0)
    return kind(recipe, data)


def a_batch(task, stage, size=2):
    arrays = task.samples(stage).batch(np.random.default_rng(0), size)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def learned(task, recipe, rounds):
    """The weighted sums of the generators' terms over some steps on one batch."""
    stage, weights = recipe.stage[0], recipe.weights(recipe.stage[0])
    batch = a_batch(task, stage)
    parameters = [p for network in task.networks().values() for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=5e-3, betas=(0.0, 0.999))
    losses = []
    for _ in range(rounds):
        terms = task.generator_terms(batch, task.forward(batch), weights)
        assert terms.keys() == weights.keys()
        total = sum(weights[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append({name: term.item() for name, term in terms.items()})
    return losses


class TestSamples:
    def test_targets_are_drawn_as_a_call_gives_them_and_sources_as_they_are(self, clips):
        clip, change = clips[0], Change.none()
        row = LSRSamples(clips, LSRSampleConfig(), SIZE).sample(clip, [3, 5], 20, change)
        np.testing.assert_array_equal(row["sources"], clip.frames[[3, 5]])
        np.testing.assert_array_equal(row["target"], clip.frames[20])
        own = [draw_contours(contours_68(clip.landmarks[k])[:, :2], SIZE) for k in (3, 5)]
        np.testing.assert_array_equal(row["source_contours"], own)
        person, state = fit_source(FaceModel.load(), clip.landmarks[3])
        state = fit_state(FaceModel.load(), person, clip.landmarks[20], previous=state)
        given = draw_contours(contours_68(person.landmarks(state).astype(np.float32))[:, :2], SIZE)
        np.testing.assert_array_equal(row["contours"], given)
        assert "classes" not in row

    def test_a_batch_depends_on_the_generator_alone_and_pictures_of_it_differ(self, clips):
        samples = LSRSamples(clips, LSRSampleConfig(shots_least=1, shots_most=3), SIZE)
        first, again = (samples.batch(np.random.default_rng(1), 3) for _ in range(2))
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])
        counts = {samples.batch(np.random.default_rng(seed), 1)["sources"].shape[1] for seed in range(12)}
        assert counts == {1, 2, 3}
        assert (first["sources"] != first["target"][:, None]).any(axis=(2, 3, 4)).all()

    def test_a_mirrored_sample_is_the_mirror_image(self, clips):
        plain, mirrored = (
            LSRSamples(clips, LSRSampleConfig(flip=flip, gain=0.0, shots_least=1, shots_most=1), SIZE, layouts=True)
            .sample(clips[0], [3], 20, Change.drawn(np.random.default_rng(0), flip, 0.0))
            for flip in (0.0, 1.0)
        )  # fmt: skip
        np.testing.assert_array_equal(mirrored["target"], plain["target"][:, ::-1])
        np.testing.assert_array_equal(mirrored["classes"], mirrored_layout(plain["classes"]))
        points = mirrored_contours(contours_68(clips[0].landmarks[3])[:, :2])
        np.testing.assert_array_equal(mirrored["source_contours"][0], draw_contours(points, SIZE))

    def test_frames_of_larger_clips_are_made_smaller(self, clips):
        row = LSRSamples(clips, LSRSampleConfig(), SIZE // 2).sample(clips[0], [3], 20, Change.none())
        assert row["sources"].shape == row["source_contours"].shape == (1, SIZE // 2, SIZE // 2, 3)
        halved = clips[0].frames[20].reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3))
        assert np.abs(row["target"] - halved).max() <= 1
        assert row["boxes"].shape == (SIZE // 2, SIZE // 2)

    def test_clips_of_few_frames_repeat_them(self, clips):
        few = type(clips[0])("few", "p", "train", clips[0].frames[:3], clips[0].landmarks[:3])
        batch = LSRSamples([few], LSRSampleConfig(), SIZE).batch(np.random.default_rng(0), 1)
        assert batch["sources"].shape[:2] == (1, 4)


def test_the_layout_learns_alone_and_begins_the_rest(small_pack, tmp_path):
    recipe = recipe_of(loss=LAYOUT_LOSS)
    task = task_of(LSRLayoutTask, recipe, small_pack)
    assert task.discriminators() == {}
    losses = learned(task, recipe, 8)
    assert losses[-1]["layout"] < 0.7 * losses[0]["layout"]
    with torch.no_grad():
        figures = task.validate(recipe.stage[0])
        batch = a_batch(task, recipe.stage[0])
        sheet = task.sheet(batch, task.forward(batch))
    assert 0 < figures["intersection"] < 1
    assert sheet.shape == (2 * SIZE, 6 * SIZE, 3)
    np.testing.assert_array_equal(sheet[:SIZE, :SIZE], batch["source"][0])

    (path,) = task.export(tmp_path, {})
    whole = LSRTask(recipe_of(), small_pack)
    whole.load_weights(path)
    state = whole.networks()["network"].state_dict()
    for key, value in task.networks()["network"].state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-3, atol=1e-3)


def test_all_of_it_learns_and_the_discriminator_tells(small_pack):
    recipe = recipe_of()
    task = task_of(LSRTask, recipe, small_pack)
    losses = learned(task, recipe, 8)
    assert losses[-1]["l1"] < 0.8 * losses[0]["l1"]
    (opponent,) = task.discriminators().values()
    batch = a_batch(task, recipe.stage[0])
    outputs = {name: value.detach() for name, value in task.forward(batch).items()}
    optimizer = torch.optim.Adam(opponent.parameters(), lr=1e-2, betas=(0.0, 0.999))
    against = []
    for _ in range(8):
        terms = task.discriminator_terms(batch, outputs)
        assert terms.keys() == {"real", "fake", "penalty"}
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        against.append((terms["real"] + terms["fake"]).item())
    assert against[-1] < 0.95 * against[0]  # the penalty holds it back


def test_codes_are_means_over_the_pictures(small_pack):
    recipe = recipe_of()
    task = task_of(LSRTask, recipe, small_pack)
    batch = a_batch(task, recipe.stage[0])
    with torch.no_grad():
        both = task.forward(batch)
        ones = [
            task.forward({**batch, **{name: batch[name][:, k : k + 1] for name in ("sources", "source_contours")}})
            for k in range(2)
        ]
    for name in ("style", "layout"):
        torch.testing.assert_close(both[name], (ones[0][name] + ones[1][name]) / 2, rtol=1e-4, atol=1e-4)


def test_what_the_loop_exports_renders_and_a_person_is_fine_tuned_from_it(small_pack, tmp_path, clips):
    """All of the loop, twice: on clips, then on frames of one person, whose encoders stay as they are."""
    task = task_of(LSRTask, recipe_of(), small_pack)
    summary = Trainer(recipe_of(), task, tmp_path / "all", device="cpu").run()
    assert (summary.step, summary.skipped) == (2, 0)
    weights, opponent = summary.files
    assert load_network(weights).config == load_discriminator(opponent).config == LSRConfig(**NETWORK)
    assert opponent == beside(weights)

    clip = clips[0]
    Subject(np.array(clip.frames[:5]), clip.landmarks[:5]).save(tmp_path / "subject.npz")
    recipe = recipe_of(
        loss={"l1": 1.0, "gan": 0.1},
        samples={"shots_least": 1, "shots_most": 8},
        intervals={"validate": 0, "sheet": 0},
    )
    tuning = task_of(LSRSubjectTask, recipe, tmp_path / "subject.npz")
    trainer = Trainer(recipe, tuning, tmp_path / "subject", device="cpu", weights=weights)
    before = {key: value.clone() for key, value in tuning.networks()["network"].state_dict().items()}
    tuned, _ = trainer.run().files
    changed = {
        key for key, value in load_network(tuned).state_dict().items() if (value != before[key].half().float()).any()
    }
    parts = {key.split(".")[0] for key in changed}
    assert parts == {"layout_generator", "image_generator"}

    person, state = fit_source(FaceModel.load(), clip.landmarks[0])
    frame, own = np.repeat(np.repeat(clip.frames[:1], 4, 1), 4, 2), person.landmarks(state).astype(np.float32)[None]
    shown = []
    for path in (weights, tuned):
        generator = LSRGenerator(256, path)
        shown.append(generator.render(generator.encode(frame, own), generator.motion(person, state)))
    assert shown[0].shape == (1, 256, 256, 3)
    assert (shown[0] != shown[1]).any()


def test_a_person_is_learned(small_pack, tmp_path, clips):
    Subject(np.array(clips[0].frames[:4]), clips[0].landmarks[:4]).save(tmp_path / "subject.npz")
    recipe = recipe_of(loss={"l1": 10.0}, samples={"shots_least": 1, "shots_most": 2})
    losses = learned(task_of(LSRSubjectTask, recipe, tmp_path / "subject.npz"), recipe, 8)
    assert losses[-1]["l1"] < 0.8 * losses[0]["l1"]


def test_fine_tuning_is_as_long_as_published():
    assert [published_steps(frames) for frames in (1, 3, 4, 8, 16, 31, 32, 200)] == [
        24,
        24,
        60,
        100,
        200,
        200,
        400,
        400,
    ]


def test_what_is_missing_or_wrong_is_named(small_pack, tmp_path, clips):
    with pytest.raises(TrainingError, match="--data"):
        LSRTask(recipe_of(), None)
    with pytest.raises(RecipeError, match="expected a multiple of 32"):
        LSRTask(recipe_of(options={"network": {**NETWORK, "size": 60}}), small_pack)
    with pytest.raises(RecipeError, match=r"size 96, but the network is for 64"):
        LSRTask(recipe_of(stage=[{"size": 96, "steps": 1, "batch": 1, "lr": 1e-3}]), small_pack)
    with pytest.raises(RecipeError, match="least <= most"):
        LSRTask(recipe_of(samples={"shots_least": 3, "shots_most": 2}), small_pack)
    task = LSRTask(recipe_of(), small_pack)
    with pytest.raises(TrainingError, match="no weights of LSR"):
        task.load_weights(tmp_path / "none.safetensors")
    (path, _) = task.export(tmp_path, {})
    with pytest.raises(TrainingError, match=r"set options\.network"):
        LSRTask(recipe_of(options={"network": {**NETWORK, "hidden": 4}}), small_pack).load_weights(path)
    (tmp_path / "noise.npz").write_bytes(b"noise")
    with pytest.raises(TrainingError, match="make them by `visavis train subject`"):
        LSRSubjectTask(recipe_of(), tmp_path / "noise.npz")
    Subject(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 478, 3), np.float32)).save(tmp_path / "small.npz")
    with pytest.raises(TrainingError, match="frames of 32 pixels, the network is for 64"):
        LSRSubjectTask(recipe_of(), tmp_path / "small.npz")


@pytest.mark.parametrize(("name", "kind"), [("lsr", LSRTask), ("lsr-layout", LSRLayoutTask)])
def test_the_shipped_recipes_are_some(name, kind, tmp_path):
    recipe = load_recipe(name)
    task = kind(recipe, tmp_path)
    assert recipe.task == name
    assert task.networks()["network"].config == LSRConfig(size=96, width=8, limit=128, hidden=16, encoder_blocks=5)
