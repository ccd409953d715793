"""The linear 3-D face model over the 478 MediaPipe points, and a person: the model with its own neutral face.

Head coordinates: x to the right, y down and z away from the camera for a head that looks straight into it, origin in
the middle of the mesh, unit = the distance between the outer eye corners of the mean face.
A face is `neutral + expression · expression basis + gaze · gaze basis + turning features · turning basis`. Neutral
means relaxed, mouth closed, eyes open, looking straight ahead. The turning basis is what landmarks do when a head turns
that a rigid head under scaled orthographic projection would not: perspective, the outline that slides over the cheek,
the detector's bias. It follows from the rotation, so that it neither takes up expression coefficients nor is mistaken
for expression.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import (
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    POINTS,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
)
from engine.motion import EXPRESSION_SIZE_LIMIT, Array, FaceState, rotation_matrix

DEFAULT_PATH = Path(__file__).parent / "data" / "face_model.npz"
FORMAT_VERSION = 2
TURNING_FEATURES = 5


class FaceModelError(ValueError):
    """A file is not a face model that this version reads."""


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Arrays of the model, float32; `load` reads and checks them. E expression and I identity directions."""

    mean: Array
    "(478, 3) the mean neutral face."
    identity: Array
    "(I, 478, 3) what differs between relaxed faces, most important first."
    identity_deviation: Array
    "(I,) standard deviation of each identity coefficient over people."
    expression: Array
    "(E, 478, 3) orthonormal under `metric`, most important first; the irises go with their eye corners."
    expression_deviation: Array
    "(E,) standard deviation of each expression coefficient over frames: what the fit is regularised with."
    gaze: Array
    "(2, 478, 3) right and down by one eye width of the mean face; moves only the irises."
    turning: Array
    "(5, 478, 3) for each of `turning_features`."
    metric: Array
    "(478, 3) weight of each coordinate, x and y sum to 1: the unit of a coefficient is a weighted RMS distance."
    rigidity: Array
    "(478,) how much each point says about the pose of the skull, sum 1."

    def __post_init__(self) -> None:
        identities, expressions = len(self.identity), len(self.expression)
        shapes: dict[str, tuple[int, ...]] = {
            "mean": (POINTS, 3),
            "identity": (identities, POINTS, 3),
            "identity_deviation": (identities,),
            "expression": (expressions, POINTS, 3),
            "expression_deviation": (expressions,),
            "gaze": (2, POINTS, 3),
            "turning": (TURNING_FEATURES, POINTS, 3),
            "metric": (POINTS, 3),
            "rigidity": (POINTS,),
        }
        for name, shape in shapes.items():
            values = np.array(getattr(self, name), dtype=np.float32)
            if values.shape != shape:
                raise FaceModelError(f"{name}: expected shape {shape}, got {values.shape}")
            if not np.isfinite(values).all():
                raise FaceModelError(f"{name}: holds values that are not finite")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if not 1 <= expressions <= EXPRESSION_SIZE_LIMIT:
            raise FaceModelError(f"expression: {expressions} directions; 1 to {EXPRESSION_SIZE_LIMIT} are possible")
        for name in ("identity_deviation", "expression_deviation"):
            if not (getattr(self, name) > 0).all():
                raise FaceModelError(f"{name}: expected positive numbers")

    @classmethod
    def load(cls, path: str | Path | None = None) -> FaceModel:
        """The model in the npz file at `path`, or the one that ships. Raises FaceModelError or OSError."""
        path = DEFAULT_PATH if path is None else Path(path)
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except OSError:
            raise
        except Exception as error:  # what numpy and zipfile raise for a damaged file differs by the damage
            raise FaceModelError(
                f"{path}: not a face model ({error}); make one: python -m engine.face.learn"
            ) from error
        version = int(arrays.pop("version", np.array(0)))
        if version != FORMAT_VERSION:
            raise FaceModelError(
                f"{path}: face model of format {version}, this version reads {FORMAT_VERSION}; "
                "learn it again: python -m engine.face.learn"
            )
        names = {field.name for field in fields(cls)}
        if missing := sorted(names - arrays.keys()):
            raise FaceModelError(f"{path}: not a face model, it lacks {', '.join(missing)}")
        try:
            return cls(**{name: arrays[name] for name in names})
        except (FaceModelError, TypeError) as error:
            raise FaceModelError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, version=np.array(FORMAT_VERSION), **arrays)

    @property
    def expression_size(self) -> int:
        return len(self.expression)

    def with_expression_size(self, size: int) -> FaceModel:
        """The same model with its first `size` expression directions."""
        if not 1 <= size <= self.expression_size:
            raise ValueError(f"expression size {size}: this model has {self.expression_size}")
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays["expression"] = self.expression[:size]
        arrays["expression_deviation"] = self.expression_deviation[:size]
        return FaceModel(**arrays)

    def person(self, identity: NDArray[np.floating] | None = None) -> Person:
        """The person with these (I,) identity coefficients; the mean person without."""
        if identity is None:
            return Person(self, self.mean)
        if np.shape(identity) != (len(self.identity),):
            raise ValueError(f"identity: expected ({len(self.identity)},), got {np.shape(identity)}")
        return Person(self, self.mean + np.tensordot(identity, self.identity, 1))

    @cached_property
    def expression_rows(self) -> NDArray[np.float64]:
        """(E, 478 * 3) the expression basis, flat and in double precision, for the fit."""
        rows = self.expression.reshape(self.expression_size, -1).astype(np.float64)
        rows.flags.writeable = False
        return rows

    @cached_property
    def turning_rows(self) -> NDArray[np.float64]:
        """(5, 478 * 3) the turning basis, likewise."""
        rows = self.turning.reshape(TURNING_FEATURES, -1).astype(np.float64)
        rows.flags.writeable = False
        return rows


@dataclass(frozen=True, eq=False)
class Person:
    """A face model whose neutral face is a certain person's."""

    model: FaceModel
    neutral: Array
    "(478, 3) head coordinates."

    def __post_init__(self) -> None:
        neutral = np.array(self.neutral, dtype=np.float32)
        if neutral.shape != (POINTS, 3) or not np.isfinite(neutral).all():
            raise ValueError(f"neutral: expected ({POINTS}, 3) finite numbers, got shape {neutral.shape}")
        neutral.flags.writeable = False
        object.__setattr__(self, "neutral", neutral)

    @cached_property
    def eye_widths(self) -> NDArray[np.float64]:
        """(2,) widths of the right and the left eye, head units: the units of gaze."""
        return eye_widths(self.neutral)

    @cached_property
    def gaze_basis(self) -> Array:
        """(2, 478, 3) the model's gaze basis, scaled to this person's eyes."""
        ratio = self.eye_widths / eye_widths(self.model.mean)
        basis = self.model.gaze.copy()
        basis[:, RIGHT_IRIS] *= np.float32(ratio[0])
        basis[:, LEFT_IRIS] *= np.float32(ratio[1])
        return basis

    def shape(self, state: FaceState) -> Array:
        """(478, 3) head coordinates of the face in this state. Raises ValueError for a state of another model."""
        model = self.model
        if state.expression.shape != (model.expression_size,):
            raise ValueError(
                f"expression: {state.expression.size} coefficients, this face model has {model.expression_size}"
            )
        features = turning_features(rotation_matrix(state.rotation)).astype(np.float32)
        shape = self.neutral + np.tensordot(state.expression, model.expression, 1)
        shape += np.tensordot(features, model.turning, 1)
        shape += np.tensordot(state.gaze, self.gaze_basis, 1)
        return shape

    def landmarks(self, state: FaceState) -> Array:
        """(478, 3) frame coordinates; z in the same unit, 0 at the head's origin."""
        rotation = rotation_matrix(state.rotation).astype(np.float32)
        points = self.shape(state) @ rotation.T
        points *= np.float32(state.scale)
        points[:, :2] += state.translation
        return points


def eye_widths(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2,) distances of the corners of the right and the left eye of (478, 2 or 3) points."""
    corners = points[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER]] - points[[RIGHT_EYE_INNER, LEFT_EYE_INNER]]
    return np.asarray(np.linalg.norm(corners.astype(np.float64), axis=-1), np.float64)


def turning_features(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5,) of a (3, 3) head-to-camera rotation: from which side the camera sees the head, zero from the front.

    x and y of the viewing direction in head coordinates, their squares and their product. Roll makes no difference.
    """
    x, y = rotation[2, 0], rotation[2, 1]
    return np.array((x, y, x * x, y * y, x * y))
