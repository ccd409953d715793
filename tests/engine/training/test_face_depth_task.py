"""Training of the face depth network: what is near in the mesh, and that it is learned."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.face.model import FaceModel  # noqa: E402
from engine.motion import FaceState, to_pixels  # noqa: E402
from engine.nets.dagan_weights import load_depth  # noqa: E402
from engine.nets.face_depth import FaceDepthConfig  # noqa: E402
from engine.training.face_depth_task import FARTHEST, NEAREST, FaceDepthTask, mesh_disparity  # noqa: E402
from engine.training.loop import Trainer  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.task import TrainingError, load_task  # noqa: E402

NOSE_TIP, CHEEK_RIGHT, CHEEK_LEFT = 4, 123, 352


def landmarks(turn=0.0):
    model = FaceModel.load()
    state = FaceState((0, turn, 0), (0, 0), 0.25, np.zeros(model.expression_size), (0, 0))
    return model.person().landmarks(state).astype(np.float32)


def at(disparity, points, number):
    x, y = points[number, :2].astype(int)
    return float(disparity[y, x])


def test_the_nose_is_nearest_and_the_background_far():
    points = to_pixels(landmarks(), 128, 128)
    disparity, weight = mesh_disparity(landmarks(), 128)
    assert disparity.shape == weight.shape == (128, 128)
    nose, right, left = (at(disparity, points, number) for number in (NOSE_TIP, CHEEK_RIGHT, CHEEK_LEFT))
    assert nose == pytest.approx(NEAREST, abs=0.03)
    assert right == pytest.approx(left, abs=0.03)
    assert right < nose - 0.15
    assert disparity[:4].max() < 0.4
    assert disparity.min() >= FARTHEST - 1e-6
    assert weight[64, 64] == 1.0
    assert weight[2, 2] < 0.5


def test_a_turned_head_brings_one_cheek_nearer():
    turned = landmarks(0.5)
    points = to_pixels(turned, 128, 128)
    disparity, _ = mesh_disparity(turned, 128)
    assert abs(at(disparity, points, CHEEK_RIGHT) - at(disparity, points, CHEEK_LEFT)) > 0.15


def test_size_of_the_face_does_not_matter():
    near, far = landmarks(), landmarks() * 0.6
    a, b = mesh_disparity(near, 128)[0], mesh_disparity(far, 128)[0]
    for number in (NOSE_TIP, CHEEK_LEFT):
        one, other = at(a, to_pixels(near, 128, 128), number), at(b, to_pixels(far, 128, 128), number)
        assert one == pytest.approx(other, abs=0.05)


def recipe_of(**changes):
    table = {
        "task": "engine.training.face_depth_task:FaceDepthTask",
        "workers": 0,
        "options": {"width": 16, "step": 8, "validation": ["p07"]},
        "loss": {"l1": 1.0, "gradient": 1.0, "smoothness": 0.01},
        "stage": [{"size": 64, "steps": 40, "batch": 4, "lr": 3e-3}],
        "optimizer": {"warmup_steps": 5},
        **changes,
    }
    return from_table(Recipe, table, "test")


@pytest.mark.data
def test_it_learns_and_what_it_exports_loads(small_pack, tmp_path, monkeypatch, tmp_path_factory):
    monkeypatch.setattr("engine.training.clip_task.VALIDATION_BATCHES", 1)
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path_factory.getbasetemp() / "depth"))
    recipe = recipe_of(ema_decay=0.5)
    task = load_task(recipe, small_pack)
    summary = Trainer(recipe, task, tmp_path, device="cpu").run()
    with torch.no_grad():
        figures = task.validate(recipe.stage[0])
    assert figures["correlation"] > 0.3  # of somebody who was held out
    assert figures.keys() == {"l1", "constant_l1", "correlation"}
    (path,) = summary.files
    loaded = load_depth(path)
    assert loaded.config == FaceDepthConfig(width=16)
    again = load_task(recipe, small_pack)
    again.load_weights(path)
    for key, value in again.networks()["network"].state_dict().items():
        torch.testing.assert_close(value, loaded.state_dict()[key])
    with pytest.raises(TrainingError, match="the recipe says FaceDepthConfig"):
        load_task(recipe_of(options={"width": 8}), small_pack).load_weights(path)
    with pytest.raises(TrainingError, match="no weights of a face depth network"):
        again.load_weights(tmp_path / "recipe.json")

    batch = task.samples(recipe.stage[0]).batch(np.random.default_rng(0), 3)
    batch = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()}
    with torch.no_grad():
        sheet = task.sheet(batch, task.forward(batch))
    assert sheet.shape == (3 * 64, 3 * 64, 3)
    np.testing.assert_array_equal(sheet[:64, :64], batch["frame"][0])


def test_the_shipped_recipe_is_one(tmp_path):
    task = load_task(load_recipe("face-depth"), tmp_path)
    assert isinstance(task, FaceDepthTask)
    assert task.networks()["network"].config == FaceDepthConfig(width=16)
    with pytest.raises(RecipeError, match="width: expected a multiple of 4"):
        load_task(recipe_of(options={"width": 6}), tmp_path)
