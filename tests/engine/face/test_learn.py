import csv

import numpy as np
import pytest

from engine.face.learn import (
    LearnConfig,
    Learner,
    load_samples,
    make_metric,
    mirror_permutation,
    principal_directions,
    regress_within,
    relaxed_face,
    similarity_motions,
    without_rigid_motion,
)
from engine.face.regions import LEFT_EYE_OUTER, LEFT_IRIS, POINTS, RIGHT_EYE_OUTER, RIGHT_IRIS
from engine.motion import FaceState


def test_mirror_pairs_the_two_sides(model):
    permutation = mirror_permutation(model.mean.astype(np.float64))
    assert permutation[RIGHT_EYE_OUTER] == LEFT_EYE_OUTER
    assert permutation[RIGHT_IRIS[0]] == LEFT_IRIS[0]
    assert permutation[1] == 1, "the tip of the nose is in the middle"
    np.testing.assert_array_equal(permutation[permutation], np.arange(POINTS))


def test_face_seen_from_the_side_cannot_be_paired(model):
    lopsided = model.mean.astype(np.float64) @ np.array(((0.8, 0, 0.6), (0, 1, 0), (-0.6, 0, 0.8)))
    with pytest.raises(ValueError, match="too lopsided"):
        mirror_permutation(lopsided)


def test_rigid_motion_is_removed_and_nothing_else(model):
    face, rigidity = model.mean.astype(np.float64), model.rigidity.astype(np.float64)
    random = np.random.default_rng(0)
    rigid = np.tensordot(random.normal(0, 0.01, (20, 7)), similarity_motions(face), 1)
    np.testing.assert_allclose(without_rigid_motion(rigid, face, rigidity), 0, atol=1e-9)
    jaw = np.zeros((1, POINTS, 3))
    jaw[0, [13, 14, 17]] = (0, 0.1, 0)  # lips say nothing about the skull
    np.testing.assert_allclose(without_rigid_motion(jaw, face, rigidity), jaw, atol=1e-9)


def test_principal_directions_find_what_moves():
    random = np.random.default_rng(1)
    metric = make_metric(LearnConfig())
    truth = random.normal(size=(3, POINTS, 3)) * (metric > 0)
    differences = np.tensordot(random.normal(size=(200, 3)) * (3, 2, 1), truth, 1)
    directions, deviations = principal_directions(differences, np.ones(200), metric, 3)
    rows = directions.reshape(3, -1)
    np.testing.assert_allclose((rows * metric.ravel()) @ rows.T, np.eye(3), atol=1e-6)
    explained = np.linalg.lstsq(rows.T, differences.reshape(200, -1).T, rcond=None)
    np.testing.assert_allclose(rows.T @ explained[0], differences.reshape(200, -1).T, atol=1e-6)
    assert deviations[0] >= deviations[1] >= deviations[2]


def test_slopes_come_from_within_the_groups():
    random = np.random.default_rng(2)
    slope = random.normal(size=(1, POINTS, 3))
    groups = np.repeat([0, 1], 100)
    features = random.normal(size=(200, 1)) + 5.0 * groups[:, None]
    differences = np.tensordot(features - 5.0 * groups[:, None], slope, 1)  # between the groups nothing changes
    found = regress_within(differences, features, np.ones(200), groups, ridge=0.0)
    np.testing.assert_allclose(found, slope, atol=1e-6)


def test_relaxed_face_is_the_closed_mouth_with_open_eyes(model):
    faces = np.repeat(model.mean[None].astype(np.float64), 40, 0)
    faces += np.random.default_rng(3).normal(0, 0.0005, faces.shape)
    faces[10:] += 2.5 * model.expression_deviation[0] * model.expression[0]  # the mouth stands open
    face, quality = relaxed_face(faces)
    np.testing.assert_allclose(face, model.mean, atol=0.002)
    assert quality > 0.9
    assert relaxed_face(faces[10:])[1] < 0.1


@pytest.fixture
def small_pack(tmp_path, model):
    """Six made-up people of the shipped model who move, written as a data pack, and one of the test split."""
    random = np.random.default_rng(4)
    (tmp_path / "landmarks").mkdir()
    rows = []
    for number in range(7):
        person = model.person(0.3 * random.normal(size=len(model.identity)) * model.identity_deviation)
        frames = []
        for frame in range(60):
            strength = 0.0 if frame % 6 == 0 else 1.0
            expression = strength * random.normal(size=model.expression_size) * model.expression_deviation
            state = FaceState(
                random.normal(0, 0.15, 3).astype(np.float32), np.zeros(2, np.float32), 0.3,
                expression.astype(np.float32), random.normal(0, 0.05, 2).astype(np.float32),
            )  # fmt: skip
            points = person.landmarks(state)
            points[:, :2] += 0.5
            frames.append(points)
        frames[5][:] = np.nan
        name = f"p{number:02}_01"
        np.savez(tmp_path / "landmarks" / f"{name}.npz", lm=np.array(frames, np.float32))
        rows.append(
            {
                "id": name,
                "split": "test" if number == 6 else "train",
                "kind": "speech",
                "identity": f"p{number:02}",
                "landmarks": f"landmarks/{name}.npz",
            }
        )
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_only_training_people_are_read_and_lost_frames_left_out(small_pack):
    samples = load_samples(small_pack, LearnConfig())
    assert [sample.name for sample in samples] == [f"p{number:02}" for number in range(6)]
    assert all(len(sample.points) == 59 for sample in samples)


def test_learned_model_explains_what_it_learned_from(small_pack, model):
    config = LearnConfig(rounds=1, identity_size=5)
    learned = Learner(load_samples(small_pack, config), config).learn()
    # The directions of the model that made the people lie in the space of the learned ones.
    rows, truth = learned.expression_rows, model.expression_rows[:6]
    weights = learned.metric.ravel().astype(np.float64)
    kept = np.square((truth * weights) @ rows.T).sum(1) / np.square(truth).dot(weights)
    assert kept.min() > 0.9
    again = Learner(load_samples(small_pack, config), config).learn()
    np.testing.assert_array_equal(again.expression, learned.expression)
