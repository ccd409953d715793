"""The face of a picture, lifted into space and shown in another pose: Rhythmic Head Motion's 3-D-aware frames.

The paper has the surface from a network (PRNet); here it is the landmarker's mesh, which has depth. It is turned as a
whole: the picture's expression stays. What moves of its own, eyes and mouth, is blackened.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.model import FaceModel
from engine.face.regions import MESH_POINTS
from engine.generators.head_shape import skull_motion
from engine.generators.mesh_topology import OPENING_TRIANGLES, SURFACE_TRIANGLES, mesh_triangles
from engine.generators.rasterizer import Indices, Rasterized
from engine.motion import rotation_vector

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

EYE_ROOM, MOUTH_ROOM = 2, 5
"Pixels of 256 around the points of an eye and of the mouth."
_EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
_MOUTH = (48, 50, 51, 54, 57)
"Of the 68 contour points, those whose box is blackened."


def posed_landmarks(source: Array, driving: Array) -> Array:
    """(478, 3) the source's landmarks, moved as a rigid whole to the driving pose; the same unit as both."""
    motion = skull_motion(source, driving)
    moved: Array = source @ motion[:, :3].T + motion[:, 3]
    return moved


def head_turn(landmarks: Array) -> NDArray[np.float64]:
    """(3,) axis times angle of the head's rotation, 0 for one that looks straight ahead. landmarks: (478, 3)."""
    linear = skull_motion(_mean_face(), landmarks)[:, :3].astype(np.float64)
    scale = max(float(np.cbrt(max(np.linalg.det(linear), 0.0))), 1e-6)
    return rotation_vector(linear / scale)


def rendered_face(frame: Frame, source_px: Array, posed_px: Array) -> Frame:
    """(S, S, 3) the face of a frame (S, S, 3) at other places, on black: the nearest surface wins.

    source_px: (478, 3) its landmarks in pixels. posed_px: (478, 3) where they go.
    """
    drawn = rasterized_face(posed_px, len(frame))
    map_x, map_y = drawn.everywhere(source_px[:MESH_POINTS, :2] - np.float32(0.5), outside=-9.0)
    shown = cv2.remap(frame, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shown[drawn.triangle_of_pixel == len(_triangles())] = 0
    return np.asarray(shown, np.uint8)


def rasterized_face(landmarks_px: Array, size: int) -> Rasterized:
    """Which triangle of the face each of (size, size) pixels shows. landmarks_px: (478, 3)."""
    triangles = _triangles()
    points = np.ascontiguousarray(landmarks_px[:MESH_POINTS])
    order = np.argsort(-points[triangles, 2].sum(axis=1), kind="stable")
    return Rasterized(points[:, :2], triangles, order, size, size)


def without_features(picture: Frame, contours_px: Array) -> Frame:
    """A copy of the picture (S, S, 3) with the boxes around eyes and mouth black. contours_px: (68, 2)."""
    result, scale = picture.copy(), len(picture) / 256
    for points, room in ((_EYES[0], EYE_ROOM), (_EYES[1], EYE_ROOM), (_MOUTH, MOUTH_ROOM)):
        box = contours_px[list(points), :2]
        low = np.clip(np.floor(box.min(axis=0) - room * scale), 0, len(picture)).astype(int)
        high = np.clip(np.ceil(box.max(axis=0) + room * scale), 0, len(picture)).astype(int)
        result[low[1] : high[1], low[0] : high[0]] = 0
    return result


@cache
def _triangles() -> Indices:
    """Of the surface and of the covers of eyes and mouth."""
    return mesh_triangles()[: SURFACE_TRIANGLES + OPENING_TRIANGLES]


@cache
def _mean_face() -> Array:
    return FaceModel.load().mean
