"""The weight-free generator: a dense warp of the source picture by the mesh of landmarks."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.model import Person
from engine.face.regions import POINTS
from engine.generators.base import Generator, GeneratorError, Identity, Tensors
from engine.generators.eyes import EyeConfig, close_lids, draw_eyes, draw_lids, encode_eyes
from engine.generators.head_shape import (
    HeadShapeConfig,
    inset_direction,
    moved_vertices,
    source_vertices,
    texture_positions,
)
from engine.generators.matte import person_layer, person_matte, still_plate
from engine.generators.mouth import MouthConfig, close_lips, draw_mouth, encode_mouth
from engine.generators.mesh_topology import MESH_POINTS, OPENING_TRIANGLES, SURFACE_TRIANGLES, mesh_triangles
from engine.generators.rasterizer import rasterize
from engine.motion import FaceState, to_pixels

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]


REFINEMENT = 2
"Bilinear sampling of a layer refined once with a cubic looks like cubic sampling of every frame, at an eighth of its time."

SEAM_JUMP = 3.0 * REFINEMENT
"Pixels of the head layer between neighbours of the frame that make a seam."


class MeshGenerator(Generator):
    """Piecewise-affine warp of a head layer over a still plate, for square frames of `size` pixels.

    Identity tensors: `head` (B, A, A, 4) premultiplied RGBA with a border, refined, `plate` (B, S, S, 3), `vertices` (B, V, 3) and
    `landmarks` (B, 478, 3) in pixels, `weights` (B, V, 2). Motion tensors: `landmarks` (B, 478, 3) in frame coordinates.
    """

    name: ClassVar[str] = "mesh"
    sizes: ClassVar[tuple[int, ...]] = (256, 512)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, size: int, shape: HeadShapeConfig | None = None) -> None:
        if size not in self.sizes:
            raise GeneratorError(f"generator mesh: no size {size}; it renders {', '.join(map(str, self.sizes))}")
        super().__init__(size)
        self._shape = shape or HeadShapeConfig()
        self._eyes = EyeConfig()
        self._mouth = MouthConfig()
        self._border = size // 4
        self._triangles = mesh_triangles()
        # Rings are behind the face; covers of openings show only where nothing else does.
        layer = 1e5 * (self._triangles >= MESH_POINTS).any(axis=1)
        layer[SURFACE_TRIANGLES : SURFACE_TRIANGLES + OPENING_TRIANGLES] = 5e4
        self._layer_depth = layer
        centres = np.arange(size, dtype=np.float32) + 0.5
        self._x, self._y = np.meshgrid(centres, centres)

    def encode(self, frames: Frame, landmarks: Array) -> Identity:
        size = self.size
        if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
            raise GeneratorError(f"frames: expected (B, {size}, {size}, 3) uint8, got {frames.shape} {frames.dtype}")
        if landmarks.shape != (len(frames), POINTS, 3) or not np.isfinite(landmarks).all():
            raise GeneratorError(f"landmarks: expected ({len(frames)}, {POINTS}, 3) finite, got {landmarks.shape}")
        return _stack([self._encode(frame, points) for frame, points in zip(frames, landmarks, strict=True)])

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        return {"landmarks": person.landmarks(driving)[None].astype(np.float32)}

    def render(self, identity: Identity, motion: Tensors) -> Frame:
        landmarks = motion["landmarks"]
        batch = len(identity["plate"])
        if landmarks.shape != (batch, POINTS, 3):
            raise GeneratorError(f"motion landmarks: expected ({batch}, {POINTS}, 3), got {landmarks.shape}")
        return np.stack([self._render({k: v[i] for k, v in identity.items()}, landmarks[i]) for i in range(batch)])

    def _encode(self, frame: Frame, landmarks: Array) -> dict[str, NDArray[Any]]:
        points = to_pixels(landmarks, self.size, self.size)
        matte = person_matte(frame, points)
        if matte is None:
            plate, head = frame, np.dstack((frame, np.full(frame.shape[:2], 255, np.uint8)))
        else:
            plate = still_plate(frame, matte, points)
            head = person_layer(frame, matte, plate, points)
        border = self._border
        vertices, weights = source_vertices(points, matte is not None, self._shape)
        return {
            "head": _refined(cv2.copyMakeBorder(head, border, border, border, border, cv2.BORDER_REPLICATE)),
            "plate": plate,
            "vertices": vertices,
            "weights": weights,
            "inset": inset_direction(vertices, self._shape),
            "landmarks": points,
            **encode_eyes(frame, points, self._eyes),
            **encode_mouth(frame, points, self._mouth),
        }

    def _render(self, identity: dict[str, NDArray[Any]], landmarks: Array) -> Frame:
        size = self.size
        driving = close_lips(close_lids(to_pixels(landmarks, size, size), self._eyes))
        source = identity["vertices"]
        moved, rigid = moved_vertices(source, identity["weights"], identity["landmarks"], driving, self._shape)
        texture = texture_positions(source, identity["inset"], rigid, self._shape)
        map_x, map_y = self._backward_map(texture, moved)
        head = cv2.remap(identity["head"], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        alpha = cv2.cvtColor(cv2.bitwise_not(head[..., 3]), cv2.COLOR_GRAY2RGB)
        frame: Frame = cv2.add(cv2.cvtColor(head, cv2.COLOR_RGBA2RGB), cv2.multiply(identity["plate"], alpha, scale=1 / 255))
        _soften_seams(frame, map_x, map_y)
        draw_lids(frame, identity, driving, self._eyes)
        draw_mouth(frame, identity, identity["landmarks"], driving, rigid, self._mouth)
        draw_eyes(frame, identity, identity["landmarks"], driving, rigid, self._eyes)
        return frame

    def _backward_map(self, texture: Array, moved: Array) -> tuple[Array, Array]:
        """For each pixel of the frame the position in the head layer that it shows, as cv2.remap takes it."""
        triangles = self._triangles
        corners = moved[triangles]
        edge_1, edge_2 = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
        area = edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]
        depth = corners[..., 2].sum(axis=1)
        order = np.argsort(-(depth + 1e4 * (area > 0) + self._layer_depth), kind="stable")  # what faces away is behind
        shown = rasterize(moved[:, :2], triangles[order], self.size, self.size)

        positions = REFINEMENT * (texture[triangles] + (self._border - 0.5))
        safe = np.where(np.abs(area) < 1e-6, 1.0, area)
        to_1 = np.stack((edge_2[:, 1], -edge_2[:, 0]), axis=1) / safe[:, None]
        to_2 = np.stack((-edge_1[:, 1], edge_1[:, 0]), axis=1) / safe[:, None]
        along_1, along_2 = positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0]
        linear = along_1[:, :, None] * to_1[:, None, :] + along_2[:, :, None] * to_2[:, None, :]
        origin = positions[:, 0] - np.einsum("tij,tj->ti", linear, corners[:, 0, :2])
        coefficients = np.empty((len(triangles) + 1, 6), np.float32)
        coefficients[:-1, 0:2], coefficients[:-1, 2] = linear[order, 0], origin[order, 0]
        coefficients[:-1, 3:5], coefficients[:-1, 5] = linear[order, 1], origin[order, 1]
        coefficients[-1] = (0, 0, -9, 0, 0, -9)  # where no triangle is: outside the head layer
        a, b, c, d, e, f = (np.take(row, shown, mode="wrap") for row in np.ascontiguousarray(coefficients.T))
        return a * self._x + b * self._y + c, d * self._x + e * self._y + f


def _refined(head: Frame) -> Frame:
    """The head layer on a grid finer by `REFINEMENT` that contains its own pixels."""
    height, width = head.shape[:2]
    size = (REFINEMENT * width, REFINEMENT * height)
    to_coarse = np.array(((1 / REFINEMENT, 0, 0), (0, 1 / REFINEMENT, 0)))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(head, to_coarse, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _soften_seams(frame: Frame, map_x: Array, map_y: Array) -> None:
    """Anti-alias, in place, where neighbouring pixels show places of the source that are far apart: folds and closed lids."""
    jump = np.zeros(map_x.shape, np.uint8)
    for mapped in (map_x, map_y):
        across, down = np.abs(np.diff(mapped, axis=1)) > SEAM_JUMP, np.abs(np.diff(mapped, axis=0)) > SEAM_JUMP
        jump[:, 1:] |= across
        jump[:, :-1] |= across
        jump[1:] |= down
        jump[:-1] |= down
    mask = jump > 0
    if mask.any():
        frame[mask] = cv2.GaussianBlur(frame, (3, 3), 0)[mask]


def _stack(items: list[dict[str, NDArray[Any]]]) -> Identity:
    return {name: np.stack([item[name] for item in items]) for name in items[0]}
