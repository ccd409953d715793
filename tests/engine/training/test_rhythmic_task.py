"""Rhythmic Head Motion in the training room, on real clips."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")

from engine.face.contours68 import contours_68  # noqa: E402
from engine.face.edge_map import edge_map  # noqa: E402
from engine.generators.posed_face import head_turn  # noqa: E402
from engine.generators.rhythmic import RhythmicGenerator  # noqa: E402
from engine.motion import to_pixels  # noqa: E402
from engine.nets.pictures import planes  # noqa: E402
from engine.nets.rhythmic_composition import warped  # noqa: E402
from engine.nets.rhythmic_weights import load_network  # noqa: E402
from engine.training.augmentation import Change  # noqa: E402
from engine.training.clip_cache import build_cache  # noqa: E402
from engine.training.recipe import Recipe, RecipeError, from_table, load_recipe  # noqa: E402
from engine.training.rhythmic_samples import RhythmicFrameConfig, RhythmicSamples, face_flow  # noqa: E402
from engine.training.rhythmic_task import RhythmicTask  # noqa: E402
from engine.training.task import TrainingError  # noqa: E402

pytestmark = pytest.mark.data

SIZE, COUNT = 128, 3
OPTIONS = {"divisor": 16, "discriminator_divisor": 16, "references": COUNT, "step": 8, "validation": ["p07"]}
LOSS = {"l1": 10.0, "ssim": 2.0, "raw": 2.0, "warp": 2.0, "flow": 0.1, "adversarial": 1.0, "matching": 1.0}


@pytest.fixture(scope="module")
def clips(small_pack, tmp_path_factory):
    return build_cache(small_pack, tmp_path_factory.mktemp("cache"), size=SIZE, step=8)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path_factory):
    """A cache of its own, no VGG19, one batch to validate with."""
    monkeypatch.setattr("engine.training.clip_task.VALIDATION_BATCHES", 1)
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path_factory.getbasetemp() / "rhythmic"))
    monkeypatch.delenv("VISAVIS_VGG19", raising=False)


def recipe_of(loss=LOSS, **options):
    stage = {"size": SIZE, "steps": 2, "batch": 2, "lr": 1e-4}
    table = {"task": "rhythmic", "workers": 0, "options": {**OPTIONS, **options}, "loss": loss, "stage": [stage]}
    return from_table(Recipe, table, "test")


def batch_of(samples, seed=0, size=2):
    arrays = samples.batch(np.random.default_rng(seed), size)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


class TestSamples:
    def test_a_batch_depends_on_the_generator_alone(self, clips):
        samples = RhythmicSamples(clips, RhythmicFrameConfig(), COUNT)
        first, again, other = (samples.batch(np.random.default_rng(seed), 2) for seed in (1, 1, 2))
        assert first["references"].shape == (2, COUNT, SIZE, SIZE, 3)
        assert first["reference_maps"].shape == (2, COUNT, SIZE, SIZE, 1)
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])
        assert (first["target"] != other["target"]).any()
        np.testing.assert_array_equal(first["source"], first["references"][:, 0])

    def test_references_are_one_frame_or_several(self, clips):
        for single, kinds in ((1.0, {1}), (0.0, {2, 3})):
            samples = RhythmicSamples(clips, RhythmicFrameConfig(single=single), COUNT)
            rows = samples.batch(np.random.default_rng(0), 8)["references"]
            assert {len(np.unique(row.reshape(COUNT, -1), axis=0)) for row in rows} == kinds

    def test_warped_reference_is_the_farthest_or_any(self, clips):
        """In pose, from the target's."""
        config = RhythmicFrameConfig(flip=0.0, gain=0.0, farthest=1.0, single=0.0)
        row = RhythmicSamples(clips, config, 2).sample(clips[0], (0, 40, 41), Change.none())
        turns = [head_turn(clips[0].landmarks[k]) for k in (0, 40, 41)]
        far = int(np.argmax([np.abs(one - turns[2]).mean() for one in turns[:2]]))
        np.testing.assert_array_equal(row["reference_edges"], row["reference_maps"][far])

    def test_edges_are_drawn_from_what_a_call_gives(self, clips):
        row = RhythmicSamples(clips, RhythmicFrameConfig(), COUNT).sample(clips[0], (3, 5, 7, 20), Change.none())
        tracked = contours_68(to_pixels(clips[0].landmarks[20], SIZE, SIZE))[:, :2]
        true, given = edge_map(tracked, SIZE) > 0, row["edges"][..., 0] > 0
        assert 0.5 < (true & given).sum() / true.sum() < 1.0
        own = contours_68(to_pixels(clips[0].landmarks[3], SIZE, SIZE))[:, :2]
        np.testing.assert_array_equal(row["reference_maps"][0, ..., 0], edge_map(own, SIZE))

    def test_flows_lead_to_the_same_place_of_the_face(self, clips):
        """Warped by them, the face resembles the target's more than it does as it is; eyes and mouth do not count."""
        for mirror in (False, True):
            change, samples = Change(mirror, None), RhythmicSamples(clips, RhythmicFrameConfig(single=1.0), COUNT)
            points = clips[0].landmarks
            far = int(np.linalg.norm(points - points[3], axis=2).mean(axis=1).argmax())
            row = samples.sample(clips[0], (3, 5, 7, far), change)
            truth = planes(torch.from_numpy(np.ascontiguousarray(row["target"]))[None])
            for name in ("reference", "rendering"):
                flow = torch.from_numpy(np.ascontiguousarray(row[f"{name}_flow"]))[None].permute(0, 3, 1, 2)
                picture = planes(torch.from_numpy(np.ascontiguousarray(row[name]))[None])
                moved = warped(picture, flow[:, :2])
                counts = (flow[:, 2:] > 0) & ((moved > 0.04) & (picture > 0.04)).all(dim=1, keepdim=True)
                assert 0.03 < counts.float().mean() < 0.6
                errors = [((one - truth).abs() * counts).sum() for one in (moved, picture)]
                assert errors[0] < errors[1] * (0.6 if name == "reference" else 1.3)

    def test_flow_is_what_the_warp_wants(self, clips):
        """A face two pixels to the right of where it is wanted; outside there is none."""
        points = to_pixels(clips[0].landmarks[0], SIZE, SIZE)
        flow = face_flow(points, points + np.float32((2.0, -1.0, 0.0)), SIZE)
        on_face = flow[..., 2] > 0
        assert not flow[~on_face].any()
        ramps = np.stack([*np.meshgrid(*[np.arange(SIZE, dtype=np.float32)] * 2), np.zeros((SIZE, SIZE), np.float32)])
        tensor = torch.from_numpy(flow[None]).permute(0, 3, 1, 2)
        found = warped(torch.from_numpy(ramps)[None], tensor[:, :2])[0, :2].numpy() - ramps[:2]
        np.testing.assert_allclose(found[:, on_face].T, [[2.0, -1.0]] * on_face.sum(), atol=1e-3)


def test_it_learns_and_is_exported_for_the_generator(small_pack, tmp_path):
    """A few steps on one batch make its loss smaller; the generator loads what is exported."""
    recipe = recipe_of()
    task = RhythmicTask(recipe, small_pack)
    stage = recipe.stage[0]
    batch, weights = batch_of(task.samples(stage)), recipe.weights(stage)
    sides = (task.networks(), task.discriminators())
    optimizers = [torch.optim.Adam([p for net in side.values() for p in net.parameters()], lr=4e-3) for side in sides]
    losses, against = [], []
    for _ in range(6):
        outputs = task.forward(batch)
        terms = task.generator_terms(batch, outputs, weights)
        assert set(terms) == set(LOSS)
        loss = sum(weights[name] * term for name, term in terms.items())
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        other = task.discriminator_terms(batch, {name: value.detach() for name, value in outputs.items()})
        optimizers[1].zero_grad()
        sum(other.values()).backward()
        optimizers[1].step()
        losses.append(float(loss.detach()))
        against.append(float(sum(other.values()).detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert against[-1] < against[0]
    (path,) = task.export(tmp_path, {"task": "rhythmic", "steps": "6"})
    generator = RhythmicGenerator(SIZE, path)
    assert generator.network_specs()["render"].inputs[5].shape == (COUNT, 8, SIZE // 4, SIZE // 4)
    again = RhythmicTask(recipe, small_pack)
    again.load_weights(path)
    for name, value in load_network(path).state_dict().items():
        torch.testing.assert_close(again.networks()["network"].state_dict()[name], value, atol=0, rtol=0)
    assert task.sheet(batch, outputs).shape == (2 * SIZE, 4 * SIZE, 3)
    assert task.validate(stage).keys() >= {"l1", "ssim", "source_l1", "source_ssim"}


def test_without_matting_the_raw_picture_is_drawn_without_the_warps(small_pack):
    """In a pass of its own, in training alone."""
    recipe = recipe_of({"l1": 1.0, "raw": 1.0}, matting=False)
    task = RhythmicTask(recipe, small_pack)
    batch = batch_of(task.samples(recipe.stage[0]))
    with torch.no_grad():
        trained = task.forward(batch)
        task.networks()["network"].eval()
        used = task.forward(batch)
    assert (trained["raw"] - trained["frame"]).abs().max() > 1e-3
    torch.testing.assert_close(used["raw"], used["frame"], atol=0, rtol=0)
    assert not task.discriminators()


def test_wrong_options_and_weights_are_named(small_pack, tmp_path):
    with pytest.raises(RecipeError, match="references: expected 2 to 64"):
        RhythmicTask(recipe_of(references=1), small_pack)
    with pytest.raises(RecipeError, match="from 1 to 16"):
        RhythmicTask(recipe_of(divisor=17), small_pack)
    task = RhythmicTask(recipe_of(), small_pack)
    (path,) = task.export(tmp_path, {})
    with pytest.raises(TrainingError, match=r"set its \[options\] as the weights have them"):
        RhythmicTask(recipe_of(references=2), small_pack).load_weights(path)
    (tmp_path / "noise").write_bytes(b"noise")
    with pytest.raises(TrainingError, match="no weights of Rhythmic Head Motion"):
        task.load_weights(tmp_path / "noise")


def test_recipe_that_comes_along_is_for_it(small_pack):
    recipe = load_recipe("rhythmic")
    assert recipe.task == "rhythmic"
    task = RhythmicTask(recipe, small_pack)
    assert task.networks()["network"].config.widths[0] == 8
    assert not task.discriminators()
