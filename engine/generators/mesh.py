"""The weight-free generator: a dense warp of the source picture by the mesh of landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.model import Person
from engine.face.regions import MESH_POINTS, POINTS
from engine.generators.base import FaceGenerator, GeneratorError, Identity, Tensors
from engine.generators.eyes import EyeConfig, close_lids, draw_eyes, draw_lids, encode_eyes
from engine.generators.head_shape import (
    HeadShapeConfig,
    inset_direction,
    moved_vertices,
    revealed,
    source_vertices,
    texture_positions,
)
from engine.generators.matte import person_layer, person_matte, still_plate
from engine.generators.mesh_topology import OPENING_TRIANGLES, SURFACE_TRIANGLES, mesh_triangles
from engine.generators.mirrored_texture import MirrorConfig, draw_mirrored, mirror_gains, mirror_weights
from engine.generators.mouth import MouthConfig, close_lips, draw_mouth, encode_mouth, inset_lips
from engine.generators.rasterizer import Rasterized
from engine.motion import FaceState, to_pixels

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

REFINEMENT = 2
"Bilinear sampling of a layer refined once looks like bicubic sampling of every frame, in an eighth of its time."

SEAM_JUMP = 3.0 * REFINEMENT
"Pixels of the head layer between neighbours of the frame that make a seam."


@dataclass(frozen=True, eq=False)
class Drawn:
    """A frame that the mesh made, and what was drawn where."""

    frame: Frame
    "(S, S, 3) RGB."
    layer_x: Array
    layer_y: Array
    "(S, S) the place in the head layer that each pixel shows, in the layer's pixels."
    border: int
    "Of the head layer around the source frame, in the frame's pixels."
    on_person: NDArray[np.bool_]
    "(S, S) where the person is drawn, and not the plate alone."
    on_face: NDArray[np.bool_]
    "(S, S) where the face's own surface is seen, and not hair, neck or an opening."
    landmarks_px: Array
    "(478, 3) of the motion, with lids and lips closed where they nearly are."

    @property
    def place_px(self) -> Array:
        """(S, S, 2) x and y of the place in the source frame that each pixel of the person shows, in its pixels."""
        place: Array = np.asarray(cv2.merge((self.layer_x, self.layer_y)), np.float32)
        place *= np.float32(1.0 / REFINEMENT)
        place -= np.float32(self.border - 0.5)
        return place


class MeshGenerator(FaceGenerator):
    """Piecewise-affine warp of a head layer over a still plate, for square frames of `size` pixels.

    A frame is, from back to front: the plate (background, filled where the head was), the person, whose every
    triangle takes its texture from the source (`head_shape` says where hair and neck go, `mirrored_texture` what a
    turned source hides), the inside of the mouth, and the eyes.

    `encode` wants landmarks whose depth is of the kind that will drive: `person.landmarks(state)` from `fit_source`.
    Identity tensors: `head` (B, A, A, 4) the person, premultiplied RGBA with a border, refined; `plate` (B, S, S, 3);
    `landmarks` (B, 478, 3) and `vertices` (B, V, 3) in pixels; per vertex `weights` (B, V, 2), `inset` (B, V, 2),
    `mirror_weights` (B, V), `mirror_gains` (B, V, 3); `eye_*` and `mouth_*` as `encode_eyes` and `encode_mouth`
    return them. Motion tensors: `landmarks` (B, 478, 3) in frame coordinates.
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
        self._mirror = MirrorConfig()
        self._border = size // 4
        self._triangles = mesh_triangles()
        # Rings are behind the face; covers of openings show only where nothing else does.
        layer = np.where((self._triangles >= MESH_POINTS).any(axis=1), 1e5, 0.0)
        layer[SURFACE_TRIANGLES : SURFACE_TRIANGLES + OPENING_TRIANGLES] = 5e4
        self._layer_depth = layer

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
        if landmarks.shape != (batch, POINTS, 3) or not np.isfinite(landmarks).all():
            raise GeneratorError(f"motion landmarks: expected ({batch}, {POINTS}, 3) finite, got {landmarks.shape}")
        return np.stack([self.draw({k: v[i] for k, v in identity.items()}, landmarks[i]).frame for i in range(batch)])

    def _encode(self, frame: Frame, landmarks: Array) -> dict[str, NDArray[Any]]:
        points = to_pixels(landmarks, self.size, self.size)
        matte = person_matte(frame, points)
        if matte is None:
            plate, head = frame, np.dstack((frame, np.full(frame.shape[:2], 255, np.uint8)))
        else:
            plate = still_plate(frame, matte, points)
            head = person_layer(frame, matte, plate, points)
        border = self._border
        head = np.asarray(cv2.copyMakeBorder(head, border, border, border, border, cv2.BORDER_REPLICATE), np.uint8)
        vertices, weights = source_vertices(points, matte is not None, self._shape)
        return {
            "head": _refined(head),
            "plate": plate,
            "vertices": vertices,
            "weights": weights,
            "mirror_weights": mirror_weights(vertices, self._mirror),
            "mirror_gains": mirror_gains(frame, vertices, self._mirror),
            "inset": inset_direction(vertices, self._shape),
            "landmarks": points,
            **encode_eyes(frame, points, self._eyes),
            **encode_mouth(frame, points, self._mouth),
        }

    def draw(self, identity: Mapping[str, NDArray[Any]], landmarks: Array) -> Drawn:
        """One frame of an identity without the batch axis. landmarks: (478, 3) in frame coordinates."""
        size = self.size
        driving = close_lips(close_lids(to_pixels(landmarks, size, size), self._eyes))
        source = identity["vertices"]
        moved, rigid = moved_vertices(source, identity["weights"], identity["landmarks"], driving, self._shape)
        reveal = revealed(source, rigid)
        texture = texture_positions(source, identity["inset"], reveal, self._shape)
        texture = inset_lips(texture, identity["landmarks"], driving, self._mouth)
        place = REFINEMENT * (texture + np.float32(self._border - 0.5))
        drawn = self._rasterized(moved)
        map_x, map_y = drawn.everywhere(place, outside=-9.0)
        head = np.asarray(cv2.remap(identity["head"], map_x, map_y, cv2.INTER_LINEAR), np.uint8)
        own_place = REFINEMENT * (source[:, :2] + np.float32(self._border - 0.5))
        draw_mirrored(head, identity, drawn, own_place, reveal, self._mirror)
        alpha = cv2.cvtColor(cv2.bitwise_not(head[..., 3]), cv2.COLOR_GRAY2RGB)
        behind = cv2.multiply(identity["plate"], alpha, scale=1 / 255)
        frame = np.asarray(cv2.add(cv2.cvtColor(head, cv2.COLOR_RGBA2RGB), behind), np.uint8)
        _soften_seams(frame, map_x, map_y)
        draw_lids(frame, identity, driving, self._eyes)
        draw_mouth(frame, identity, identity["landmarks"], driving, rigid, self._mouth)
        draw_eyes(frame, identity, identity["landmarks"], driving, rigid, self._eyes)
        shown = drawn.triangle_of_pixel
        on_person = shown < len(self._triangles)
        return Drawn(frame, map_x, map_y, self._border, on_person, shown < SURFACE_TRIANGLES, driving)

    def _rasterized(self, moved: Array) -> Rasterized:
        """The moved mesh in the frame, near before far."""
        corners = moved[self._triangles]
        edge_1, edge_2 = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
        faces_away = edge_1[:, 0] * edge_2[:, 1] > edge_1[:, 1] * edge_2[:, 0]
        depth = corners[..., 2].sum(axis=1) + 1e4 * faces_away + self._layer_depth
        order = np.argsort(-depth, kind="stable")
        return Rasterized(moved[:, :2], self._triangles, order, self.size, self.size)


def _refined(head: Frame) -> Frame:
    """The head layer on a grid finer by `REFINEMENT` that contains its own pixels."""
    height, width = head.shape[:2]
    size = (REFINEMENT * width, REFINEMENT * height)
    to_coarse = np.array(((1 / REFINEMENT, 0, 0), (0, 1 / REFINEMENT, 0)))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(head, to_coarse, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _soften_seams(frame: Frame, map_x: Array, map_y: Array) -> None:
    """Anti-alias, in place, folds and closed lids: where neighbouring pixels show distant places of the source."""
    jump = np.zeros(map_x.shape, np.uint8)
    for mapped in (map_x, map_y):
        across = cv2.absdiff(mapped[:, 1:], mapped[:, :-1]) > SEAM_JUMP
        down = cv2.absdiff(mapped[1:], mapped[:-1]) > SEAM_JUMP
        jump[:, 1:] |= across
        jump[:, :-1] |= across
        jump[1:] |= down
        jump[:-1] |= down
    mask = jump > 0
    if mask.any():
        frame[mask] = cv2.GaussianBlur(frame, (3, 3), 0)[mask]


def _stack(items: list[dict[str, NDArray[Any]]]) -> Identity:
    return {name: np.stack([item[name] for item in items]) for name in items[0]}
