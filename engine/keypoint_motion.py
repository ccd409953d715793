"""The motion of a driver's keypoints, brought to a source.

First Order Motion Model (2019), section 3.3 and its code; DaGAN (2022) transfers in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.motion import Keypoints

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

SMALLEST_DETERMINANT = 1e-4
"A determinant nearer to 0 is moved there, keeping its sign, before anything is divided by it."


@dataclass(frozen=True)
class TransferConfig:
    """How a driver's motion becomes the source's."""

    mode: Literal["relative", "absolute"] = "relative"
    "What the driver's keypoints did since a first frame, done by the source's; or the driver's keypoints themselves."
    adapt_scale: bool = True
    """Relative: movements grow with the area that the source's keypoints span, against the driver's in the first frame.
    The published demonstration does so, the published configuration does not; across identities it is the better."""
    relative_jacobians: bool = True
    "Relative: also the local frames change as the driver's did; otherwise they are the driver's."


class Transferred(NamedTuple):
    """What a renderer of the family is driven with."""

    points: Array
    "(K, 2) the source's keypoints, moved."
    matrices: Array
    "(K, 2, 2) what leads from the moved local frames back to the source's, J_source J_moved^-1."


class KeypointTransfer:
    """Brings the motion of one driver to one source; the driver's first frame is remembered."""

    def __init__(
        self, source: Keypoints, config: TransferConfig = TransferConfig(), initial: Keypoints | None = None
    ) -> None:
        """initial: the driver's frame that looks as the source does; without, the first that is transferred."""
        self._source = source
        self._config = config
        self._initial: Keypoints | None = None
        self._scale = 1.0
        if initial is not None:
            self._begin(initial)

    def transfer(self, driving: Keypoints) -> Transferred:
        """Raises ValueError for a number of keypoints that is not the source's."""
        if driving.count != self._source.count:
            raise ValueError(f"driving: {driving.count} keypoints, the source has {self._source.count}")
        if self._config.mode == "absolute":
            return Transferred(driving.points, frame_change(self._source.jacobians, driving.jacobians))
        if self._initial is None:
            self._begin(driving)
        assert self._initial is not None
        points = relative_points(self._source.points, self._initial.points, driving.points, self._scale)
        # With J = J_d J_0^-1 J_s the source's Jacobian cancels: J_s J^-1 = J_0 J_d^-1.
        reference = self._initial if self._config.relative_jacobians else self._source
        return Transferred(points.astype(np.float32), frame_change(reference.jacobians, driving.jacobians))

    def _begin(self, initial: Keypoints) -> None:
        if initial.count != self._source.count:
            raise ValueError(f"initial: {initial.count} keypoints, the source has {self._source.count}")
        self._initial = initial
        self._scale = movement_scale(self._source.points, initial.points) if self._config.adapt_scale else 1.0


def relative_points(source: Floats, initial: Floats, driving: Floats, scale: float = 1.0) -> Floats:
    """(..., K, 2) the source's points, moved as the driver's did since `initial`, `scale` times as far."""
    moved: Floats = scale * (driving - initial) + source
    return moved


def relative_jacobians(source: Floats, initial: Floats, driving: Floats) -> Floats:
    """(..., K, 2, 2) the source's Jacobians, changed as the driver's did since `initial`: J_d J_0^-1 J_s."""
    changed: Floats = driving @ inverse(initial) @ source
    return changed


def frame_change(source: Floats, driving: Floats) -> Any:
    """(..., 2, 2) J_source J_driving^-1: steps around a driving keypoint to steps around the source's. Eq. 4."""
    return source @ inverse(driving)


def inverse(matrices: Floats) -> Floats:
    """Of (..., 2, 2), in closed form: exact but where the determinant is nearer to 0 than `SMALLEST_DETERMINANT`."""
    a, b, c, d = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 1, 1]
    determinant = a * d - b * c
    away = np.where(
        determinant < 0,
        np.minimum(determinant, -SMALLEST_DETERMINANT),
        np.maximum(determinant, SMALLEST_DETERMINANT),
    )
    adjugate = np.stack((np.stack((d, -b), axis=-1), np.stack((-c, a), axis=-1)), axis=-2)
    inverted: Floats = adjugate / away[..., None, None]
    return inverted


def movement_scale(source: Floats, initial: Floats) -> float:
    """How much larger the source's (K, 2) points are than the driver's: the root of the ratio of their hulls' areas.

    1 where either hull has no area: fewer than three points, or all in one line.
    """
    own, other = hull_area(source), hull_area(initial)
    return float(np.sqrt(own / other)) if min(own, other) > 1e-12 else 1.0


def hull_area(points: Floats) -> float:
    """Area of the convex hull of (N, 2) points; 0 for fewer than three and for points in one line."""
    ordered = np.unique(np.asarray(points, np.float64), axis=0)  # by x, then y
    if len(ordered) < 3:
        return 0.0
    hull = np.array(_chain(ordered)[:-1] + _chain(ordered[::-1])[:-1])
    x, y = hull[:, 0], hull[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def closest_frame(source: Floats, driving: Sequence[Floats] | Floats) -> int:
    """Which frame of a driver begins best, to be the `initial` one: where the face is posed most like the source's.

    source: (N, 2 or more) landmarks of the source, in any unit. driving: (T, N, 2 or more) of the driver's frames, NaN
    where no face was found. Compared by the sum of squared differences after each set was centred and divided by the
    root of its hull's area, so that place and size do not count. With relative transfer every frame depends on
    `initial` alone: frames before the found one need nothing else. Raises ValueError if no frame has a face.
    """
    wanted = _normalised(np.asarray(source, np.float64)[:, :2])
    if wanted is None:
        raise ValueError("source: no face in it, or landmarks in one line")
    best, smallest = -1, np.inf
    for number, landmarks in enumerate(driving):
        shape = _normalised(np.asarray(landmarks, np.float64)[:, :2])
        if shape is None:
            continue
        distance = float(((shape - wanted) ** 2).sum())
        if distance < smallest:
            best, smallest = number, distance
    if best < 0:
        raise ValueError("driving: no frame with a face")
    return best


def _normalised(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if not np.isfinite(points).all():
        return None
    area = hull_area(points)
    return np.asarray((points - points.mean(axis=0)) / np.sqrt(area)) if area > 1e-12 else None


def _chain(ordered: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """One side of the convex hull of points in order, from the first to the last (Andrew's monotone chain)."""
    chain: list[NDArray[np.float64]] = []
    for point in ordered:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
