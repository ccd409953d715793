"""A cheek that the source shows edge-on, or not at all, takes its texture from the other cheek, mirrored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.model import FaceModel
from engine.face.regions import FACE_OVAL, MESH_POINTS
from engine.generators.mesh_topology import OUTLINE, RINGS, SURFACE_TRIANGLES, VERTICES, mesh_triangles
from engine.generators.rasterizer import Rasterized

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class MirrorConfig:
    """Facing is the cosine between a vertex' normal and the line of sight: 1 seen from the front, 0 edge-on."""

    edge_on: float = 0.5
    "Facing below which a vertex may take mirrored texture,"
    gain: float = 0.25
    "wholly if its mirror image faces the camera by this much more."
    trusted: float = 0.55
    "Facing from which a vertex tells how the light differs between the sides."
    reach: float = 0.25
    "Over which it does so, in heights of the face."
    full_turn: float = 0.2
    "Sine of a turn from which mirrored texture counts fully; a source in its own pose shows none."
    ring_share: tuple[float, ...] = (1.0, 0.2)
    "How much the innermost rings follow the outline of the face."


@lru_cache(maxsize=1)
def mirror_image() -> Indices:
    """(V,) the vertex on the other side for each vertex of the mesh, from the symmetry of the mean face."""
    mean = FaceModel.load().mean[:MESH_POINTS]
    reflected = mean * np.array((-1.0, 1.0, 1.0), np.float32)
    surface = np.linalg.norm(mean[:, None] - reflected[None], axis=2).argmin(axis=1)
    outline = list(FACE_OVAL)
    place = np.array([outline.index(int(surface[vertex])) for vertex in outline])
    rings = MESH_POINTS + np.arange(RINGS)[:, None] * OUTLINE + place
    return np.concatenate((surface, rings.ravel()))


def mirror_weights(vertices: Array, config: MirrorConfig) -> Array:
    """(V,) how much of a vertex' texture comes from its mirror image. vertices: (V, 3) of the source, in pixels."""
    mirror = mirror_image()
    facing = _facing(vertices)
    better = np.clip((facing[mirror[:MESH_POINTS]] - facing - 0.1) / config.gain, 0.0, 1.0)
    weights = np.zeros(VERTICES, np.float32)
    weights[:MESH_POINTS] = better * np.clip((config.edge_on - facing) / 0.3, 0.0, 1.0)
    outline = weights[list(FACE_OVAL)]
    for ring, share in enumerate(config.ring_share):
        weights[MESH_POINTS + ring * OUTLINE : MESH_POINTS + (ring + 1) * OUTLINE] = share * outline
    return weights


def mirror_gains(frame: Frame, vertices: Array, config: MirrorConfig) -> Array:
    """(V, 3) what multiplies mirrored colours, so that they fit the light of their new side. frame: (S, S, 3) RGB."""
    size = frame.shape[0]
    blurred = cv2.GaussianBlur(frame, (0, 0), size / 50).astype(np.float32)
    places = np.clip(vertices[:MESH_POINTS, :2].astype(int), 0, size - 1)
    colours = blurred[places[:, 1], places[:, 0]] + 8.0
    mirror = mirror_image()
    ratio = np.clip(colours / colours[mirror[:MESH_POINTS]], 0.4, 2.5)
    facing = _facing(vertices)
    trusted = np.minimum(facing, facing[mirror[:MESH_POINTS]]) > config.trusted
    gains = np.ones((VERTICES, 3), np.float32)
    if trusted.any():
        height = np.ptp(vertices[:MESH_POINTS, 1])
        distance = np.linalg.norm(vertices[:, None, :] - vertices[None, :MESH_POINTS][:, trusted], axis=2)
        weight = np.exp(-0.5 * (distance / (config.reach * height)) ** 2) + 1e-9
        gains = np.exp((weight @ np.log(ratio[trusted])) / weight.sum(axis=1, keepdims=True))
    return gains.astype(np.float32)


def draw_mirrored(
    head: Frame,
    identity: Mapping[str, NDArray[Any]],
    drawn: Rasterized,
    texture_px: Array,
    reveal: Array,
    config: MirrorConfig,
) -> None:
    """Blend the mirrored texture into the warped head layer (S, S, 4), in place.

    texture_px: (V, 2) where each vertex has its own texture in the identity's `head`. reveal: (V,) from `revealed`.
    """
    weights = identity["mirror_weights"] * np.minimum(reveal / config.full_turn, 1.0)
    if not weights.any():
        return
    concerned = np.append((weights[mesh_triangles()] > 0).any(axis=1), False)
    rows, columns = np.nonzero(concerned[drawn.triangle_of_pixel])
    if not rows.size:
        return
    values = np.column_stack((texture_px[mirror_image()], weights, identity["mirror_gains"]))
    at = drawn.at(values, rows, columns)
    # As a picture of moderate width: cv2.remap takes no side above 32767.
    width = 512
    padded = np.zeros((-(-len(at) // width) * width, 2), np.float32)
    padded[: len(at)] = at[:, :2]
    place = padded.reshape(-1, width, 2)
    colour = (
        cv2.remap(identity["head"], place[..., 0], place[..., 1], cv2.INTER_LINEAR)
        .reshape(-1, 4)[: len(at)]
        .astype(np.float32)
    )
    # Premultiplied: no colour above its coverage.
    colour[:, :3] = np.minimum(colour[:, :3] * at[:, 3:], colour[:, 3:])
    # Where the other side already is background, this side keeps its own hair.
    share = np.clip(at[:, 2:3], 0.0, 1.0) * (colour[:, 3:] / 255.0)
    own = head[rows, columns].astype(np.float32)
    head[rows, columns] = np.rint(own + share * (colour - own)).astype(np.uint8)


def _facing(vertices: Array) -> Array:
    """(468,) facing of the surface's vertices."""
    triangles = mesh_triangles()[:SURFACE_TRIANGLES]
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((MESH_POINTS, 3), np.float32)
    for corner in range(3):
        np.add.at(sums, triangles[:, corner], normals)
    facing: Array = -sums[:, 2] / np.maximum(np.linalg.norm(sums, axis=1), 1e-6)
    return facing
