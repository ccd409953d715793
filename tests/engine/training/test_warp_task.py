"""Training of FOMM and DaGAN: what is learned, what is left alone, and what comes out."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from safetensors.torch import load_file, save_file  # noqa: E402

from engine.generators.dagan import DaGANGenerator  # noqa: E402
from engine.generators.fomm import FOMMGenerator  # noqa: E402
from engine.nets.dagan import DaGANModel  # noqa: E402
from engine.nets.dagan_weights import depth_metadata  # noqa: E402
from engine.nets.face_depth import FaceDepth, FaceDepthConfig  # noqa: E402
from engine.nets.first_order import FirstOrderModel  # noqa: E402
from engine.nets.first_order_weights import model_metadata, save_model  # noqa: E402
from engine.training.dagan_task import DaGANTask  # noqa: E402
from engine.training.first_order_task import FirstOrderTask  # noqa: E402
from engine.training.loop import Trainer  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError, load_task  # noqa: E402

pytestmark = pytest.mark.data

SIZE = 64
OPTIONS = {
    "keypoints": 4,
    "divisor": 8,
    "downscale": 2,
    "discriminator_divisor": 8,
    "step": 8,
    "validation": ["p07"],
}
LOSS = {"l1": 10.0, "ssim": 2.0, "equivariance": 1.0, "equivariance_jacobian": 1.0, "adversarial": 1.0, "matching": 1.0}
TASKS = {"fomm": "first_order_task:FirstOrderTask", "dagan": "dagan_task:DaGANTask"}


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path_factory):
    """A cache of its own, no VGG19, one batch to validate with."""
    monkeypatch.setattr("engine.training.clip_task.VALIDATION_BATCHES", 1)
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path_factory.getbasetemp() / "warp"))
    monkeypatch.delenv("VISAVIS_VGG19", raising=False)


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    """Weights of a depth network that has seen something."""
    torch.manual_seed(5)
    network = FaceDepth(FaceDepthConfig(width=4)).train()
    with torch.no_grad():
        network(torch.rand(2, 3, 64, 64))
    path = tmp_path_factory.mktemp("depth") / "face-depth.safetensors"
    save_file(network.state_dict(), path, depth_metadata(network.config))
    return path


@pytest.fixture(params=["fomm", "dagan"])
def recipe_of(request, depth):
    def make(loss=LOSS, steps=2, **options):
        own = {"depth": str(depth)} if request.param == "dagan" else {}
        stage = {"size": SIZE, "steps": steps, "batch": 2, "lr": 1e-4}
        table = {
            "task": f"engine.training.{TASKS[request.param]}",
            "workers": 0,
            "options": {**OPTIONS, **own, **options},
            "loss": {**loss, "crowding": 1.0} if request.param == "dagan" else loss,
            "stage": [stage],
        }
        return from_table(Recipe, table, "test")

    make.name = request.param
    return make


def a_batch(task, stage, size=2):
    arrays = task.samples(stage).batch(np.random.default_rng(0), size)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def test_it_learns(recipe_of, small_pack):
    """A few steps on one batch make its loss smaller, and the discriminator tells it from the truth."""
    recipe = recipe_of()
    task = load_task(recipe, small_pack)
    stage, weights = recipe.stage[0], recipe.weights(recipe.stage[0])
    batch = a_batch(task, stage)
    sides = (task.networks(), task.discriminators())
    trained = [[p for net in side.values() for p in net.parameters() if p.requires_grad] for side in sides]
    optimizers = [torch.optim.Adam(parameters, lr=4e-3) for parameters in trained]
    losses, against = [], []
    for _ in range(8):
        torch.manual_seed(0)  # the same deformation
        outputs = task.forward(batch)
        terms = task.generator_terms(batch, outputs, weights)
        assert terms.keys() == weights.keys()
        optimizers[0].zero_grad()
        sum(weights[name] * term for name, term in terms.items()).backward()
        optimizers[0].step()
        losses.append({name: term.item() for name, term in terms.items()})
        terms = task.discriminator_terms(batch, {name: value.detach() for name, value in outputs.items()})
        assert terms.keys() == {"real", "fake"}
        optimizers[1].zero_grad()
        sum(terms.values()).backward()
        optimizers[1].step()
        against.append(sum(terms.values()).item())
    assert losses[-1]["l1"] < 0.8 * losses[0]["l1"]
    assert against[-1] < 0.9 * against[0]


def test_equivariance_teaches_the_detector_to_follow_a_deformation(recipe_of, small_pack):
    recipe = recipe_of(loss={"equivariance": 1.0, "equivariance_jacobian": 0.1})
    task = load_task(recipe, small_pack)
    assert task.discriminators() == {}
    weights = recipe.weights(recipe.stage[0])
    optimizer = torch.optim.Adam([p for p in task.networks()["model"].parameters() if p.requires_grad], lr=2e-3)
    batch, seen = a_batch(task, recipe.stage[0]), []
    for step in range(12):
        torch.manual_seed(step % 2)
        terms = task.generator_terms(batch, task.forward(batch), weights)
        optimizer.zero_grad()
        sum(weights[name] * term for name, term in terms.items()).backward()
        optimizer.step()
        seen.append(terms["equivariance"].item())
    assert np.mean(seen[-4:]) < 0.8 * np.mean(seen[:4])


def test_what_the_loop_exports_is_what_the_generator_renders_with(recipe_of, small_pack, tmp_path):
    """All of the loop: both sides learn, held-out people are validated and shown, the weights' mean is exported."""
    recipe = recipe_of()
    task = load_task(recipe, small_pack)
    summary = Trainer(recipe, task, tmp_path, device="cpu").run()
    assert (summary.step, summary.skipped) == (2, 0)
    stage = recipe.stage[0]
    assert {clip.identity for clip in task.samples(stage).clips} == {"p03"}
    assert {clip.identity for clip in task.sheet_samples(stage).clips} == {"p07"}
    (path,) = summary.files
    assert path.name == f"{recipe_of.name}.safetensors"
    kind = FOMMGenerator if recipe_of.name == "fomm" else DaGANGenerator
    generator = kind(128, path)  # trained at 64: the factor by which pictures are made smaller doubles
    assert generator.keypoint_count == 4
    assert dict(generator.network_specs()["encode"].outputs and [("small", (3, 32, 32))]) == {
        entry.name: entry.shape for entry in generator.network_specs()["encode"].outputs if entry.name == "small"
    }
    frame = np.full((1, 128, 128, 3), 90, np.uint8)
    assert generator.detect(frame)[0].count == 4


def test_it_shows_and_validates_without_a_deformed_twin(recipe_of, small_pack):
    recipe = recipe_of()
    task = load_task(recipe, small_pack)
    batch = a_batch(task, recipe.stage[0])
    for network in task.networks().values():
        network.eval()
    with torch.no_grad():
        outputs = task.forward(batch)
        figures = task.validate(recipe.stage[0])
    assert "equivariance" not in outputs
    sheet = task.sheet(batch, outputs)
    assert sheet.shape == (2 * SIZE, 4 * SIZE, 3)
    np.testing.assert_array_equal(sheet[:SIZE, :SIZE], batch["source"][0])
    names = {"l1", "ssim", "mouth_l1", "eyes_l1"}
    assert figures.keys() == names | {f"source_{name}" for name in names}


def test_the_discriminator_sees_the_driving_keypoints_or_not(recipe_of, small_pack):
    for with_keypoints, channels in ((True, 7), (False, 3)):
        task = load_task(recipe_of(discriminator_keypoints=with_keypoints), small_pack)
        first = next(iter(task.discriminators()["discriminator"].parameters()))
        assert first.shape[1] == channels


def test_begins_with_weights_of_its_own_kind_alone(recipe_of, small_pack, tmp_path):
    """Also with imported ones, which have no counters of batch norms."""
    task = load_task(recipe_of(), small_pack)
    model = task.networks()["model"]
    torch.manual_seed(7)
    fresh = type(model)(model.config)
    state = {key: value for key, value in fresh.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "fitting.safetensors", task.metadata())
    task.load_weights(tmp_path / "fitting.safetensors")
    for key, value in state.items():
        torch.testing.assert_close(model.state_dict()[key], value)
    other = load_task(recipe_of(keypoints=6), small_pack)
    with pytest.raises(TrainingError, match=r"another network than task .* set keypoints and divisor"):
        other.load_weights(tmp_path / "fitting.safetensors")
    with pytest.raises(TrainingError, match="no weights of"):
        task.load_weights(tmp_path / "none.safetensors")


def test_the_depth_network_is_left_alone(small_pack, depth, tmp_path):
    table = {
        "task": "engine.training.dagan_task:DaGANTask",
        "workers": 0,
        "options": {**OPTIONS, "depth": str(depth)},
        "loss": {"l1": 1.0, "crowding": 1.0},
        "stage": [{"size": SIZE, "steps": 3, "batch": 2, "lr": 1e-2}],
    }
    recipe = from_table(Recipe, table, "test")
    task = load_task(recipe, small_pack)
    assert isinstance(task, DaGANTask)
    before = load_file(depth)
    Trainer(recipe, task, tmp_path, device="cpu").run()
    model = task.networks()["model"]
    assert isinstance(model, DaGANModel)
    for key, value in model.depth.state_dict().items():
        if not key.endswith("num_batches_tracked"):  # which files need not have
            torch.testing.assert_close(value, before[key], rtol=0, atol=0, msg=key)


def test_dagan_without_a_trained_depth_network_says_how_to_get_one(small_pack, tmp_path):
    table = {"task": "engine.training.dagan_task:DaGANTask", "stage": [{"size": 64, "steps": 1, "batch": 1, "lr": 1}]}
    untrained = from_table(Recipe, {**table, "options": OPTIONS}, "test")
    task = load_task(untrained, small_pack)
    with pytest.raises(TrainingError, match="visavis train face-depth"):
        task.samples(untrained.stage[0])
    missing = from_table(Recipe, {**table, "options": {**OPTIONS, "depth": "none.safetensors"}}, "test")
    with pytest.raises(RecipeError, match="train one: visavis train face-depth"):
        load_task(missing, small_pack)
    save_model(FirstOrderModel(), tmp_path / "fomm.safetensors")
    wrong = from_table(Recipe, {**table, "options": {**OPTIONS, "depth": str(tmp_path / "fomm.safetensors")}}, "test")
    with pytest.raises(RecipeError, match="weights of first-order, not of face-depth"):
        load_task(wrong, small_pack)


def test_what_is_missing_or_wrong_is_named(recipe_of, small_pack):
    with pytest.raises(TrainingError, match="--data"):
        load_task(recipe_of(), None)
    with pytest.raises(RecipeError, match="divisor"):
        load_task(recipe_of(divisor=0), small_pack)
    with pytest.raises(RecipeError, match="options: unknown key 'keypoint'; did you mean 'keypoints'"):
        load_task(recipe_of(keypoint=3), small_pack)


def test_the_shipped_recipes_are_some(small_pack, tmp_path):
    task = load_task(load_recipe("fomm"), tmp_path)
    assert isinstance(task, FirstOrderTask)
    model = task.networks()["model"]
    assert (model.config.keypoints, model.config.width) == (10, 16)
    assert task.metadata() == model_metadata(model.config)
    assert task.discriminators()
    with pytest.raises(RecipeError, match="visavis train face-depth"):
        load_task(load_recipe("dagan"), tmp_path)
    assert load_recipe("dagan").options["keypoints"] == 15
