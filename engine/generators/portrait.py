"""The mesh draws, compact networks correct the motion and paint what a warp cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.face.model import Person
from engine.face.regions import POINTS
from engine.generators.base import FaceGenerator, GeneratorError, Identity, Tensors
from engine.generators.face_windows import EYE_WINDOWS, cut, paste, to_frame, window_side
from engine.generators.mesh import MeshGenerator
from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator, TensorSpec
from engine.generators.portrait_drawing import labelled, place_grid
from engine.generators.several_sources import EYES, MOUTH, blended, joined, region_maps, source_shares
from engine.motion import FaceState, to_pixels
from engine.nets.portrait_dimensions import DETAIL_FEATURES, EYE_SIDE, FEATURES, GRID, MOUTH_SIDE
from engine.weights import graph_path, weights_path

if TYPE_CHECKING:
    from torch import nn

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

MESH = "mesh_"
WHOLE = np.full((3, GRID, GRID), 1.0 / 3.0, np.float32)
"The regions where one source does it all."


class PortraitGenerator(NeuralGenerator, FaceGenerator):
    """The mesh's drawing, corrected by the networks of engine/nets/portrait.py, for square frames of `size` pixels.

    With several source pictures of one person (K-shot) every region of the frame is drawn from those whose expression
    and pose are the nearest.

    Identity tensors, K sources: those of `MeshGenerator` with the prefix `mesh_` and an axis K after the batch;
    `source` (B, S, S, 3) uint8 of the principal source; `features` (B, K, F, 64, 64); of the windows around mouth and
    eyes, W and w pixels wide, `mouth_source` (B, K, W, W, 4) and `eyes_source` (B, K, 2, w, w, 4) uint8,
    `mouth_features` (B, K, f, 48, 48) and `eyes_features` (B, K, 2, f, 32, 32). Motion tensors: `landmarks` (B, 478, 3)
    in frame coordinates.
    """

    name: ClassVar[str] = "portrait"
    sizes: ClassVar[tuple[int, ...]] = (256, 512)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._mesh = MeshGenerator(size)

    def network_specs(self) -> dict[Half, NetworkSpec]:
        size, wide, small = self.size, window_side("mouth", self.size), window_side("right_eye", self.size)
        mouth, eyes = (wide, wide, 4), (2, small, small, 4)
        features = (FEATURES, GRID, GRID)
        mouth_features = TensorSpec("mouth_features", (DETAIL_FEATURES, MOUTH_SIDE // 2, MOUTH_SIDE // 2), np.float32)
        eyes_features = TensorSpec("eyes_features", (2, DETAIL_FEATURES, EYE_SIDE // 2, EYE_SIDE // 2), np.float32)
        return {
            "encode": NetworkSpec(
                (
                    TensorSpec("source", (size, size, 4), np.uint8),
                    TensorSpec("mouth", mouth, np.uint8),
                    TensorSpec("eyes", eyes, np.uint8),
                ),
                (TensorSpec("features", features, np.float32), mouth_features, eyes_features),
            ),
            "render": NetworkSpec(
                (
                    TensorSpec("drawn", (size, size, 4), np.uint8),
                    TensorSpec("source", (size, size, 3), np.uint8),
                    TensorSpec("features", ("sources", *features), np.float32),
                    TensorSpec("place", ("sources", GRID, GRID, 2), np.float32),
                    TensorSpec("weight", ("sources", GRID, GRID), np.float32),
                    TensorSpec("mouth_drawn", mouth, np.uint8),
                    TensorSpec("mouth_source", mouth, np.uint8),
                    mouth_features,
                    TensorSpec("eyes_drawn", eyes, np.uint8),
                    TensorSpec("eyes_source", eyes, np.uint8),
                    eyes_features,
                ),
                (
                    TensorSpec("frame", (size, size, 3), np.uint8),
                    TensorSpec("mouth", (wide, wide, 3), np.uint8),
                    TensorSpec("eyes", (2, small, small, 3), np.uint8),
                ),
            ),
        }

    def torch_module(self, half: Half) -> nn.Module:
        from engine.nets.portrait_halves import load_portrait

        path = weights_path(self.name)
        try:
            return load_portrait(path)[half]
        except ValueError as error:
            raise GeneratorError(str(error)) from error

    def graph_path(self, half: Half) -> Path:
        return graph_path(self.name, half, self.size)

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        return self._mesh.motion(person, driving)

    def merge(self, identities: Sequence[Identity]) -> Identity:
        if not identities:
            raise GeneratorError("generator portrait: an identity is made of at least one source picture")
        return {
            name: value if name == "source" else np.concatenate([identity[name] for identity in identities], axis=1)
            for name, value in identities[0].items()
        }

    def encode_with(self, network: Network | None, frames: Frame, landmarks: Array) -> Identity:
        assert network is not None
        of_mesh = self._mesh.encode(frames, landmarks)
        rows = []
        for k, frame in enumerate(frames):
            picture = labelled(self._mesh.draw({name: value[k] for name, value in of_mesh.items()}, landmarks[k]))
            picture[..., :3] = frame
            rows.append({"source": picture, **_windows(picture, to_pixels(landmarks[k], self.size, self.size))})
        inputs = _stacked(rows)
        outputs = network(inputs)
        return {
            "source": frames,
            **{name: value[:, None] for name, value in outputs.items()},
            **{f"{name}_source": inputs[name][:, None] for name in ("mouth", "eyes")},
            **{MESH + name: value[:, None] for name, value in of_mesh.items()},
        }

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> Frame:
        assert network is not None
        landmarks = motion["landmarks"]
        batch = len(identity["source"])
        if landmarks.shape != (batch, POINTS, 3) or not np.isfinite(landmarks).all():
            raise GeneratorError(f"motion landmarks: expected ({batch}, {POINTS}, 3) finite, got {landmarks.shape}")
        rows = [self._drawn({name: value[b] for name, value in identity.items()}, landmarks[b]) for b in range(batch)]
        # A call renders frames one by one: no copies then.
        inputs = {name: value[None] for name, value in rows[0].items()} if batch == 1 else _stacked(rows)
        outputs = network({"source": identity["source"], "features": identity["features"], **inputs})
        frames = np.array(outputs["frame"], np.uint8)
        for b, frame in enumerate(frames):
            pixels = to_pixels(landmarks[b], self.size, self.size)
            drawn = inputs["drawn"][b, ..., :3]
            befores = (*inputs["eyes_drawn"][b, ..., :3], inputs["mouth_drawn"][b, ..., :3])
            afters = (*outputs["eyes"][b], outputs["mouth"][b])
            for window, before, after in zip((*EYE_WINDOWS, "mouth"), befores, afters, strict=True):
                paste(frame, drawn, before, after, to_frame(window, pixels, self.size))
        return frames

    def _drawn(self, identity: Mapping[str, NDArray[Any]], landmarks: Array) -> dict[str, NDArray[Any]]:
        """What the networks get for one frame, but for what they get of the identity as it is; no batch axis."""
        of_mesh = {name.removeprefix(MESH): value for name, value in identity.items() if name.startswith(MESH)}
        driving = to_pixels(landmarks, self.size, self.size)
        shares = source_shares(of_mesh["landmarks"], driving)
        drawings = {
            k: self._mesh.draw({name: value[k] for name, value in of_mesh.items()}, landmarks)
            for k in {0, *np.flatnonzero(shares.any(axis=1)).tolist()}  # the principal one also corrects the motion
        }
        maps = region_maps(driving, self.size) if len(drawings) > 1 else WHOLE
        picture, weight = blended({k: labelled(drawing) for k, drawing in drawings.items()}, shares, maps)
        places = {k: place_grid(drawing) for k, drawing in drawings.items()}
        unused = np.zeros((GRID, GRID, 2), np.float32)
        return {
            "drawn": picture,
            "place": np.stack([places.get(k, unused) for k in range(len(shares))]),
            "weight": weight,
            **{f"{name}_drawn": content for name, content in _windows(picture, driving).items()},
            **{name: joined(identity[name], shares[:, EYES]) for name in ("eyes_source", "eyes_features")},
            **{name: joined(identity[name], shares[:, MOUTH]) for name in ("mouth_source", "mouth_features")},
        }


def _stacked(rows: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _windows(picture: Frame, landmarks_px: Array) -> dict[str, Frame]:
    """`mouth` (W, W, C) and `eyes` (2, w, w, C) of a picture (S, S, C)."""
    size = picture.shape[0]
    mouth, *eyes = (cut(picture, window, to_frame(window, landmarks_px, size)) for window in ("mouth", *EYE_WINDOWS))
    return {"mouth": mouth, "eyes": np.stack(eyes)}
