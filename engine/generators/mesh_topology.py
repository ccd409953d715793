"""Triangles of the face mesh and of the rings around it that carry hair, ears and neck.

Vertices: 0..467 are MediaPipe's surface landmarks, then `RINGS` rings of 36 vertices, innermost first, each vertex
outwards of one point of the face's outline (`FACE_OVAL`, same order). Triangles wind such that those that face the
camera have a negative signed area in image coordinates (y down).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import (
    FACE_OVAL,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    MESH_POINTS,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)

Indices = NDArray[np.int32]
Triangle = tuple[int, int, int]

RINGS = 9
OUTLINE = len(FACE_OVAL)
SURFACE_TRIANGLES, OPENING_TRIANGLES = 852, 2 * 14 + 18
VERTICES = MESH_POINTS + RINGS * OUTLINE


@lru_cache(maxsize=1)
def mesh_triangles() -> Indices:
    """(T, 3) all triangles: first the 852 of the surface, then covers of the eye and mouth openings, then the rings."""
    surface = surface_triangles()
    triangles = np.array(surface + opening_triangles(surface) + ring_triangles(surface), dtype=np.int32)
    triangles.flags.writeable = False
    return triangles


def surface_triangles() -> list[Triangle]:
    """MediaPipe's tessellation, 852 triangles; eyes and mouth are holes."""
    # Here, because importing any part of mediapipe imports all of it.
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    following: dict[int, set[int]] = {}
    neighbours: dict[int, set[int]] = {}
    for a, b in FACEMESH_TESSELATION:
        following.setdefault(a, set()).add(b)
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    # The edges are directed and each belongs to one triangle. A directed cycle of three is a triangle, the same
    # backwards (made of its neighbours' edges), or what surrounds a vertex with three neighbours.
    faces = {frozenset((a, b, c)) for a, b in FACEMESH_TESSELATION for c in following[b] if a in following[c]}
    faces -= {frozenset(around) for around in neighbours.values() if len(around) == 3}
    one_sided = next((a, b) for a, b in sorted(FACEMESH_TESSELATION) if a not in following[b])
    return _wound_alike(faces, one_sided)


def _wound_alike(faces: set[frozenset[int]], edge: tuple[int, int]) -> list[Triangle]:
    """Order each face's vertices so that neighbours agree, starting with the face that has the directed `edge`."""
    beside: dict[frozenset[int], list[frozenset[int]]] = {}
    for face in faces:
        for vertex in face:
            beside.setdefault(face - {vertex}, []).append(face)
    wound: dict[frozenset[int], Triangle] = {}
    open_edges = [edge]
    while open_edges:
        a, b = open_edges.pop()
        for face in beside[frozenset((a, b))]:
            if face not in wound:
                (c,) = face - {a, b}
                wound[face] = (a, b, c)
                open_edges += [(a, c), (c, b)]
    return sorted(wound.values())


def opening_triangles(surface: list[Triangle]) -> list[Triangle]:
    """Covers of the two eye openings and of the mouth opening: strips between upper and lower contour."""
    contours = (
        (RIGHT_EYE_OUTER, RIGHT_UPPER_LID, RIGHT_EYE_INNER, RIGHT_LOWER_LID),
        (LEFT_EYE_OUTER, LEFT_UPPER_LID, LEFT_EYE_INNER, LEFT_LOWER_LID),
        (INNER_UPPER_LIP[0], INNER_UPPER_LIP[1:-1], INNER_UPPER_LIP[-1], INNER_LOWER_LIP),
    )
    edges = _directed_edges(surface)
    triangles: list[Triangle] = []
    for first, upper, last, lower in contours:
        strip = [(first, upper[0], lower[0])]
        for a, b, c, d in zip(upper, upper[1:], lower, lower[1:], strict=False):
            strip += [(a, b, c), (b, d, c)]
        strip.append((upper[-1], last, lower[-1]))
        # Of an edge that the cover shares with the surface, the cover has the other direction.
        turned = (first, upper[0]) in edges
        triangles += [(a, c, b) if turned else (a, b, c) for a, b, c in strip]
    return triangles


def ring_triangles(surface: list[Triangle]) -> list[Triangle]:
    """Strips between the outline and ring 1, ring 1 and ring 2, and so on."""
    rings = [list(FACE_OVAL)]
    for ring in range(RINGS):
        first = MESH_POINTS + ring * OUTLINE
        rings.append(list(range(first, first + OUTLINE)))
    turned = (FACE_OVAL[0], FACE_OVAL[1]) in _directed_edges(surface)
    triangles: list[Triangle] = []
    for inner, outer in pairwise(rings):
        for i in range(OUTLINE):
            j = (i + 1) % OUTLINE
            strip = [(inner[i], inner[j], outer[i]), (inner[j], outer[j], outer[i])]
            triangles += [(a, c, b) if turned else (a, b, c) for a, b, c in strip]
    return triangles


def _directed_edges(triangles: list[Triangle]) -> set[tuple[int, int]]:
    return {edge for a, b, c in triangles for edge in ((a, b), (b, c), (c, a))}
