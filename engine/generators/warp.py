"""What FOMM and DaGAN have in common as generators: their file of weights, their halves, keypoints in and out."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import GeneratorError, Identity, Tensors
from engine.generators.keypoint_generator import KeypointGenerator
from engine.generators.neural import Half, Network, NetworkSpec, TensorSpec
from engine.generators.weighted import WeightedGenerator
from engine.weights import WeightsError

if TYPE_CHECKING:
    from torch import nn

PUBLISHED_SIZE = 256
"Of the frames that the published weights were trained with, where a file does not say."


class WarpGenerator(WeightedGenerator, KeypointGenerator):
    """A generator of the family, for square frames of `size` pixels.

    Weights trained at another size see their motion on a map of the size that they know: the factor by which the
    picture is made smaller for it changes. The features have the scale of the frame.

    Identity tensors: `features` (B, C, h, w) of the source; `small` (B, 3, m, m), the source as the motion network sees
    it; `heatmaps` (B, K, m, m), `source_points` (B, K, 2), `source_jacobians` (B, K, 2, 2) of its keypoints.
    """

    sizes: ClassVar[tuple[int, ...]] = (128, 256, 512)
    expensive_half: ClassVar[str] = "render"
    task: ClassVar[str]
    "What the file's metadata calls the weights."

    def __init__(self, size: int, weights: Path | None = None) -> None:
        """weights: a file of the family; without, that of `engine.weights`. The exported networks are beside it.

        Raises WeightsError where there is none or it is of something else: none are shipped. Raises GeneratorError for
        a size that the weights cannot do.
        """
        super().__init__(size, weights)
        config, trained_size = self._stored()
        try:
            self._read(config, trained_size)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, GeneratorError):
                raise
            raise WeightsError(f"{self._weights}: its metadata does not describe a {self.name} ({error!r})") from error

    @abstractmethod
    def warp_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of the stored configuration that is a `FirstOrderConfig`."""

    @abstractmethod
    def build(self) -> Any:
        """The model of the file, in float32 and eval mode; needs torch. Raises LayoutError."""

    @abstractmethod
    def halves(self, model: Any) -> Mapping[Half, nn.Module]:
        """The modules of its halves."""

    def extra_identity(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """What identities hold besides: outputs of `encode`, inputs of `render`."""
        return ()

    def source_pictures(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """The source's frames as an input of `render`, where that looks at them."""
        return ()

    @property
    def keypoint_count(self) -> int:
        return self._keypoints

    @cached_property
    def digest(self) -> bytes:
        with open(self._weights, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()[:8]

    def network_specs(self) -> dict[Half, NetworkSpec]:
        frames, frame = (TensorSpec(name, (self.size, self.size, 3), np.uint8) for name in ("frames", "frame"))
        count = self._keypoints
        points, jacobians, matrices, own_points, own_jacobians = (
            TensorSpec(name, (count, 2) if name.endswith("points") else (count, 2, 2), np.float32)
            for name in ("points", "jacobians", "matrices", "source_points", "source_jacobians")
        )
        return {
            "detect": NetworkSpec((frames,), (points, jacobians)),
            "encode": NetworkSpec((frames,), (*self._maps, own_points, own_jacobians)),
            "render": NetworkSpec(
                inputs=(*self._maps, own_points, points, matrices, *self._pictures), outputs=(frame,)
            ),
        }

    def torch_module(self, half: Half) -> nn.Module:
        return self._halves[half]

    def encode_with(
        self, network: Network | None, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]
    ) -> Identity:
        """landmarks: not looked at; the detector finds what it needs."""
        assert network is not None
        self.require_frames(frames)
        return {**network({"frames": frames}), **{entry.name: frames for entry in self._pictures}}

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
        assert network is not None
        batch, count = len(identity["features"]), self._keypoints
        for name, shape in (("points", (batch, count, 2)), ("matrices", (batch, count, 2, 2))):
            if motion[name].shape != shape or not np.isfinite(motion[name]).all():
                raise GeneratorError(f"motion {name}: expected {shape} finite, got {motion[name].shape}")
        inputs = {entry.name: identity[entry.name] for entry in (*self._maps, *self._pictures)}
        points = {"source_points": identity["source_points"], "points": motion["points"]}
        frame = network({**inputs, **points, "matrices": motion["matrices"]})["frame"]
        return np.asarray(frame, np.uint8)

    def _stored(self) -> tuple[dict[str, Any], int]:
        """The configuration in the file, and the size that it was trained at."""
        metadata = self.stored_header().metadata
        if metadata.get("task") != self.task:
            raise WeightsError(f"{self._weights}: weights of {metadata.get('task', 'something else')}, not {self.name}")
        try:
            return dict(json.loads(metadata["config"])), int(metadata.get("size", PUBLISHED_SIZE))
        except (KeyError, ValueError, TypeError) as error:
            raise WeightsError(f"{self._weights}: no configuration in its metadata") from error

    def _read(self, config: Mapping[str, Any], trained_size: int) -> None:
        """The shapes of the halves' tensors, from the configuration: needs no torch."""
        warp = self.warp_config(config)
        self._keypoints = int(warp["detector"]["keypoints"])
        factors = [part["downscale"] * self.size / trained_size for part in (warp["detector"], warp["motion"])]
        if not all(factor in (1, 2, 4, 8, 16) for factor in factors):
            raise GeneratorError(
                f"generator {self.name}: these weights, trained at {trained_size} pixels, cannot render {self.size}"
            )
        self._downscale = int(factors[0]), int(factors[1])
        side, map_side = self.size >> warp["down_blocks"], self.size // self._downscale[1]
        channels = min(warp["limit"], warp["width"] << warp["down_blocks"])
        self._feature_map = channels, side, side
        self._maps: tuple[TensorSpec, ...] = (
            TensorSpec("features", self._feature_map, np.float32),
            TensorSpec("small", (3, map_side, map_side), np.float32),
            TensorSpec("heatmaps", (self._keypoints, map_side, map_side), np.float32),
            *self.extra_identity(config),
        )
        self._pictures = self.source_pictures(config)

    @cached_property
    def _halves(self) -> Mapping[Half, nn.Module]:
        model = self.loaded(self.build)
        from engine.nets.first_order import set_downscale

        set_downscale(model.kp_detector, model.generator.dense_motion_network, *self._downscale)
        return {half: module.eval() for half, module in self.halves(model).items()}
