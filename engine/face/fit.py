"""From landmarks to motion: fit the face model under scaled orthographic projection.

One frame is a Gauss-Newton problem in 7 pose unknowns (rotation, translation, log scale, depth of the origin) and the
expression coefficients. The residual is weighted by the model's metric; MediaPipe's z counts little, because it is
guessed from a single view; the expression is regularised by its learned deviations. The blocks of the normal equations
that do not change from frame to frame are kept per model, which leaves one to two milliseconds of numpy a frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.face.model import FaceModel, Person, turning_features
from engine.face.regions import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    MESH_POINTS,
    POINTS,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)
from engine.motion import FaceState, rotation_matrix, rotation_vector

Doubles = NDArray[np.float64]


class FitError(ValueError):
    """The landmarks cannot be fitted."""


@dataclass(frozen=True)
class FitConfig:
    """How the evidence of one frame is weighed."""

    depth_weight: float = 0.1
    "Weight of MediaPipe's z against x and y."
    noise: float = 0.005
    "Deviation of a landmark from the model that is to be expected, head units, against the learned deviations."
    effective_points: float = 60.0
    "How many independent points the 478 are worth: neighbours err together."
    iterations: int = 10
    tolerance: float = 2e-4
    "Stop when no unknown changed by more, radians, head units and deviations of a coefficient times 0.1."


DEFAULT_CONFIG = FitConfig()


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the head is: `scale * (rotation @ v) + translation` in frame coordinates, three axes."""

    rotation: Doubles
    "(3, 3)"
    translation: Doubles
    "(3,), the third is the depth of the origin on MediaPipe's scale, of no use outside the fit."
    scale: float

    def project(self, points: NDArray[np.floating]) -> Doubles:
        """(..., 3) head coordinates to frame coordinates."""
        return self.scale * (points @ self.rotation.T) + self.translation

    def unproject(self, points: NDArray[np.floating]) -> Doubles:
        """(..., 3) frame coordinates to head coordinates."""
        return np.asarray((points - self.translation) @ self.rotation / self.scale, np.float64)


class _Tables:
    """What the normal equations of a model need and no frame changes."""

    def __init__(self, model: FaceModel, config: FitConfig) -> None:
        weights = model.metric[:, :2].mean(1).astype(np.float64)
        weights[MESH_POINTS:] = 0.0
        self.weights = weights / weights.sum()
        self.rows = model.expression_rows
        basis = self.rows.reshape(model.expression_size, POINTS, 3)
        weighted = basis * self.weights[:, None]
        self.products = np.einsum("ipa,jpb->abij", weighted, basis)
        "(3, 3, E, E) weighted products of the expression directions, axis by axis."
        self.products = 0.5 * (self.products + self.products.transpose(1, 0, 2, 3))
        self.prior = (config.noise / model.expression_deviation.astype(np.float64)) ** 2 / config.effective_points
        self.step_unit = 0.1 / model.expression_deviation.astype(np.float64)


@lru_cache(maxsize=16)
def _tables(model: FaceModel, config: FitConfig) -> _Tables:
    return _Tables(model, config)


def check_landmarks(landmarks: NDArray[np.floating]) -> Doubles:
    """The (478, 3) landmarks in double precision. Raises FitError where they are something else or not finite."""
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (POINTS, 3):
        raise FitError(f"landmarks: expected shape ({POINTS}, 3), got {points.shape}")
    if not np.isfinite(points).all():
        raise FitError("landmarks: not finite; frames without a face have to be left out before the fit")
    return points


def align(shape: NDArray[np.floating], points: NDArray[np.floating], weights: Doubles) -> Pose:
    """The similarity that takes (N, 3) `shape` closest to `points`, least squares with (N,) weights (Umeyama, 1991)."""
    weights = weights / weights.sum()
    centre, target_centre = weights @ shape, weights @ points
    source, target = shape - centre, points - target_centre
    u, singular, vt = np.linalg.svd((target * weights[:, None]).T @ source)
    signs = np.array((1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))))
    rotation = (u * signs) @ vt
    spread = float(weights @ (source**2).sum(1))
    scale = float(singular @ signs) / spread
    if not (np.isfinite(scale) and scale > 1e-9):
        raise FitError("landmarks: they fall together in one point")
    return Pose(rotation, target_centre - scale * (rotation @ centre), scale)


def fit_pose_and_expression(
    model: FaceModel,
    neutral: NDArray[np.floating],
    points: Doubles,
    start: tuple[Pose, Doubles] | None = None,
    config: FitConfig = DEFAULT_CONFIG,
) -> tuple[Pose, Doubles]:
    """Gauss-Newton fit of one frame: the pose and the (E,) expression.

    neutral: (478, 3) head coordinates. points: (478, 3) frame coordinates. start: a fit of the frame before.
    """
    tables = _tables(model, config)
    neutral = np.asarray(neutral, np.float64)
    size = model.expression_size
    if start is None:
        pose, expression = align(neutral, points, model.rigidity.astype(np.float64)), np.zeros(size)
    else:
        pose, expression = start
    axes = np.array((1.0, 1.0, config.depth_weight))
    weights = tables.weights[:, None] * axes  # (478, 3) of the residual, camera axes
    jacobian = np.zeros((POINTS, 3, 7))
    jacobian[:, 0, 3] = jacobian[:, 1, 4] = jacobian[:, 2, 6] = 1.0
    normal = np.empty((7 + size, 7 + size))
    gradient = np.empty(7 + size)
    for _ in range(config.iterations):
        rotation = pose.rotation
        # The turning part follows the rotation with one iteration's delay: too small to disturb the convergence.
        turned = fitted_shape(neutral, model, pose, expression) @ rotation.T
        residual = (points - pose.translation) / pose.scale - turned
        x, y, z = turned.T
        jacobian[:, 0, 1], jacobian[:, 0, 2], jacobian[:, 0, 5] = z, -y, x
        jacobian[:, 1, 0], jacobian[:, 1, 2], jacobian[:, 1, 5] = -z, x, y
        jacobian[:, 2, 0], jacobian[:, 2, 1], jacobian[:, 2, 5] = y, -x, z
        weighted = jacobian * weights[:, :, None]
        weighted_residual = residual * weights

        flat = jacobian.reshape(-1, 7)
        normal[:7, :7] = weighted.reshape(-1, 7).T @ flat
        gradient[:7] = flat.T @ weighted_residual.ravel()
        # The expression's Jacobian is rotation @ basis; turning the other factor back instead keeps the basis fixed.
        back = np.matmul(rotation.T, weighted).reshape(-1, 7)
        normal[7:, :7] = tables.rows @ back
        normal[:7, 7:] = normal[7:, :7].T
        gradient[7:] = tables.rows @ (weighted_residual @ rotation).ravel()
        inner = (rotation.T * axes) @ rotation
        normal[7:, 7:] = np.tensordot(inner, tables.products, 2)
        diagonal = np.arange(7, 7 + size)
        normal[diagonal, diagonal] += tables.prior
        gradient[7:] -= tables.prior * expression
        normal[6, 6] += 1e-12  # keeps the depth of the origin determined when depth_weight is 0

        step = np.linalg.solve(normal, gradient)
        shift = pose.scale * np.array((step[3], step[4], step[6]))
        pose = Pose(
            rotation_matrix(step[:3]) @ rotation,
            pose.translation + shift,
            pose.scale * float(np.exp(np.clip(step[5], -0.5, 0.5))),
        )
        expression = expression + step[7:]
        if max(np.abs(step[:7]).max(), np.abs(step[7:] * tables.step_unit).max()) < config.tolerance:
            break
    return pose, expression


def fitted_shape(neutral: NDArray[np.floating], model: FaceModel, pose: Pose, expression: Doubles) -> Doubles:
    """(478, 3) head coordinates of a fit, irises looking straight."""
    moved = expression @ model.expression_rows + turning_features(pose.rotation) @ model.turning_rows
    return np.asarray(neutral + moved.reshape(POINTS, 3))


def lid_gaps(points: NDArray[np.floating]) -> Doubles:
    """(..., 2) mean distance of the lids, right and left eye, in eye widths; points (..., 478, 2 or 3)."""
    points = np.asarray(points, np.float64)
    eyes = (
        (RIGHT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        (LEFT_UPPER_LID, LEFT_LOWER_LID, LEFT_EYE_OUTER, LEFT_EYE_INNER),
    )
    gaps = [
        np.linalg.norm(points[..., upper, :] - points[..., lower, :], axis=-1).mean(-1)
        / np.linalg.norm(points[..., outer, :] - points[..., inner, :], axis=-1)
        for upper, lower, outer, inner in eyes
    ]
    return np.stack(gaps, -1)


def fit_gaze(person: Person, pose: Pose, expression: Doubles, points: Doubles, previous: Doubles | None) -> Doubles:
    """(2,) gaze that both irises agree on; an eye counts as far as it is open, with both closed `previous` stays."""
    predicted = pose.project(fitted_shape(person.neutral, person.model, pose, expression))
    openness = np.clip((lid_gaps(points[:, :2]) / lid_gaps(person.neutral) - 0.3) / 0.3, 0.0, 1.0)
    # An eye that is turned away shows little of its iris: weigh by its apparent width.
    corners = points[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER], :2] - points[[RIGHT_EYE_INNER, LEFT_EYE_INNER], :2]
    visible = np.clip(np.linalg.norm(corners, axis=1) / (person.eye_widths * pose.scale), 0.05, 1.0) ** 2
    held = np.zeros(2) if previous is None else previous
    normal = 0.02 * np.eye(2)
    gradient = 0.02 * held
    basis = person.gaze_basis
    for iris, weight in zip((RIGHT_IRIS, LEFT_IRIS), openness * visible, strict=True):
        moved = (points[list(iris), :2] - predicted[list(iris), :2]).mean(0) / pose.scale
        directions = basis[:, iris[0]] @ pose.rotation[:2].T  # (2 gaze, 2 axes)
        unit = np.linalg.norm(basis[0, iris[0]])
        directions, moved = directions / unit, moved / unit
        normal += weight * directions @ directions.T
        gradient += weight * directions @ moved
    return np.asarray(np.linalg.solve(normal, gradient))


def make_state(pose: Pose, expression: Doubles, gaze: Doubles, time: float, confidence: float) -> FaceState:
    """The fit of one frame as what crosses the wire."""
    return FaceState(
        rotation=rotation_vector(pose.rotation).astype(np.float32),
        translation=pose.translation[:2].astype(np.float32),
        scale=pose.scale,
        expression=expression.astype(np.float32),
        gaze=gaze.astype(np.float32),
        time=time,
        confidence=confidence,
    )


def pose_of(state: FaceState) -> Pose:
    """The state's pose with the origin at depth 0."""
    return Pose(rotation_matrix(state.rotation), np.append(state.translation, 0.0).astype(np.float64), state.scale)


def fit_state(
    model: FaceModel,
    person: Person,
    landmarks: NDArray[np.floating],
    previous: FaceState | None = None,
    time: float = 0.0,
    confidence: float = 1.0,
    config: FitConfig = DEFAULT_CONFIG,
) -> FaceState:
    """The motion of one frame. landmarks: (478, 3) frame coordinates. previous: the frame before, to start from.

    Raises FitError for landmarks of another shape or that are not finite.
    """
    points = check_landmarks(landmarks)
    start = None
    if previous is not None and previous.expression.size == model.expression_size:
        start = pose_of(previous), previous.expression.astype(np.float64)
    pose, expression = fit_pose_and_expression(model, person.neutral, points, start, config)
    held = None if previous is None else previous.gaze.astype(np.float64)
    return make_state(pose, expression, fit_gaze(person, pose, expression, points, held), time, confidence)


@dataclass(frozen=True)
class PersonConfig:
    """How a person's neutral face is told from the expressions."""

    neutral_noise: float = 0.02
    "Deviation of a relaxed face from the identity basis plus the expression basis, weighted RMS, head units."
    residual_frames: float = 8.0
    "After so many frames half of what the bases do not explain is counted as the person's."
    frames_at_most: float = 30.0
    "Evidence stops growing here: the frames of a talk are not independent of each other."
    rounds: int = 3
    "Alternations of fitting the frames and the person."


class NeutralEstimator:
    """Estimates a person's neutral face from a weighted mean of fitted faces.

    With Gaussian identity and expression coefficients, the expression of every frame can be integrated out beforehand,
    and all that the frames say about the identity is in their mean face. Frames near neutral count more.
    """

    def __init__(self, model: FaceModel, config: PersonConfig = PersonConfig()) -> None:
        self._model, self._config = model, config
        weights = model.metric.astype(np.float64).ravel()
        weights[MESH_POINTS * 3 :] = 0.0
        weights = weights / weights.sum() * 3.0
        basis = model.expression_rows
        identity = model.identity.reshape(len(model.identity), -1).astype(np.float64)
        noise = config.neutral_noise**2
        products = (basis * weights) @ basis.T
        prior = np.diag(noise / model.expression_deviation.astype(np.float64) ** 2)
        self._explain = np.linalg.solve(products + prior, basis * weights)
        "(E, 1434) what the expression makes of a face's difference to the neutral."
        # Weights with the expression integrated out, applied to the identity directions.
        self._rows = identity * weights - (identity * weights) @ basis.T @ self._explain
        self._products = self._rows @ identity.T
        self._prior = np.diag(noise / model.identity_deviation.astype(np.float64) ** 2)
        self._identity = identity
        # The most probable expression that parts the lips by 1, its coefficients being independent and normal.
        spread = _lip_gap(model.expression) * model.expression_deviation.astype(np.float64) ** 2
        self._parting = (spread / (spread @ _lip_gap(model.expression)) @ basis).reshape(POINTS, 3)
        self.clear()

    def clear(self) -> None:
        """Forget every face."""
        self._sum = np.zeros(POINTS * 3)
        self._weight = 0.0

    @property
    def evidence(self) -> float:
        """How many neutral frames the faces so far are worth."""
        return self._weight

    def add(self, face: Doubles, expression: Doubles, weight: float = 1.0) -> None:
        """face: (478, 3) from `observed_face`; expression: (E,) of that frame."""
        strength = expression / self._model.expression_deviation
        weight *= float(np.exp(-0.5 * np.square(strength).mean())) + 0.02
        self._sum += weight * face.ravel()
        self._weight += weight

    def neutral(self) -> Doubles:
        """(478, 3) the neutral face by all the evidence; the model's mean where there is none."""
        mean = self._model.mean.astype(np.float64).ravel()
        if self._weight == 0.0:
            return mean.reshape(POINTS, 3)
        evidence = min(self._weight, self._config.frames_at_most)
        difference = self._sum / self._weight - mean
        coefficients = np.linalg.solve(evidence * self._products + self._prior, evidence * (self._rows @ difference))
        person = coefficients @ self._identity
        rest = difference - person
        rest -= (self._explain @ rest) @ self._model.expression_rows
        rest *= evidence / (evidence + self._config.residual_frames)
        return self._with_closed_lips((mean + person + rest).reshape(POINTS, 3))

    def _with_closed_lips(self, neutral: Doubles) -> Doubles:
        """Lips that are parted in the mean of the frames, as in all talk, are expression and not the person."""
        excess = float(_lip_gap(neutral)) - float(_lip_gap(self._model.mean))
        return neutral - max(excess, 0.0) * self._parting


def _lip_gap(points: NDArray[np.floating]) -> Doubles:
    """(...) how far the lips are parted in (..., 478, 3) faces seen from the front."""
    # The three middle pairs of opposite points.
    gaps = points[..., list(INNER_LOWER_LIP[3:6]), 1] - points[..., list(INNER_UPPER_LIP[4:7]), 1]
    return np.asarray(gaps.mean(-1), np.float64)


def observed_face(
    neutral: NDArray[np.floating],
    model: FaceModel,
    pose: Pose,
    expression: Doubles,
    points: Doubles,
    depth_trust: float = 0.1,
) -> Doubles:
    """(478, 3) the frame's points as a face seen from the front, in head coordinates, irises looking straight.

    Depth is the fitted face's, corrected by the share `depth_trust` of the difference to MediaPipe's.
    """
    completed = points.copy()
    predicted = pose.project(fitted_shape(neutral, model, pose, expression))
    completed[:, 2] = predicted[:, 2] + depth_trust * (points[:, 2] - predicted[:, 2])
    face = pose.unproject(completed) - (turning_features(pose.rotation) @ model.turning_rows).reshape(POINTS, 3)
    return _with_straight_gaze(model, face)


def _with_straight_gaze(model: FaceModel, face: Doubles) -> Doubles:
    """The face with its irises where the mean face has them relative to the eye corners."""
    mean = model.mean.astype(np.float64)
    for iris, outer, inner in (
        (RIGHT_IRIS, RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        (LEFT_IRIS, LEFT_EYE_OUTER, LEFT_EYE_INNER),
    ):
        points = list(iris)
        ratio = np.linalg.norm(face[outer] - face[inner]) / np.linalg.norm(mean[outer] - mean[inner])
        size = np.linalg.norm(face[points[1:], :2] - face[points[0], :2], axis=1).mean() / np.linalg.norm(
            mean[points[1:], :2] - mean[points[0], :2], axis=1
        ).mean(0)
        mean_centre = mean[points[0]] - 0.5 * (mean[outer] + mean[inner])
        centre = 0.5 * (face[outer] + face[inner]) + ratio * mean_centre
        face[points] = centre + np.clip(size, 0.7, 1.4) * (mean[points] - mean[points[0]])
    return face


def fit_person(
    model: FaceModel,
    landmarks_list: Iterable[NDArray[np.floating]],
    config: FitConfig = DEFAULT_CONFIG,
    person_config: PersonConfig = PersonConfig(),
) -> Person:
    """The person seen in some frames. landmarks_list: each (478, 3) in frame coordinates; frames of NaN are left out.

    Raises FitError when no frame is left.
    """
    frames = [np.asarray(landmarks, np.float64) for landmarks in landmarks_list]
    frames = [check_landmarks(points) for points in frames if points.shape != (POINTS, 3) or np.isfinite(points).all()]
    if not frames:
        raise FitError("no frame with a face to fit the person to")
    estimator = NeutralEstimator(model, person_config)
    neutral = model.mean.astype(np.float64)
    fits: list[tuple[Pose, Doubles] | None] = [None] * len(frames)
    for _ in range(person_config.rounds):
        estimator.clear()
        for i, points in enumerate(frames):
            pose, expression = fit_pose_and_expression(model, neutral, points, fits[i], config)
            fits[i] = pose, expression
            estimator.add(observed_face(neutral, model, pose, expression, points), expression)
        neutral = estimator.neutral()
    return Person(model, neutral.astype(np.float32))


def fit_source(
    model: FaceModel, landmarks: NDArray[np.floating], config: FitConfig = DEFAULT_CONFIG
) -> tuple[Person, FaceState]:
    """The person and the state of a source picture: `person.landmarks(state)` are the landmarks again, x and y exactly.

    What the bases leave unexplained is carried by the person's neutral face and so moves with the head. Depth is the
    fitted face's (MediaPipe's z of a single view is the weaker guess). Raises FitError as `fit_state` does.
    """
    points = check_landmarks(landmarks)
    guess = fit_person(model, [points], config)
    state = fit_state(model, guess, points, config=config)
    expressed = guess.shape(state).astype(np.float64)
    pose = pose_of(state)
    completed = points.copy()
    completed[:, 2] = pose.project(expressed)[:, 2]
    neutral = guess.neutral + (pose.unproject(completed) - expressed)
    # Gaze moves by eye widths, which the correction changes a little: settle what is left of the irises.
    person = Person(model, neutral.astype(np.float32))
    rest = completed - person.landmarks(state).astype(np.float64)
    person = Person(model, (person.neutral + rest @ pose.rotation / pose.scale).astype(np.float32))
    return person, state


@dataclass(frozen=True)
class FitterConfig:
    """How long and how fast the online fitter learns the person."""

    settle_seconds: float = 8.0
    "After so much time with a face in view the person stays as it is."
    same_face: float = 0.012
    "A first frame whose landmarks come so close to the source picture's, in eye corners' distances, shows its person."
    blend_seconds: float = 0.4
    "Time constant with which the person follows the newest estimate, so that the expression never jumps."


class FaceFitter:
    """Fits frame after frame of one person, and learns that person's neutral face meanwhile."""

    def __init__(
        self,
        model: FaceModel,
        config: FitConfig = DEFAULT_CONFIG,
        fitter_config: FitterConfig = FitterConfig(),
        person: Person | None = None,
        source: tuple[Person, FaceState] | None = None,
    ) -> None:
        """person: known beforehand, then nothing is learned.

        source: of the picture that is to be driven, from `fit_source`. If the first frame turns out to show the same
        face with the same expression (a clip that drives its own first frame), the source's person is the driver:
        expressions then count from the same neutral face at both ends.
        """
        self.model = model
        self._source = source
        self._config, self._fitter_config = config, fitter_config
        self._estimator = NeutralEstimator(model)
        self._known = person
        self.reset()

    def reset(self) -> None:
        """Start again, for another person."""
        self._estimator.clear()
        self._person = self._known or self.model.person()
        self._neutral = self._person.neutral.astype(np.float64)
        self._previous: FaceState | None = None
        self._seen_seconds = 0.0
        self._last_time: float | None = None
        self._empty = self._known is None

    @property
    def person(self) -> Person:
        """The person as known now."""
        return self._person

    @property
    def settled(self) -> bool:
        """Whether the person has been learned and stays."""
        return self._known is not None or self._seen_seconds >= self._fitter_config.settle_seconds

    def lost(self) -> None:
        """Tell that the face was out of view: the next fit does not start from the last one."""
        self._previous = None
        self._last_time = None

    def fit(self, landmarks: NDArray[np.floating], time: float, confidence: float = 1.0) -> FaceState:
        """The motion of the next frame. landmarks: (478, 3) frame coordinates. Raises FitError (see `fit_state`)."""
        points = check_landmarks(landmarks)
        if self._empty and self._source is not None and self._shows_source(points, *self._source):
            self._person = self._source[0]
            self._seen_seconds = np.inf
            self._empty = False
        if self._empty:
            # One frame already tells the proportions; without it the first frames would be expressions of the mean
            # face.
            self._person = fit_person(self.model, [points], self._config)
            self._neutral = self._person.neutral.astype(np.float64)
            self._empty = False
        state = fit_state(self.model, self._person, points, self._previous, time, confidence, self._config)
        if not self.settled:
            self._learn(points, state)
        self._previous, self._last_time = state, time
        return state

    def _shows_source(self, points: Doubles, person: Person, state: FaceState) -> bool:
        weights = self.model.metric[:, 0].astype(np.float64)
        shown = person.landmarks(state).astype(np.float64)
        pose = align(shown, points, weights)
        distances = np.linalg.norm((points - pose.project(shown))[:, :2], axis=1)
        return bool(weights @ distances / weights.sum() < self._fitter_config.same_face * pose.scale * state.scale)

    def _learn(self, points: Doubles, state: FaceState) -> None:
        passed = 0.04 if self._last_time is None else float(np.clip(state.time - self._last_time, 0.0, 0.2))
        self._seen_seconds += passed
        expression = state.expression.astype(np.float64)
        pose = pose_of(state)
        face = observed_face(self._neutral, self.model, pose, expression, points, depth_trust=0.0)
        # A frame counts by the time that it stands for: a second of neutral frames is worth about 3 independent ones.
        self._estimator.add(face, expression, weight=state.confidence * 3.0 * passed)
        share = 1.0 - np.exp(-passed / self._fitter_config.blend_seconds)
        target = self._estimator.neutral()
        self._neutral += share * (target - self._neutral)
        self._person = Person(self.model, self._neutral.astype(np.float32))
