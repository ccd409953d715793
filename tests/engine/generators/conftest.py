"""A drawn head: a source picture that may be in the repository, with exact landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.face.model import FaceModel, Person
from engine.face.regions import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE,
    LEFT_IRIS,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    MESH_POINTS,
    RIGHT_EYE,
    RIGHT_IRIS,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)
from engine.generators.mesh_topology import surface_triangles
from engine.motion import FaceState, to_pixels

SIZE = 256
MOUTH = (*INNER_UPPER_LIP, *reversed(INNER_LOWER_LIP))
WHITE, IRIS, CAVITY, ENAMEL = (232, 230, 226), (40, 60, 120), (60, 16, 16), (240, 235, 225)


@dataclass(frozen=True, eq=False)
class DrawnHead:
    """The mean person in some state, drawn flat: dotted skin, eyes, mouth, hair, shoulders, a striped background."""

    person: Person
    state: FaceState
    frame: NDArray[np.uint8]

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(478, 3) frame coordinates."""
        return self.person.landmarks(self.state).astype(np.float32)

    @property
    def points(self) -> NDArray[np.float32]:
        """(478, 3) pixels."""
        return to_pixels(self.landmarks, SIZE, SIZE)


def state(model: FaceModel, rotation=(0.0, 0.0, 0.0), translation=(0.0, 0.0), gaze=(0.0, 0.0)) -> FaceState:
    return FaceState(
        rotation=np.array(rotation, np.float32),
        translation=np.array(translation, np.float32),
        scale=0.28,
        expression=np.zeros(model.expression_size, np.float32),
        gaze=np.array(gaze, np.float32),
    )


def shut(landmarks: NDArray[np.float32], upper: tuple[int, ...], lower: tuple[int, ...]) -> NDArray[np.float32]:
    """Landmarks with an upper contour laid down on the lower one."""
    result = landmarks.copy()
    result[list(upper)] = result[list(lower)]
    return result


def draw(person: Person, where: FaceState, opened: float = 0.0, closed_eyes: bool = False) -> NDArray[np.uint8]:
    landmarks = open_mouth(person.landmarks(where).astype(np.float32), opened)
    points = to_pixels(landmarks, SIZE, SIZE)
    frame = np.empty((SIZE, SIZE, 3), np.uint8)
    frame[:] = (70, 110, 150)
    frame[:, ::16] = (220, 220, 90)
    frame[:, 1::16] = (220, 220, 90)
    middle = points[:MESH_POINTS, :2].mean(axis=0)
    paint = lambda contour, colour: cv2.fillPoly(  # noqa: E731 (a shorthand of this function)
        frame, [np.rint(contour * 16 - 8).astype(np.int32)], colour, cv2.LINE_AA, 4
    )
    cv2.ellipse(frame, (round(middle[0]), SIZE + 20), (95, 75), 0, 0, 360, (60, 60, 70), -1, cv2.LINE_AA)
    cv2.ellipse(frame, (round(middle[0]), round(middle[1] - 12)), (76, 92), 0, 0, 360, (50, 32, 22), -1, cv2.LINE_AA)
    cv2.rectangle(
        frame, (round(middle[0]) - 26, round(middle[1]) + 40), (round(middle[0]) + 26, 215), (190, 140, 115), -1
    )
    paint(cv2.convexHull(np.ascontiguousarray(points[:MESH_POINTS, :2]))[:, 0], (205, 155, 130))
    for a, b, c in surface_triangles()[::9]:
        x, y = points[[a, b, c], :2].mean(axis=0)
        cv2.circle(frame, (round(x), round(y)), 1, (180, 125, 100), -1, cv2.LINE_AA)
    paint(points[list(MOUTH), :2] + (points[list(MOUTH), :2] - points[list(MOUTH), :2].mean(0)) * 0.25, (170, 80, 80))
    if opened:
        paint(points[list(MOUTH), :2], CAVITY)
        teeth = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(teeth, [np.rint(points[list(MOUTH), :2]).astype(np.int32)], 1)
        lip = points[13, 1]
        teeth[round(lip + 5) :] = 0
        frame[teeth > 0] = ENAMEL
    if not closed_eyes:
        for contour, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
            eye = np.zeros((SIZE, SIZE), np.uint8)
            cv2.fillPoly(eye, [np.rint(points[list(contour), :2]).astype(np.int32)], 1)
            ball = np.full((SIZE, SIZE, 3), WHITE, np.uint8)
            radius = np.linalg.norm(points[list(iris[1:]), :2] - points[iris[0], :2], axis=1).mean()
            centre = tuple(int(v) for v in np.rint(points[iris[0], :2] * 16 - 8))
            cv2.circle(ball, centre, round(float(radius) * 16), IRIS, -1, cv2.LINE_AA, 4)
            frame[eye > 0] = ball[eye > 0]
    return frame


def open_mouth(landmarks: NDArray[np.float32], by: float) -> NDArray[np.float32]:
    """The jaw dropped by so many frame units in the middle of the mouth, less towards the corners and beyond."""
    upper = landmarks[list(INNER_UPPER_LIP)]
    line = np.interp(landmarks[:, 0], upper[:, 0], upper[:, 1])
    below = landmarks[:, 1] > line + 1e-4
    below[list(INNER_LOWER_LIP)] = True
    below[list(INNER_UPPER_LIP)] = False
    middle, half = upper[5, 0], 0.5 * np.ptp(upper[:, 0])
    share = np.clip(1 - ((landmarks[:, 0] - middle) / half) ** 2, 0, 1) * (landmarks[:, 1] < line + 0.4)
    result = landmarks.copy()
    result[:, 1] += by * below * share
    return result


@pytest.fixture(scope="session")
def drawn() -> Callable[..., NDArray[np.uint8]]:
    """`draw`, for tests."""
    return draw


@pytest.fixture(scope="session")
def at_pose() -> Callable[..., FaceState]:
    """`state`, for tests."""
    return state


@pytest.fixture(scope="session")
def with_open_mouth() -> Callable[[NDArray[np.float32], float], NDArray[np.float32]]:
    """`open_mouth`, for tests."""
    return open_mouth


@pytest.fixture(scope="session")
def with_shut_eyes() -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Lays the upper lids down on the lower ones."""
    return lambda landmarks: shut(shut(landmarks, RIGHT_UPPER_LID, RIGHT_LOWER_LID), LEFT_UPPER_LID, LEFT_LOWER_LID)


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="session")
def head(model: FaceModel) -> DrawnHead:
    person = model.person()
    at_rest = state(model, translation=(0.0, -0.02))
    return DrawnHead(person, at_rest, draw(person, at_rest))
