"""Training of the face depth network of DaGAN (CVPR 2022), by the depth of the face mesh.

The published network was trained as Monodepth2 (ICCV 2019) is, without depths: by how well consecutive frames explain
each other, on hundred thousands of clips. This departs from it: landmarks have depths, and a few thousand pictures with
these teach what the rest of DaGAN takes from the network, which is how near each part of a head is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.face.regions import MESH_POINTS
from engine.generators.head_shape import HeadShapeConfig, source_vertices
from engine.generators.mesh_topology import OPENING_TRIANGLES, SURFACE_TRIANGLES, mesh_triangles
from engine.generators.rasterizer import Rasterized
from engine.motion import to_pixels
from engine.nets.dagan_weights import depth_metadata, load_depth
from engine.nets.face_depth import FaceDepth, FaceDepthConfig
from engine.nets.pictures import planes
from engine.nets.stored_weights import LayoutError
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip
from engine.training.clip_frames import ClipFrames, FrameConfig
from engine.training.clip_task import ClipOptions, ClipTask, picture_sheet
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, write_weights

Array = NDArray[np.float32]

NEAREST, FARTHEST = 0.9, 0.1
"Disparities of the foremost point of a face, and of what is a face's height or more behind it."
AROUND = 0.2
"Weight of pixels around the face, whose depth is a guess from its outline's; the face's have 1."


@dataclass(frozen=True)
class FaceDepthOptions(ClipOptions):
    """The recipe's table [options]."""

    width: int = 64
    "Channels of the ResNet's first layer; all others are in proportion. 64 is published."
    samples: FrameConfig = field(default_factory=FrameConfig)


class FaceDepthSamples(ClipFrames):
    """A batch: `frame` (B, S, S, 3) uint8; `disparity` (B, S, S) float32 from 0 to 1; `weight` (B, S, S) float32."""

    frames_each = 1

    def sample(self, clip: Clip, numbers: Sequence[int], change: Change) -> dict[str, NDArray[Any]]:
        frame = clip.frames[numbers[0]]
        disparity, weight = mesh_disparity(clip.landmarks[numbers[0]], frame.shape[0])
        return {
            "frame": change.picture(frame),
            "disparity": change.mirrored(disparity),
            "weight": change.mirrored(weight),
        }


class FaceDepthTask(ClipTask):
    """Terms: `l1`, of the disparities at four sizes; `gradient`, of their slopes at the largest; `smoothness`, slopes
    where the picture has none, divided by the mean disparity (Monodepth2, section 3.2)."""

    name: ClassVar[str] = "face-depth"
    options_type: ClassVar[type[ClipOptions]] = FaceDepthOptions

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        try:
            self._network = FaceDepth(FaceDepthConfig(width=recipe.options_as(FaceDepthOptions).width))
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def forward(self, batch: Batch) -> Outputs:
        levels = self._network.pyramid(planes(batch["frame"]))
        return {f"disparity_{level}": disparity for level, disparity in enumerate(levels)}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        truth, counts = batch["disparity"][:, None], batch["weight"][:, None]
        found = list(outputs.values())
        slopes = zip(_slopes(found[0]), _slopes(truth), _slopes_of_weight(counts), strict=True)
        pictures = planes(batch["frame"])
        relative = found[0] / (found[0].mean((2, 3), keepdim=True) + 1e-7)
        edges = zip(_slopes(relative), _slopes(pictures), strict=True)
        return {
            "l1": sum((_level_error(one, truth, counts) for one in found[1:]), _level_error(found[0], truth, counts)),
            "gradient": sum(((one - true).abs() * weight).sum() / weight.sum() for one, true, weight in slopes)
            * torch.ones((), device=truth.device),
            "smoothness": sum(
                (slope.abs() * torch.exp(-edge.abs().mean(1, keepdim=True))).mean() for slope, edge in edges
            )
            * torch.ones((), device=truth.device),
        }

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: picture, true disparity, the network's."""
        grey = [one.float().expand(-1, 3, -1, -1) for one in (batch["disparity"][:, None], outputs["disparity_0"])]
        return picture_sheet((planes(batch["frame"]), *grey))

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that the recipe of DaGAN names."""
        path = folder / f"{self.name}.safetensors"
        write_weights(path, self._state(), {**metadata, **depth_metadata(self._network.config)})
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote."""
        try:
            loaded = load_depth(path)
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of a face depth network: {error}") from error
        if loaded.config != self._network.config:
            raise TrainingError(f"{path}: of {loaded.config}, the recipe says {self._network.config}")
        self._network.load_state_dict(loaded.state_dict())

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        config = self.recipe.options_as(FaceDepthOptions, stage).samples
        return FaceDepthSamples(clips, replace(config, flip=0.0, gain=0.0) if held_out else config)

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """L1 of the disparity of the face, and that of the mean face's disparity: what one gets without looking."""
        face = batch["weight"] == 1.0
        truth, found = batch["disparity"], outputs["disparity_0"][:, 0].float()
        return {
            "l1": (found - truth)[face].abs().mean().item(),
            "constant_l1": (truth - truth[face].mean())[face].abs().mean().item(),
            "correlation": torch.corrcoef(torch.stack((found[face], truth[face])))[0, 1].item(),
        }


def mesh_disparity(landmarks: Array, size: int) -> tuple[Array, Array]:
    """How near each pixel is by the face mesh and the rings around it, (size, size) from 0 to 1, and how far that is to
    be trusted. landmarks: (478, 3), frame coordinates."""
    points = to_pixels(landmarks, size, size)
    vertices, _ = source_vertices(points, True, HeadShapeConfig())
    triangles = mesh_triangles()
    layer = np.where((triangles >= MESH_POINTS).any(axis=1), 1e5, 0.0)
    layer[SURFACE_TRIANGLES : SURFACE_TRIANGLES + OPENING_TRIANGLES] = 5e4
    order = np.argsort(-(vertices[triangles, 2].sum(axis=1) + layer), kind="stable")
    drawn = Rasterized(vertices[:, :2], triangles, order, size, size)
    face = vertices[:MESH_POINTS]
    behind = (vertices[:, 2:] - face[:, 2].min()) / np.ptp(face[:, 1])
    disparity = drawn.everywhere((NEAREST - (NEAREST - FARTHEST) * behind).astype(np.float32), FARTHEST)[0]
    on_face = drawn.triangle_of_pixel < SURFACE_TRIANGLES + OPENING_TRIANGLES
    weight = np.where(on_face, 1.0, AROUND).astype(np.float32)
    return np.clip(disparity, FARTHEST, NEAREST).astype(np.float32), weight


def _level_error(found: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    if found.shape != truth.shape:
        found = functional.interpolate(found, size=truth.shape[-2:], mode="bilinear", align_corners=False)
    return ((found - truth).abs() * weight).sum() / weight.sum()


def _slopes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours across and down."""
    return maps[..., :, 1:] - maps[..., :, :-1], maps[..., 1:, :] - maps[..., :-1, :]


def _slopes_of_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """What each difference of neighbours counts: only those with both on the face."""
    face = (weight == 1.0).to(weight.dtype)
    return face[..., :, 1:] * face[..., :, :-1], face[..., 1:, :] * face[..., :-1, :]
