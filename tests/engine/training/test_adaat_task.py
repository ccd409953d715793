"""AdaAT in the training room, on real clips."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from safetensors.torch import save_file  # noqa: E402

from engine.face.contours68 import mirrored_contours  # noqa: E402
from engine.face.fit import fit_source  # noqa: E402
from engine.face.model import FaceModel  # noqa: E402
from engine.generators.adaat import AdaATGenerator, network_landmarks  # noqa: E402
from engine.nets.adaat import AdaATConfig, AdaATNetwork  # noqa: E402
from engine.nets.adaat_weights import load_network, save_network  # noqa: E402
from engine.runtime.torch_runtime import TorchRuntime  # noqa: E402
from engine.training.adaat_samples import AdaATSamples  # noqa: E402
from engine.training.adaat_task import AdaATTask  # noqa: E402
from engine.training.augmentation import Change  # noqa: E402
from engine.training.clip_cache import build_cache  # noqa: E402
from engine.training.clip_frames import FrameConfig  # noqa: E402
from engine.training.face_boxes import EYES, MOUTH, REST  # noqa: E402
from engine.training.loop import Trainer  # noqa: E402
from engine.training.perceptual import VGG19  # noqa: E402
from engine.training.pyramid import antialiased  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError, load_task  # noqa: E402

pytestmark = pytest.mark.data

OPTIONS = {"divisor": 16, "discriminator_divisor": 16, "step": 8, "validation": ["p07"]}
LOSS = {"l1": 10.0, "gradient": 10.0, "ssim": 2.0, "adversarial": 1.0, "matching": 1.0}


@pytest.fixture(scope="module")
def clips(small_pack, tmp_path_factory):
    return build_cache(small_pack, tmp_path_factory.mktemp("cache"), step=8)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path_factory):
    """A cache of its own, no VGG19, one batch to validate with."""
    monkeypatch.setattr("engine.training.clip_task.VALIDATION_BATCHES", 1)
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path_factory.getbasetemp() / "adaat"))
    monkeypatch.delenv("VISAVIS_VGG19", raising=False)


def recipe_of(**changes):
    stage = {"size": 256, "steps": 2, "batch": 2, "lr": 1e-4}
    table = {"task": "adaat", "workers": 0, "options": OPTIONS, "loss": LOSS, "stage": [stage], **changes}
    return from_table(Recipe, table, "test")


def a_batch(task, stage, size=2):
    arrays = task.samples(stage).batch(np.random.default_rng(0), size)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def test_landmarks_are_those_that_a_call_gives(clips):
    """The source's own exactly, the target's nearly: the person is the one that its picture shows."""
    clip = clips[0]
    row = AdaATSamples(clips, FrameConfig()).sample(clip, (3, 20), Change.none())
    tracked = network_landmarks(clip.landmarks[[3, 20]])
    np.testing.assert_allclose(row["source_landmarks"], tracked[0], atol=2e-4)
    apart = np.linalg.norm(row["target_landmarks"] - tracked[1], axis=1).mean()
    still = np.linalg.norm(tracked[0] - tracked[1], axis=1).mean()
    assert 1e-4 < apart < 0.4 * still
    person, state = fit_source(FaceModel.load(), clip.landmarks[3])
    generator_gives = network_landmarks(person.landmarks(state)[None])[0]
    np.testing.assert_allclose(row["source_landmarks"], generator_gives, atol=1e-6)


def test_a_batch_depends_on_the_generator_alone(clips):
    samples = AdaATSamples(clips, FrameConfig())
    first, again, other = (samples.batch(np.random.default_rng(seed), 3) for seed in (1, 1, 2))
    assert first["source"].shape == first["target"].shape == (3, 256, 256, 3)
    assert first["source_landmarks"].shape == first["target_landmarks"].shape == (3, 68, 2)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert (first["target"] != other["target"]).any()
    assert (first["target"] != first["source"]).any(axis=(1, 2, 3)).all()
    assert set(np.unique(first["boxes"])) == {REST, EYES, MOUTH}
    assert (first["boxes"] == REST).mean() > 0.5


def test_a_mirrored_sample_is_the_mirror_image(clips):
    plain, mirrored = (
        AdaATSamples(clips, FrameConfig(flip=flip, gain=0.0)).batch(np.random.default_rng(5), 2) for flip in (0.0, 1.0)
    )
    for name in ("source", "target", "boxes"):
        np.testing.assert_array_equal(mirrored[name], plain[name][:, :, ::-1])
    for name in ("source_landmarks", "target_landmarks"):
        np.testing.assert_array_equal(mirrored[name], mirrored_contours(plain[name]))
    assert (mirrored["boxes"] == plain["boxes"]).mean() < 1


def test_the_same_light_falls_on_source_and_target(clips):
    """Each colour becomes the same other one in both."""
    change = Change.drawn(np.random.default_rng(0), flip=0.0, gain=0.3)
    row = AdaATSamples(clips, FrameConfig()).sample(clips[0], (3, 20), change)
    old, new = clips[0].frames[[3, 20]], np.stack((row["source"], row["target"]))
    assert (old != new).mean() > 0.5
    for channel in range(3):
        pairs = np.unique(np.stack((old[..., channel].ravel(), new[..., channel].ravel())), axis=1)
        assert pairs.shape[1] == len(np.unique(pairs[0]))


def test_it_learns(small_pack):
    """A few steps on one batch make its loss smaller, and the discriminator tells it from the truth."""
    recipe = recipe_of()
    task = load_task(recipe, small_pack)
    assert isinstance(task, AdaATTask)
    stage, weights = recipe.stage[0], recipe.weights(recipe.stage[0])
    batch = a_batch(task, stage, 1)
    sides = (task.networks(), task.discriminators())
    optimizers = [torch.optim.Adam([p for net in side.values() for p in net.parameters()], lr=4e-3) for side in sides]
    losses, against = [], []
    for _ in range(6):
        outputs = task.forward(batch)
        terms = task.generator_terms(batch, outputs, weights)
        assert terms.keys() == weights.keys()
        optimizers[0].zero_grad()
        sum(weights[name] * term for name, term in terms.items()).backward()
        optimizers[0].step()
        losses.append(terms["l1"].item())
        terms = task.discriminator_terms(batch, {name: value.detach() for name, value in outputs.items()})
        assert terms.keys() == {"real", "fake"}
        optimizers[1].zero_grad()
        sum(terms.values()).backward()
        optimizers[1].step()
        against.append(sum(terms.values()).item())
    assert losses[-1] < 0.8 * losses[0]
    assert against[-1] < 0.9 * against[0]


def test_terms_without_weight_are_left_out_and_so_is_the_discriminator(small_pack):
    loss = {"l1": 1.0, "perceptual": 5.0, "adversarial": 0.0}
    recipe = recipe_of(loss=loss)
    task = load_task(recipe, small_pack)
    assert task.discriminators() == {}
    batch = a_batch(task, recipe.stage[0])
    outputs = {"frame": torch.full((2, 3, 256, 256), 0.5)}
    assert task.generator_terms(batch, outputs, loss).keys() == {"l1"}  # there is no VGG19


def test_vgg19_is_taken_at_two_sizes_and_the_mean_over_its_taps(small_pack, tmp_path, monkeypatch):
    torch.manual_seed(0)
    state, channels = {}, 3
    for number in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28):
        state[f"features.{number}.weight"] = torch.randn(4, channels, 3, 3)
        state[f"features.{number}.bias"] = torch.zeros(4)
        channels = 4
    save_file(state, tmp_path / "narrow.safetensors")
    monkeypatch.setenv("VISAVIS_VGG19", str(tmp_path / "narrow.safetensors"))
    loss = {"perceptual": 5.0}
    task = load_task(recipe_of(loss=loss), small_pack)
    frame, target = torch.rand(1, 3, 64, 64), torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    batch = {"target": target, "target_landmarks": torch.zeros(1, 68, 2), "boxes": torch.zeros(1, 64, 64)}
    terms = task.generator_terms(batch, {"frame": frame}, loss)
    vgg, truth = VGG19(state), target.permute(0, 3, 1, 2) / 255
    expected = 0.0
    for scale in (1, 2):
        taps = [vgg(antialiased(picture, scale)) for picture in (frame, truth)]
        expected += sum((one - other).abs().mean() for one, other in zip(*taps, strict=True)) / 5
    torch.testing.assert_close(terms["perceptual"], expected)


def test_mouth_and_eyes_count_more(small_pack):
    recipe = recipe_of(loss={"l1": 1.0})
    task = load_task(recipe, small_pack)
    batch = a_batch(task, recipe.stage[0])
    truth = batch["target"].permute(0, 3, 1, 2) / 255
    losses = {}
    for region in (REST, EYES, MOUTH):
        box = (batch["boxes"] == region)[:, None]
        wrong = torch.where(box, 1 - truth, truth)
        error = (wrong - truth).abs().mean()
        losses[region] = (task.generator_terms(batch, {"frame": wrong}, {"l1": 1.0})["l1"] / error).item()
    assert losses[EYES] / losses[REST] == pytest.approx(4, rel=0.15)
    assert losses[MOUTH] / losses[REST] == pytest.approx(5, rel=0.15)


def test_what_the_loop_exports_is_what_the_generator_renders_with(small_pack, tmp_path, clips):
    """All of the loop: both sides learn, held-out people are validated and shown, the weights' mean is exported."""
    recipe = recipe_of()
    task = load_task(recipe, small_pack)
    before = [p.clone() for p in task.discriminators()["discriminator"].parameters()]
    summary = Trainer(recipe, task, tmp_path, device="cpu").run()
    assert (summary.step, summary.skipped) == (2, 0)
    after = task.discriminators()["discriminator"].parameters()
    assert all((one != other).any() for one, other in zip(before, after, strict=True))

    stage = recipe.stage[0]
    assert {clip.identity for clip in task.samples(stage).clips} == {"p03"}
    assert {clip.identity for clip in task.sheet_samples(stage).clips} == {"p07"}
    (path,) = summary.files
    network = load_network(path)
    assert network.config == AdaATConfig(divisor=16, blend=False)

    generator = AdaATGenerator(256, path)
    compiled = TorchRuntime().compile(generator)
    model, clip = FaceModel.load(), clips[0]
    person, state = fit_source(model, clip.landmarks[0])
    own = person.landmarks(state).astype(np.float32)[None]
    source = np.array(clip.frames[:1])
    frame = compiled.render(compiled.encode(source, own), generator.motion(person, state))
    points = torch.from_numpy(network_landmarks(own))
    with torch.no_grad():
        expected = network(torch.from_numpy(source).permute(0, 3, 1, 2) / 255, points, points)
    assert np.abs(frame - 255 * expected.permute(0, 2, 3, 1).numpy()).max() <= 8


def test_it_validates_and_shows_what_it_made(small_pack):
    recipe = recipe_of()
    task = load_task(recipe, small_pack)
    batch = a_batch(task, recipe.stage[0])
    with torch.no_grad():
        sheet = task.sheet(batch, {"frame": batch["target"].permute(0, 3, 1, 2) / 255})
        figures = task.validate(recipe.stage[0])
    assert sheet.shape == (2 * 256, 4 * 256, 3)
    np.testing.assert_array_equal(sheet[:256, :256], batch["source"][0])
    np.testing.assert_array_equal(sheet[256:, 256:512], batch["target"][1])
    assert not sheet[:, 768:].any()
    names = {"l1", "ssim", "mouth_l1", "eyes_l1"}
    assert figures.keys() == names | {f"source_{name}" for name in names}
    assert 0 < figures["source_l1"] < figures["l1"]  # an untrained network paints grey


def test_begins_with_weights_of_its_own_kind_alone(small_pack, tmp_path):
    task = load_task(recipe_of(), small_pack)
    torch.manual_seed(7)
    published = AdaATNetwork(AdaATConfig(divisor=16, blend=False))
    save_network(published, tmp_path / "fitting.safetensors")
    task.load_weights(tmp_path / "fitting.safetensors")
    for key, value in task.networks()["network"].state_dict().items():
        torch.testing.assert_close(value, published.state_dict()[key])
    save_network(AdaATNetwork(AdaATConfig(divisor=16)), tmp_path / "blending.safetensors")
    with pytest.raises(TrainingError, match="set divisor and blend"):
        task.load_weights(tmp_path / "blending.safetensors")
    with pytest.raises(TrainingError, match="no weights of AdaAT"):
        task.load_weights(tmp_path / "none.safetensors")


def test_what_is_missing_or_wrong_is_named(small_pack):
    with pytest.raises(TrainingError, match="--data"):
        load_task(recipe_of(), None)
    with pytest.raises(RecipeError, match="expected a divisor of 64, got 5"):
        load_task(recipe_of(options={"divisor": 5}), small_pack)
    everybody = recipe_of(options={**OPTIONS, "validation": ["p03", "p07"]})
    with pytest.raises(TrainingError, match="held out"):
        load_task(everybody, small_pack).samples(everybody.stage[0])


def test_the_shipped_recipe_is_one(tmp_path):
    recipe = load_recipe("adaat")
    task = load_task(recipe, tmp_path)
    assert isinstance(task, AdaATTask)
    assert task.networks()["network"].config == AdaATConfig(divisor=8, blend=False)
    assert [stage.size for stage in recipe.stage] == [256, 512]
    assert task.discriminators()
