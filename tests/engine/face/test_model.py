import numpy as np
import pytest

from engine.face.fit import lid_gaps
from engine.face.learn import mirror, mirror_permutation, mouth_gaps
from engine.face.model import FaceModel, FaceModelError, Person, turning_features
from engine.face.regions import LEFT_EYE_OUTER, LEFT_IRIS, MESH_POINTS, POINTS, RIGHT_EYE_OUTER, RIGHT_IRIS
from engine.motion import rotation_matrix


def test_mean_face_is_in_head_coordinates(model):
    assert np.linalg.norm(model.mean[RIGHT_EYE_OUTER] - model.mean[LEFT_EYE_OUTER]) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(model.mean[:MESH_POINTS].mean(0), 0, atol=1e-3)
    chin, forehead, nose, ear = model.mean[[152, 10, 1, 234]]
    assert chin[1] > forehead[1], "y points down"
    assert nose[2] < ear[2], "z points away from the camera"
    assert model.mean[RIGHT_EYE_OUTER, 0] < 0, "the person's right is on the image's left"


def test_neutral_face_has_its_mouth_closed_and_its_eyes_open(model):
    assert mouth_gaps(model.mean[:, :2]) < 0.015
    assert lid_gaps(model.mean[:, :2]).min() > 0.17


def test_mean_face_is_symmetric(model):
    permutation = mirror_permutation(model.mean.astype(np.float64))
    np.testing.assert_allclose(mirror(model.mean, permutation), model.mean, atol=1e-3)


def test_expression_basis_is_orthonormal_under_the_metric(model):
    rows = model.expression_rows
    products = (rows * model.metric.ravel()) @ rows.T
    np.testing.assert_allclose(products, np.eye(model.expression_size), atol=1e-4)
    assert model.metric[:, :2].sum() == pytest.approx(1.0, abs=1e-4)


def test_expressions_are_ordered_by_importance(model):
    assert (np.diff(model.expression_deviation) <= 0).all()
    assert (np.diff(model.identity_deviation) <= 0).all()


def test_no_rigid_motion_in_the_expression_basis(model):
    """At the rigid points a direction moves by next to nothing that a small turn, shift or growth could do."""
    x, y, z = model.mean.T.astype(np.float64)
    zero, one = np.zeros(POINTS), np.ones(POINTS)
    motions = np.array(
        [
            np.stack(axes, 1).ravel()
            for axes in (
                (one, zero, zero),
                (zero, one, zero),
                (zero, zero, one),
                (zero, -z, y),
                (z, zero, -x),
                (-y, x, zero),
                (x, y, z),
            )
        ]
    )
    weights = np.repeat(model.rigidity.astype(np.float64), 3)
    products = np.linalg.solve((motions * weights) @ motions.T, (motions * weights) @ model.expression_rows.T)
    leaked = (products.T @ motions * model.expression_deviation[:, None]) ** 2 @ weights
    assert np.sqrt(leaked).max() < 0.001  # of the eye corners' distance, for one deviation of the coefficient


def test_irises_follow_gaze_in_eye_widths(model, make_state):
    person = model.person()
    straight = person.shape(make_state())
    aside = person.shape(make_state(gaze=(0.2, -0.1)))
    moved = aside - straight
    for iris, width in zip((RIGHT_IRIS, LEFT_IRIS), person.eye_widths, strict=True):
        np.testing.assert_allclose(moved[list(iris), 0], 0.2 * width, rtol=1e-3)
        np.testing.assert_allclose(moved[list(iris), 1], -0.1 * width, rtol=1e-3)
    np.testing.assert_array_equal(moved[:MESH_POINTS], 0)


def test_person_with_other_eyes_moves_them_by_its_own_widths(model, make_state):
    wide = model.mean.copy()
    wide[RIGHT_EYE_OUTER, 0] -= 0.1
    person = Person(model, wide)
    moved = person.shape(make_state(gaze=(1, 0))) - person.shape(make_state())
    assert moved[RIGHT_IRIS[0], 0] == pytest.approx(person.eye_widths[0], rel=1e-3)
    assert person.eye_widths[0] > 1.2 * person.eye_widths[1]


def test_landmarks_are_a_scaled_orthographic_projection(model, make_state):
    expression = np.zeros(model.expression_size)
    expression[1] = 0.01
    state = make_state((0.1, 0.4, -0.2), expression, translation=(0.05, -0.1), scale=0.27)
    person = model.person()
    expected = 0.27 * person.shape(state) @ rotation_matrix(state.rotation).T
    expected[:, :2] += state.translation
    np.testing.assert_allclose(person.landmarks(state), expected, atol=1e-6)


def test_turning_vanishes_from_the_front_and_ignores_roll():
    np.testing.assert_allclose(turning_features(rotation_matrix(np.array((0, 0, 0.7)))), 0, atol=1e-12)
    yaw = np.array((0, 0.5, 0))
    roll = rotation_matrix(np.array((0, 0, 0.4)))
    np.testing.assert_allclose(
        turning_features(roll @ rotation_matrix(yaw)), turning_features(rotation_matrix(yaw)), atol=1e-12
    )


def test_fewer_directions_are_the_first_ones(model):
    small = model.with_expression_size(5)
    assert small.expression_size == 5
    np.testing.assert_array_equal(small.expression, model.expression[:5])
    with pytest.raises(ValueError, match="expression size 99"):
        model.with_expression_size(99)


def test_state_of_another_size_is_refused(model, make_state):
    with pytest.raises(ValueError, match=f"3 coefficients, this face model has {model.expression_size}"):
        model.person().landmarks(make_state(expression=np.zeros(3)))


def test_saved_model_is_loaded_again(model, tmp_path):
    model.save(tmp_path / "model.npz")
    again = FaceModel.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.expression, model.expression)
    np.testing.assert_array_equal(again.turning, model.turning)


def damage(model, path, **changes):
    model.save(path)
    with np.load(path) as archive:
        arrays = {**{name: archive[name] for name in archive.files}, **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": np.zeros((468, 3))}, r"mean: expected shape \(478, 3\), got \(468, 3\)"),
        ({"expression_deviation": np.zeros(3)}, "expression_deviation: expected shape"),
        ({"identity": np.full((40, 478, 3), np.nan)}, "identity: holds values that are not finite"),
        ({"gaze": None}, "lacks gaze"),
        ({"version": np.array(1)}, "format 1, this version reads 2"),
    ],
    ids=["points", "lengths", "nan", "missing", "version"],
)
def test_wrong_file_is_named_and_explained(model, tmp_path, changes, words):
    path = tmp_path / "model.npz"
    damage(model, path, **changes)
    with pytest.raises(FaceModelError, match=words) as caught:
        FaceModel.load(path)
    assert "model.npz" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"], ids=["empty", "text", "zip"])
def test_what_is_no_npz_is_explained(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(FaceModelError, match=r"not a face model .* engine.face.learn"):
        FaceModel.load(path)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        FaceModel.load(tmp_path / "none.npz")
