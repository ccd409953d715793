"""Where hair, ears, neck and shoulders go when the face moves.

Around the face's outline lie rings of vertices (`mesh_topology`). They have a depth behind the face, so that the head's
rigid motion in space carries them, and two weights that fade towards the torso: one for turning, one for going along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import FACE_OVAL, MESH_POINTS
from engine.generators.mesh_topology import OUTLINE, RINGS, VERTICES

Array = NDArray[np.float32]

# Bone that expressions hardly move: in front of the ears, temples, cheek bones, bridge of the nose, eye corners. The
# forehead is not among it: brows pull it up and down.
SKULL = (
    127, 234, 93, 162, 21, 227, 34, 139, 143, 116, 356, 454, 323, 389, 251, 447, 264, 368, 372, 345,
    168, 6, 197, 195, 5, 33, 133, 362, 263,
)  # fmt: skip
RIGHT_EAR, LEFT_EAR = 234, 454
HAIRLINE, CHIN = 10, 152


@dataclass(frozen=True)
class HeadShapeConfig:
    """Lengths are shares of the face's height (hairline to chin) unless said otherwise."""

    ring_radii: tuple[float, ...] = (1.06, 1.2, 1.38, 1.6, 1.9, 2.4, 3.2, 4.6, 7.0)
    "Distance of each ring from the middle of the face; 1 is the face's outline."
    depth_share: tuple[float, ...] = (0.15, 0.4, 0.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    "How far each ring has come from the depth of the face's outline to that of the skull's middle."
    back: float = 0.22
    "How far the middle of the skull is behind the ears."
    silhouette_share: tuple[float, ...] = (0.1, 0.3, 0.6, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0)
    "How much each ring belongs to the silhouette, which goes along with the skull but does not turn: a skull is round."
    expression_share: tuple[float, ...] = (0.7, 0.4, 0.15, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    "How much of the outline's own motion (a jaw that opens) each ring takes over."
    inset: float = 0.14
    """Where a turn reveals the side of the face, the texture of its border is taken from further inside, by this many
    radii of the face times the sine of the turn: the source shows hair or its shadow there, in a few pixels that are
    drawn out."""
    inset_begin: float = 0.82
    "Distance from the middle, in radii of the face, from which that is so."
    turn_end: float = 0.4
    "Below the chin by this much, nothing turns with the head."
    follow_end: float = 0.7
    "Below the chin by this much, nothing goes along with the head."
    shoulder: float = 0.2
    "Sideways from the middle of the face, shoulders begin at this distance and are still."
    frame_share: tuple[float, ...] = (1.0, 1.0, 0.85, 0.6, 0.2, 0.0, 0.0, 0.0, 0.0)
    "How much each ring moves where there is no matte, and the rings hold the background too."

    def __post_init__(self) -> None:
        for name in ("ring_radii", "depth_share", "silhouette_share", "expression_share", "frame_share"):
            if len(getattr(self, name)) != RINGS:
                raise ValueError(f"{name}: {len(getattr(self, name))} values, the mesh has {RINGS} rings")


def source_vertices(landmarks: Array, matted: bool, config: HeadShapeConfig) -> tuple[Array, Array]:
    """Vertices (V, 3) of the source and their weights (V, 2): turning, going along.

    landmarks: (478, 3) in pixels. matted: the background is on a plate of its own, so that rings hold nothing but the
    person.
    """
    outline = landmarks[list(FACE_OVAL)]
    down = landmarks[CHIN, :2] - landmarks[HAIRLINE, :2]
    height = float(np.linalg.norm(down)) + 1e-6
    down = down / height
    middle = outline[:, :2].mean(axis=0)
    directions, reach = _directions(landmarks[:MESH_POINTS, :2], outline[:, :2], middle)
    back = float(_skull_middle(landmarks, config)[2])

    vertices = np.empty((VERTICES, 3), np.float32)
    vertices[:MESH_POINTS] = landmarks[:MESH_POINTS]
    rings = vertices[MESH_POINTS:].reshape(RINGS, OUTLINE, 3)
    radii = np.array(config.ring_radii, np.float32)[:, None]
    depth_share = np.array(config.depth_share, np.float32)[:, None]
    rings[..., :2] = middle + directions * (reach * radii)[..., None]
    rings[..., 2] = outline[:, 2] + depth_share * (back - outline[:, 2])

    weights = np.ones((VERTICES, 2), np.float32)
    offset = rings[..., :2] - landmarks[CHIN, :2]
    below = offset @ down / height
    beside = np.abs((rings[..., :2] - middle) @ np.array((-down[1], down[0]))) / height
    # Shoulders are still at a height at which hair still moves.
    below = below + 0.5 * np.maximum(0.0, beside - config.shoulder) * (below > -0.3)
    ring_weights = weights[MESH_POINTS:].reshape(RINGS, OUTLINE, 2)
    ring_weights[..., 0] = 1.0 - _smoothstep(0.0, config.turn_end, below)
    ring_weights[..., 1] = 1.0 - _smoothstep(0.0, config.follow_end, below)
    if not matted:
        ring_weights *= np.array(config.frame_share, np.float32)[:, None, None]
    return vertices, weights


def moved_vertices(
    vertices: Array, weights: Array, source: Array, driving: Array, config: HeadShapeConfig
) -> tuple[Array, Array]:
    """Where the source's vertices go, (V, 3), and the rigid motion of the head, (3, 4).

    vertices, weights: from `source_vertices`. source, driving: (478, 3) landmarks, same unit as the vertices.
    """
    rigid = skull_motion(source, driving)
    moved = np.empty_like(vertices)
    moved[:MESH_POINTS] = driving[:MESH_POINTS]
    rings = vertices[MESH_POINTS:]
    turned = _turned(rings, source, rigid, config)
    # The neck turns about its own upper end, below and behind the face; what is left of the motion is going along.
    down = source[CHIN] - source[HAIRLINE]
    pivot = source[[RIGHT_EAR, LEFT_EAR]].mean(axis=0)
    pivot[:2] += 0.5 * down[:2]
    along = rigid[:, :3] @ pivot + rigid[:, 3] - pivot
    turning, following = weights[MESH_POINTS:, :1], weights[MESH_POINTS:, 1:]
    moved[MESH_POINTS:] = rings + turning * (turned - rings - along) + following * along

    outline = list(FACE_OVAL)
    own = driving[outline] - (source[outline] @ rigid[:, :3].T + rigid[:, 3])
    share = np.array(config.expression_share, np.float32)[:, None, None]
    moved[MESH_POINTS:] += (share * own).reshape(-1, 3)
    return moved, rigid


def _turned(rings: Array, source: Array, rigid: Array, config: HeadShapeConfig) -> Array:
    """Where the head's motion takes the ring vertices: near the face it turns them, the silhouette only goes along."""
    turned = rings @ rigid[:, :3].T + rigid[:, 3]
    middle = _skull_middle(source, config)
    roll = np.arctan2(rigid[1, 0] - rigid[0, 1], rigid[0, 0] + rigid[1, 1])
    scale = np.cbrt(np.linalg.det(rigid[:, :3].astype(np.float64)))
    in_plane = scale * np.array(((np.cos(roll), -np.sin(roll), 0), (np.sin(roll), np.cos(roll), 0), (0, 0, 1)))
    silhouette = (rings - middle) @ in_plane.T + rigid[:, :3] @ middle + rigid[:, 3]
    share = np.repeat(np.array(config.silhouette_share, np.float32), OUTLINE)[:, None]
    mixed: Array = (turned + share * (silhouette - turned)).astype(np.float32)
    return mixed


def _skull_middle(landmarks: Array, config: HeadShapeConfig) -> Array:
    """(3,) the point around which the skull is round: between and behind the ears."""
    right, left = landmarks[RIGHT_EAR], landmarks[LEFT_EAR]
    down = landmarks[CHIN] - landmarks[HAIRLINE]
    backwards = np.cross(left - right, down)
    backwards /= max(float(np.linalg.norm(backwards)), 1e-6)
    middle: Array = (0.5 * (right + left) + config.back * np.linalg.norm(down) * backwards).astype(np.float32)
    return middle


def inset_direction(vertices: Array, config: HeadShapeConfig) -> Array:
    """(V, 2) where a vertex of the source turns for its texture when the head's turn reveals its side: inwards."""
    outline = vertices[list(FACE_OVAL), :2]
    middle = outline.mean(axis=0)
    away = vertices[:, :2] - middle
    distance = np.linalg.norm(away, axis=1)
    angle, outline_angle = np.arctan2(away[:, 1], away[:, 0]), np.arctan2(*(outline - middle).T[::-1])
    order = np.argsort(outline_angle)
    reach = np.interp(angle, outline_angle[order], np.linalg.norm(outline - middle, axis=1)[order], period=2 * np.pi)
    place = distance / np.maximum(reach, 1e-6)
    inside = np.clip((place - config.inset_begin) / (1.0 - config.inset_begin), 0.0, 1.0) ** 2
    outside = np.clip((1.6 - place) / 0.6, 0.0, 1.0)
    amount = reach * np.where(place < 1.0, inside, outside)
    direction: Array = (-away / np.maximum(distance, 1e-6)[:, None] * amount[:, None]).astype(np.float32)
    return direction


def revealed(vertices: Array, rigid: Array) -> Array:
    """(V,) how much the head's motion turns each vertex of the source into view: the sine of the turn on the side
    that it reveals, 0 on the other and in the middle. vertices: (V, 3) of the source. rigid: (3, 4)."""
    # Only sideways: above and below are brows, hairline and chin.
    sideways = vertices[LEFT_EAR, :2] - vertices[RIGHT_EAR, :2]
    sideways /= max(float(np.linalg.norm(sideways)), 1e-6)
    # What lies deeper moves this way, out from behind what is nearer.
    turn = float(rigid[:2, 2] @ sideways) / max(float(np.linalg.norm(rigid[:, 2])), 1e-6)
    away = vertices[:, :2] - vertices[list(FACE_OVAL), :2].mean(axis=0)
    outwards = away @ sideways / np.maximum(np.linalg.norm(away, axis=1), 1e-6)
    amount: Array = np.maximum(0.0, turn * outwards * np.abs(outwards))
    return amount


def texture_positions(vertices: Array, inset: Array, reveal: Array, config: HeadShapeConfig) -> Array:
    """(V, 2) where in the source a vertex takes its texture. inset, reveal: from `inset_direction`, `revealed`."""
    positions: Array = vertices[:, :2] + config.inset * reveal[:, None] * inset
    return positions


def skull_motion(source: Array, driving: Array) -> Array:
    """(3, 4) the similarity (scale, rotation, translation) from the source's skull to the driving one."""
    skull = list(SKULL)
    a, b = source[skull].astype(np.float64), driving[skull].astype(np.float64)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    a -= mean_a
    b -= mean_b
    u, stretch, vt = np.linalg.svd(b.T @ a)
    sign = np.array((1.0, 1.0, np.sign(np.linalg.det(u @ vt))))
    rotation = (u * sign) @ vt
    scale = float((stretch * sign).sum() / max(float((a**2).sum()), 1e-12))
    linear = scale * rotation
    return np.column_stack((linear, mean_b - linear @ mean_a)).astype(np.float32)


def _directions(surface: Array, outline: Array, middle: Array) -> tuple[Array, Array]:
    """Unit directions (36, 2) from the middle of the face through its outline, in order, and the reach of the face
    along them.

    The outline of a turned face folds back over itself on the far side: there the reach is that of the cheek before it.
    """
    away = outline - middle
    angle = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
    turn = 1.0 if angle[-1] > angle[0] else -1.0
    step = 2 * np.pi / len(angle)
    even = angle.mean() + turn * step * (np.arange(len(angle)) - (len(angle) - 1) / 2)
    # Between the outline's own directions and even ones, far enough that they stay in order.
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        mixed = angle + share * (even - angle)
        gaps = turn * np.diff(np.append(mixed, mixed[0] + turn * 2 * np.pi))
        if gaps.min() > 0.25 * step:
            break
    directions = np.stack((np.cos(mixed), np.sin(mixed)), axis=1)
    spread = surface - middle
    distance = np.linalg.norm(spread, axis=1)
    cosine = directions @ (spread / np.maximum(distance, 1e-6)[:, None]).T
    near = cosine > np.cos(0.6 * step)
    reach = np.where(near, cosine * distance, 0.0).max(axis=1)
    reach = np.where(reach > 0, reach, distance.max())
    return directions.astype(np.float32), reach.astype(np.float32)


def _smoothstep(low: float, high: float, value: Array) -> Array:
    t: Array = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
