"""AdaAT (ACM MM 2022) as published: features of the source, moved by affine transformations per channel."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.face.contours68 import CONTOURS_68, contours_68
from engine.face.model import Person
from engine.generators.base import FaceGenerator, GeneratorError, Identity, Tensors
from engine.generators.neural import Half, Network, NetworkSpec, TensorSpec
from engine.generators.weighted import WeightedGenerator
from engine.motion import FaceState
from engine.weights import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.adaat import AdaATNetwork

Array = NDArray[np.float32]

FIRST_CONVOLUTION = "appearance_encoder.0.in_conv.conv.weight"


class AdaATGenerator(WeightedGenerator, FaceGenerator):
    """The published face module behind 68 contour points, for square frames of `size` pixels.

    The points come from the face model with the source's shape and the driving state: the person's own face, with the
    driver's expression and pose. (The paper keeps the source's scale too; here `relative_motion` keeps it but for the
    driver's moves to and from the camera, and `absolute_motion` takes the driver's.)

    Only the source's share of the first convolution is computed once; the rest, 99 % of the work, for every frame. It
    takes one source picture.

    Identity tensors: `source_part` (B, W, size, size), W = 64 by the width divisor of the weights. Motion tensors:
    `landmarks` (B, 68, 2), x then y, -1 and 1 at the edges of the frame.
    """

    name: ClassVar[str] = "adaat"
    sizes: ClassVar[tuple[int, ...]] = (256, 512)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, size: int, weights: Path | None = None) -> None:
        """weights: a file of `engine.nets.adaat_weights`; without, that of `engine.weights`. The exported networks are
        beside it. Raises GeneratorError where there is none: no weights are shipped."""
        super().__init__(size, weights)
        self._width = self._first_width()

    def network_specs(self) -> dict[Half, NetworkSpec]:
        landmarks = TensorSpec("landmarks", (len(CONTOURS_68), 2), np.float32)
        frames, frame = (TensorSpec(name, (self.size, self.size, 3), np.uint8) for name in ("frames", "frame"))
        part = TensorSpec("source_part", (self._width, self.size, self.size), np.float32)
        return {
            "encode": NetworkSpec(inputs=(frames, landmarks), outputs=(part,)),
            "render": NetworkSpec(inputs=(part, landmarks), outputs=(frame,)),
        }

    def torch_module(self, half: Half) -> nn.Module:
        network = self._network
        from engine.nets.adaat import EncodeHalf, RenderHalf

        return (EncodeHalf(network) if half == "encode" else RenderHalf(network)).eval()

    def encode_with(self, network: Network | None, frames: NDArray[np.uint8], landmarks: Array) -> Identity:
        assert network is not None
        self.require_frames(frames)
        self.require_landmarks(landmarks, len(frames))
        return network({"frames": frames, "landmarks": network_landmarks(landmarks)})

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        return {"landmarks": network_landmarks(person.landmarks(driving)[None])}

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> NDArray[np.uint8]:
        assert network is not None
        part, landmarks = identity["source_part"], motion["landmarks"]
        if landmarks.shape != (len(part), len(CONTOURS_68), 2) or not np.isfinite(landmarks).all():
            expected = (len(part), len(CONTOURS_68), 2)
            raise GeneratorError(f"motion landmarks: expected {expected} finite, got {landmarks.shape}")
        return np.asarray(network({"source_part": part, "landmarks": landmarks})["frame"], np.uint8)

    def _first_width(self) -> int:
        """The channels of the source part, from the file's header: needs no torch."""
        shape = self.stored_header().shapes.get(FIRST_CONVOLUTION, ())
        if len(shape) != 4:
            raise WeightsError(f"{self._weights}: not weights of AdaAT (no {FIRST_CONVOLUTION} of 4 axes)")
        landmarks, given = (shape[1] - 3) // 2, len(CONTOURS_68)
        if landmarks != given:
            raise WeightsError(f"{self._weights}: driven by {landmarks} points, the generator has {given} to give")
        return shape[0]

    @cached_property
    def _network(self) -> AdaATNetwork:
        def load() -> AdaATNetwork:
            from engine.nets.adaat_weights import load_network

            return load_network(self._weights)

        return self.loaded(load)


def network_landmarks(landmarks: Array) -> Array:
    """(B, 478, 3) frame coordinates to the (B, 68, 2) that the networks take.

    They are -1 and 1 at the frame's outer edges, although a heat map's -1 and 1 are the centres of its outermost
    pixels: the published code has both.
    """
    return np.ascontiguousarray(2.0 * contours_68(landmarks)[..., :2], np.float32)
