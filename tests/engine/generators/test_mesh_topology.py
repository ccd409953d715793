"""The triangles of the mesh."""

from collections import Counter

import numpy as np

from engine.face.model import FaceModel
from engine.face.regions import FACE_OVAL, MESH_POINTS
from engine.generators.mesh_topology import (
    OPENING_TRIANGLES,
    OUTLINE,
    RINGS,
    SURFACE_TRIANGLES,
    VERTICES,
    mesh_triangles,
    surface_triangles,
)


def test_surface_is_mediapipes_tessellation():
    triangles = surface_triangles()
    assert len(triangles) == SURFACE_TRIANGLES == 852
    assert {vertex for triangle in triangles for vertex in triangle} == set(range(MESH_POINTS))


def test_mesh_is_closed_but_for_the_outermost_ring():
    triangles = mesh_triangles()
    assert len(triangles) == SURFACE_TRIANGLES + OPENING_TRIANGLES + 2 * RINGS * OUTLINE
    edges = Counter(edge for a, b, c in triangles.tolist() for edge in ((a, b), (b, c), (c, a)))
    assert set(edges.values()) == {1}  # neighbours wind alike: each direction of an edge belongs to one triangle
    border = {a for a, b in edges if (b, a) not in edges}
    assert border == set(range(VERTICES - OUTLINE, VERTICES))


def test_the_mean_face_faces_the_camera():
    points = np.zeros((VERTICES, 2), np.float32)
    points[:MESH_POINTS] = FaceModel.load().mean[:MESH_POINTS, :2]
    outline = points[list(FACE_OVAL)]
    for ring in range(RINGS):
        points[MESH_POINTS + ring * OUTLINE : MESH_POINTS + (ring + 1) * OUTLINE] = outline * (1.1 + 0.2 * ring)
    a, b, c = np.moveaxis(points[mesh_triangles()], 1, 0)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area < 0).mean() > 0.98  # nostrils, lids and lips fold a few away
    assert (area[-2 * RINGS * OUTLINE :] < 0).all()
