"""Learn the linear face model from the landmarks of a data pack: `python -m engine.face.learn --data DIR`.

Only the training identities are read, every person counts the same, and every sample is also used mirrored. The steps:

1. Align all frames with each other by their rigid parts; points count as they stay put within a person.
2. Per person, take the relaxed face: the median of the frames with the mouth closed and the eyes open.
3. Regress what is left on the direction of view (turning); principal components of the rest (expression, no rigid
   motion in it) and of the relaxed faces (identity).
4. Fit that model to the 2-D landmarks of every frame, which gives poses and depths that agree over views (a single
   view's z is a guess), take the relaxed faces again (of people who were never seen relaxed, and of portraits, they are
   inferred with the expression integrated out), and repeat from 3.
"""

from __future__ import annotations

import argparse
import csv
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.face.fit import (
    NeutralEstimator,
    Pose,
    align,
    fit_pose_and_expression,
    fitted_shape,
    lid_gaps,
    observed_face,
)
from engine.face.model import DEFAULT_PATH, TURNING_FEATURES, FaceModel, eye_widths, turning_features
from engine.face.regions import (
    FACE_OVAL,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    LIPS,
    MESH_POINTS,
    POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
)
from engine.motion import rotation_matrix, rotation_vector

logger = logging.getLogger(__name__)

Doubles = NDArray[np.float64]

RIGHT_EYE_CORNERS = (RIGHT_EYE_OUTER, RIGHT_EYE_INNER)
LEFT_EYE_CORNERS = (LEFT_EYE_OUTER, LEFT_EYE_INNER)

LEARNED_EXPRESSIONS = 64
"Directions in play while learning; the shipped model keeps the first of them."


@dataclass(frozen=True)
class LearnConfig:
    """What the shipped model was made with."""

    expression_size: int = 24
    "Chosen from the curve of benchmarks/face_model.py: see the model's card."
    identity_size: int = 40
    frames_per_person: int = 160
    rounds: int = 3
    "Repetitions of step 4."
    lid_weight: float = 6.0
    "Of the metric, against 1 for the cheeks: blinks move few points by little, and everybody sees them."
    lip_weight: float = 3.0
    brow_weight: float = 1.5
    oval_weight: float = 0.4
    "The outline slides over the skin when the head turns."
    depth_weight: float = 0.1
    "Of z against x and y."
    depth_trust: float = 0.3
    "Share of MediaPipe's z in the depths that are learned from."
    kind_weights: tuple[tuple[str, float], ...] = (
        ("speech", 1.0),
        ("expression", 2.0),
        ("synthetic", 0.5),
        ("portrait-photo", 0.0),
        ("portrait-synthetic", 0.0),
    )
    "How much a frame of each kind counts for the expression; portraits say nothing about it, only about identity."


@dataclass(eq=False)
class Sample:
    """The frames of one person in one kind of material."""

    name: str
    weight: float
    points: Doubles
    "(T, 478, 3) frame coordinates."
    neutral: Doubles = field(default_factory=lambda: np.zeros((POINTS, 3)))
    faces: Doubles = field(default_factory=lambda: np.zeros((0, POINTS, 3)))
    "(T, 478, 3) the frames in head coordinates, irises looking straight."
    fits: list[tuple[Pose, Doubles] | None] = field(default_factory=list)
    turning: Doubles = field(default_factory=lambda: np.zeros((0, TURNING_FEATURES)))
    "(T, 5) `turning_features` of the frames."
    quality: float = 1.0
    "How far the relaxed face was seen: 1 with the mouth closed."


def load_samples(data: Path, config: LearnConfig) -> list[Sample]:
    """The training landmarks of the data pack at `data`, evenly thinned out per person."""
    kind_weights = dict(config.kind_weights)
    groups: dict[tuple[str, float], list[Doubles]] = {}
    with open(data / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] != "train" or row["kind"] not in kind_weights:
                continue
            path = data / (row["landmarks"] or f"landmarks/portraits/{row['id']}.npz")
            with np.load(path) as archive:
                points = np.ascontiguousarray(archive["lm"], dtype=np.float64)
            points = points[np.isfinite(points).all((1, 2))]
            points[..., :2] -= 0.5
            groups.setdefault((row["identity"], kind_weights[row["kind"]]), []).append(points)
    samples = []
    for (name, weight), clips in sorted(groups.items()):
        points = np.concatenate(clips)
        chosen = np.unique(np.linspace(0, len(points) - 1, config.frames_per_person).round().astype(int))
        samples.append(Sample(name, weight, points[chosen]))
    return samples


def align_batch(points: Doubles, target: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """(T, N, 3) points moved by the similarity that takes each closest to (N, 3) `target` under (N,) weights.

    Also (T, 5) `turning_features` of the heads as they were.
    """
    weights = weights / weights.sum()
    centred = points - np.einsum("n,tnd->td", weights, points)[:, None]
    centre = weights @ target
    goal = (target - centre) * weights[:, None]
    u, singular, vt = np.linalg.svd(np.einsum("nd,tne->tde", goal, centred))
    signs = np.ones((len(points), 3))
    signs[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * signs[:, None]) @ vt
    scale = (singular * signs).sum(1) / np.einsum("n,tnd->t", weights, centred**2)
    features = np.array([turning_features(one.T) for one in rotation])
    return scale[:, None, None] * (centred @ rotation.transpose(0, 2, 1)) + centre, features


def mirror_permutation(mean: Doubles) -> NDArray[np.int64]:
    """(478,) index of the point on the other side of the face, by how close it is to the mirror image in `mean`.

    Pairs are made from the closest on, so that each point has one partner (itself in the middle). Raises ValueError
    where a partner is further than a tenth of the eye corners' distance.
    """
    mirrored = mean * (-1.0, 1.0, 1.0)
    permutation = np.full(POINTS, -1)
    for members in (np.arange(MESH_POINTS), np.arange(MESH_POINTS, POINTS)):
        distances = np.linalg.norm(mirrored[members][:, None] - mean[members], axis=2)
        for flat in np.argsort(distances, axis=None, kind="stable"):
            one, other = members[flat // len(members)], members[flat % len(members)]
            if permutation[one] == permutation[other] == -1:
                permutation[one], permutation[other] = other, one
    furthest = float(np.linalg.norm(mirrored - mean[permutation], axis=1).max())
    if furthest > 0.1:
        raise ValueError(f"the mean face is too lopsided to pair its halves: two partners are {furthest:.2f} apart")
    return permutation


def upright(face: Doubles) -> Doubles:
    """The (478, 3) face turned and shifted so that its own mirror image lies on it."""
    for _ in range(10):
        mirrored = face * (-1.0, 1.0, 1.0)
        nearest = np.linalg.norm(mirrored[:, None] - face, axis=2).argmin(1)
        partners = face[nearest]
        pose = align(mirrored, partners, np.ones(POINTS))
        # Half way to the mirror image is symmetric.
        half = rotation_matrix((0.5 * rotation_vector(pose.rotation)).astype(np.float32))
        face = face @ half - 0.5 * np.array((pose.translation[0], 0.0, 0.0))
    return face


def mirror(faces: Doubles, permutation: NDArray[np.int64]) -> Doubles:
    """(..., 478, 3) faces mirrored left to right."""
    return faces[..., permutation, :] * (-1.0, 1.0, 1.0)


def make_metric(config: LearnConfig) -> Doubles:
    """(478, 3) how much an error in each coordinate matters; x and y sum to 1."""
    weights = np.ones(POINTS)
    weights[list(FACE_OVAL)] = config.oval_weight
    weights[[*RIGHT_BROW, *LEFT_BROW]] = config.brow_weight
    weights[list(LIPS)] = config.lip_weight
    weights[[*RIGHT_EYE, *LEFT_EYE]] = config.lid_weight
    weights[MESH_POINTS:] = 0.0
    metric = weights[:, None] * (1.0, 1.0, config.depth_weight)
    return np.asarray(metric / metric[:, :2].sum())


def mouth_gaps(faces: NDArray[np.floating]) -> Doubles:
    """(...,) mean distance of the inner lips, units of the outer eye corners' distance; faces (..., 478, 2 or 3)."""
    faces = np.asarray(faces, np.float64)
    upper, lower = list(INNER_UPPER_LIP[1:-1]), list(INNER_LOWER_LIP)
    eyes = np.linalg.norm(faces[..., RIGHT_EYE_OUTER, :] - faces[..., LEFT_EYE_OUTER, :], axis=-1)
    return np.asarray(np.linalg.norm(faces[..., upper, :] - faces[..., lower, :], axis=-1).mean(-1) / eyes)


def expression_measures(faces: Doubles) -> Doubles:
    """(T, 6) gap and width of the mouth, lid gaps and brow heights, right and left, times 10; faces (T, 478, 3)."""
    lids = lid_gaps(faces[..., :2])
    brows = [
        faces[:, list(eye), 1].mean(1) - faces[:, list(brow), 1].mean(1)
        for eye, brow in ((RIGHT_EYE_CORNERS, RIGHT_BROW), (LEFT_EYE_CORNERS, LEFT_BROW))
    ]
    width = np.linalg.norm(faces[:, 61] - faces[:, 291], axis=1)
    return 10.0 * np.column_stack((mouth_gaps(faces[..., :2]), width, lids, *brows))


def relaxed_face(faces: Doubles) -> tuple[Doubles, float]:
    """(478, 3) median of the most relaxed (T, 478, 3) faces, and how relaxed they are, 0 to 1."""
    gaps, lids = mouth_gaps(faces[..., :2]), lid_gaps(faces[..., :2]).mean(1)
    widths = np.linalg.norm(faces[:, 61] - faces[:, 291], axis=1)
    # A little below the widest open: the usual look, not the raised brow. A smile shows in the width of the mouth.
    usual = np.quantile(lids, 0.6)
    penalty = (
        (gaps / 0.02) ** 2 + ((lids - usual) / 0.03) ** 2 + (np.maximum(widths - np.median(widths), 0) / 0.04) ** 2
    )
    chosen = np.argsort(penalty)[: max(1, len(faces) // 8)]
    quality = float(np.exp(-0.5 * (np.median(gaps[chosen]) / 0.03) ** 2))
    return np.median(faces[chosen], axis=0), quality


def similarity_motions(face: Doubles) -> Doubles:
    """(7, 478, 3) small translations, rotations and the scaling of a face."""
    motions = np.zeros((7, POINTS, 3))
    x, y, z = face.T
    motions[[0, 1, 2], :, [0, 1, 2]] = 1.0
    motions[3, :, 1], motions[3, :, 2] = -z, y
    motions[4, :, 0], motions[4, :, 2] = z, -x
    motions[5, :, 0], motions[5, :, 1] = -y, x
    motions[6] = face
    return motions


def without_rigid_motion(differences: Doubles, face: Doubles, rigidity: Doubles) -> Doubles:
    """(T, 478, 3) differences to `face` less the similarity that explains them best at the rigid points."""
    motions = similarity_motions(face).reshape(7, -1)
    weighted = motions * np.repeat(rigidity, 3)
    coefficients = np.linalg.solve(weighted @ motions.T, weighted @ differences.reshape(len(differences), -1).T)
    return differences - (coefficients.T @ motions).reshape(differences.shape)


def carry_irises(differences: Doubles) -> Doubles:
    """The (T, 478, 3) differences with the irises going with their eye corners: looking is gaze, not expression."""
    differences = differences.copy()
    for iris, outer, inner in (
        (RIGHT_IRIS, RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        (LEFT_IRIS, LEFT_EYE_OUTER, LEFT_EYE_INNER),
    ):
        differences[:, list(iris)] = 0.5 * (differences[:, outer] + differences[:, inner])[:, None]
    return differences


def principal_directions(differences: Doubles, weights: Doubles, metric: Doubles, size: int) -> tuple[Doubles, Doubles]:
    """Principal components of (T, 478, 3) differences weighted (T,).

    Returns (size, 478, 3) directions, orthonormal under `metric`, and (size,) deviations.
    """
    root = np.sqrt(np.maximum(metric, 1e-12 * metric.max())).ravel()
    rows = differences.reshape(len(differences), -1) * root
    rows *= np.sqrt(weights / weights.sum())[:, None]
    variances, vectors = np.linalg.eigh(rows.T @ rows)
    order = np.argsort(variances)[::-1][:size]
    directions = vectors[:, order].T
    # Points without weight in the metric move as they do in the data along with the direction.
    scores = rows @ directions.T
    follow = np.linalg.solve(scores.T @ scores, scores.T @ rows) / root
    seen = metric.ravel() > 0
    directions = np.where(seen, directions / root, follow)
    # An eigenvector's sign is arbitrary: fix it, so that learning again gives the same file.
    signs = np.sign(directions[np.arange(size), np.abs(directions * root).argmax(1)])
    directions = directions * signs[:, None]
    return directions.reshape(size, POINTS, 3), np.sqrt(np.maximum(variances[order], 1e-12))


def regress_within(
    differences: Doubles, features: Doubles, weights: Doubles, groups: NDArray[np.int64], ridge: float = 0.002
) -> Doubles:
    """(K, 478, 3) slopes of (T, 478, 3) differences over (T, K) features, told from the changes within each group.

    Within, because a person who always looks aside would else teach the person's own shape. `ridge` is the variance of
    a feature below which the slopes are not believed.
    """
    shares = weights / weights.sum()
    rows = differences.reshape(len(differences), -1)
    squares = ridge * np.eye(features.shape[1])
    products = np.zeros((features.shape[1], rows.shape[1]))
    for group in np.unique(groups):
        members = groups == group
        share = shares[members]
        centred = features[members] - share @ features[members] / share.sum()
        weighted = centred * share[:, None]
        squares += weighted.T @ centred
        products += weighted.T @ rows[members]
    return np.asarray(np.linalg.solve(squares, products).reshape(-1, POINTS, 3), np.float64)


class Learner:
    """The steps of the module's docstring on one set of samples."""

    def __init__(self, samples: list[Sample], config: LearnConfig) -> None:
        self.samples, self.config = samples, config
        self.metric = make_metric(config)
        self.turning = np.zeros((TURNING_FEATURES, POINTS, 3))
        self.mean, self.rigidity = self._align_all()
        self.permutation = mirror_permutation(self.mean)
        self._symmetrise()

    def learn(self) -> FaceModel:
        """The model with all the directions that take part in learning."""
        for sample in self.samples:
            sample.neutral, sample.quality = relaxed_face(sample.faces)
            if len(sample.points) == 1:
                sample.quality = 0.0  # one portrait: relaxed or not, nobody knows before there is a model
        model = self._model()
        for number in range(self.config.rounds):
            _log_neutral(model)
            error = self._fit_all(model)
            logger.info("round %d: weighted RMS error %.4f of the eye corners' distance", number + 1, error)
            model = self._model()
        return model

    def _align_all(self) -> tuple[Doubles, Doubles]:
        """The mean face and the rigidity; leaves each sample's faces aligned."""
        clips = [sample for sample in self.samples if len(sample.points) > 1]
        # The average of all frames as they are looks straight into the camera, as far as people do.
        mean = np.mean([_in_head_coordinates(sample.points.mean(0)) for sample in clips], axis=0)
        rigidity = np.ones(POINTS)
        rigidity[[*LIPS, *range(MESH_POINTS, POINTS)]] = 0.0
        for _ in range(6):
            mean = _in_head_coordinates(mean)
            variance = np.zeros(POINTS)
            person_means = []
            for sample in self.samples:
                sample.faces, sample.turning = align_batch(sample.points, mean, rigidity)
                if len(sample.points) > 1:
                    person_means.append(sample.faces.mean(0))
                    variance += sample.faces.var(0).sum(1) / len(clips)
            mean = np.mean(person_means, axis=0)
            # Half of the median variance as a floor: else a few points pull all the weight to themselves.
            rigidity = 1.0 / (variance + 0.5 * np.median(variance))
            rigidity[[*LIPS, *RIGHT_EYE, *LEFT_EYE, *range(MESH_POINTS, POINTS)]] = 0.0
            # The eye corners hold still, unlike the lids between them.
            corners = [RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER]
            rigidity[corners] = 1.0 / (variance[corners] + 0.5 * np.median(variance))
        return upright(_in_head_coordinates(mean)), rigidity / rigidity.sum()

    def _symmetrise(self) -> None:
        self.rigidity = 0.5 * (self.rigidity + self.rigidity[self.permutation])
        self.metric = 0.5 * (self.metric + self.metric[self.permutation])

    def _model(self) -> FaceModel:
        """Principal components of the samples' faces as they are."""
        qualities = np.array([sample.quality for sample in self.samples])
        neutrals, _ = align_batch(np.array([sample.neutral for sample in self.samples]), self.mean, self.rigidity)
        mean = np.einsum("s,spd->pd", qualities / qualities.sum(), neutrals)
        mean = _in_head_coordinates(0.5 * (mean + mirror(mean, self.permutation)))
        self.mean = mean

        differences, weights, features, seen_faces = [], [], [], []
        for i, sample in enumerate(self.samples):
            # A similarity only, so the person's own proportions stay; differences are then those of one head to itself.
            sample.neutral = align_batch(sample.neutral[None], mean, self.rigidity)[0][0]
            neutrals[i] = sample.neutral
            faces, _ = align_batch(sample.faces, sample.neutral, self.rigidity)
            if sample.weight > 0:
                differences.append(without_rigid_motion(faces - sample.neutral, sample.neutral, self.rigidity))
                count = len(faces)
                weights.append(np.full(count, sample.weight * min(count, 100) / count))
                features.append(sample.turning)
                seen_faces.append(faces)
        moved = carry_irises(np.concatenate(differences))
        moved = np.concatenate((moved, mirror(moved, self.permutation)))
        seen_from = np.concatenate(features)
        seen_from = np.concatenate((seen_from, seen_from * (-1.0, 1.0, 1.0, 1.0, -1.0)))
        frame_weights = np.tile(np.concatenate(weights), 2)
        people_of_frames = np.repeat(np.arange(2 * len(features)), [len(one) for one in features] * 2)
        # What the mouth, the lids and the brows do is told beside: people open the mouth as they raise the head, and
        # that is expression.
        told = np.concatenate([expression_measures(faces) for faces in seen_faces])
        told = np.concatenate((told, told[:, [0, 1, 3, 2, 5, 4]]))
        correction = regress_within(moved, np.concatenate((seen_from, told), 1), frame_weights, people_of_frames)
        correction = correction[:TURNING_FEATURES]
        self.turning += correction
        moved -= np.tensordot(seen_from, correction, 1)
        expression, expression_deviation = principal_directions(moved, frame_weights, self.metric, LEARNED_EXPRESSIONS)
        people = without_rigid_motion(neutrals - mean, mean, self.rigidity)
        shares = np.maximum(qualities, 0.1)
        identity_metric = np.maximum(self.metric, 0.25 * np.median(self.metric, axis=0))
        identity, identity_deviation = principal_directions(
            np.concatenate((people, mirror(people, self.permutation))),
            np.tile(shares, 2),
            identity_metric,
            self.config.identity_size,
        )
        gaze = np.zeros((2, POINTS, 3))
        for iris, width in zip((RIGHT_IRIS, LEFT_IRIS), eye_widths(mean), strict=True):
            gaze[0, list(iris), 0] = gaze[1, list(iris), 1] = width
        return FaceModel(
            mean=mean.astype(np.float32),
            identity=identity.astype(np.float32),
            identity_deviation=identity_deviation.astype(np.float32),
            expression=expression.astype(np.float32),
            expression_deviation=expression_deviation.astype(np.float32),
            gaze=gaze.astype(np.float32),
            turning=self.turning.astype(np.float32),
            metric=self.metric.astype(np.float32),
            rigidity=self.rigidity.astype(np.float32),
        )

    def _fit_all(self, model: FaceModel) -> float:
        """Fit every frame and estimate every person again. Returns the weighted RMS error in x and y, head units."""
        estimator = NeutralEstimator(model)
        total, count = 0.0, 0
        weights = self.metric[:, :2]
        for sample in self.samples:
            sample.fits = sample.fits or [None] * len(sample.points)
            estimator.clear()
            if len(sample.points) == 1 and sample.fits[0] is None:
                sample.neutral = model.mean.astype(np.float64)
            faces = np.empty_like(sample.points)
            for i, points in enumerate(sample.points):
                pose, expression = fit_pose_and_expression(model, sample.neutral, points, sample.fits[i])
                faces[i] = observed_face(sample.neutral, model, pose, expression, points, self.config.depth_trust)
                sample.fits[i] = pose, expression
                shape = fitted_shape(sample.neutral, model, pose, expression)
                total += float((weights * ((points - pose.project(shape)) / pose.scale)[:, :2] ** 2).sum())
                count += 1
                estimator.add(faces[i], expression)
            sample.faces = faces
            sample.turning = np.array([turning_features(fit[0].rotation) for fit in sample.fits if fit is not None])
            # A relaxed face that was seen beats one that was inferred. (Inferring all would also let the neutral face
            # drift to the average one, which talks.)
            relaxed, sample.quality = relaxed_face(faces)
            if len(faces) == 1:
                sample.quality = 0.0
            sample.neutral = sample.quality * relaxed + (1.0 - sample.quality) * estimator.neutral()
        return float(np.sqrt(total / count))


def _in_head_coordinates(face: Doubles) -> Doubles:
    """A (478, 3) frontal face with its origin in the middle of the mesh and its outer eye corners one unit apart."""
    face = face - face[:MESH_POINTS].mean(0)
    return np.asarray(face / np.linalg.norm(face[RIGHT_EYE_OUTER] - face[LEFT_EYE_OUTER]))


def learn(data: Path, config: LearnConfig = LearnConfig()) -> FaceModel:
    """The model learned from the data pack at `data` with all its LEARNED_EXPRESSIONS directions."""
    samples = load_samples(data, config)
    logger.info("%d samples, %d frames", len(samples), sum(len(sample.points) for sample in samples))
    return Learner(samples, config).learn()


def _log_neutral(model: FaceModel) -> None:
    gap, lids = float(mouth_gaps(model.mean[:, :2])), float(lid_gaps(model.mean[:, :2]).mean())
    logger.info("neutral face: lips %.3f of the eye corners' distance apart, lids %.3f of an eye's width", gap, lids)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the linear face model from a data pack's training landmarks.")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and landmarks/")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_PATH, help="npz file to write (%(default)s)")
    parser.add_argument("--expression-size", type=int, default=LearnConfig.expression_size)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = LearnConfig(expression_size=arguments.expression_size)
    model = learn(arguments.data, config).with_expression_size(config.expression_size)
    model.save(arguments.output)
    _log_neutral(model)
    logger.info(
        "wrote %s: %d expression and %d identity directions",
        arguments.output,
        len(model.expression),
        len(model.identity),
    )


if __name__ == "__main__":
    main()
