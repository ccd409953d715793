"""LSR (ICCV 2021) as published: two codes of one person's pictures, and a frame drawn anew from contours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.contours68 import CONTOURS_68, contours_68
from engine.face.model import Person
from engine.generators.base import FaceGenerator, GeneratorError, Identity, Tensors
from engine.generators.lsr_drawing import draw_contours
from engine.generators.neural import Half, Network, NetworkSpec, TensorSpec
from engine.generators.weighted import WeightedGenerator
from engine.motion import FaceState
from engine.weights import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.lsr import LSRNetwork

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

CONFIG_KEY = "lsr_config"
"Of the metadata of the weights; see `engine.nets.lsr_weights`."
MODULATION, START = "layout_generator.dense.bias", "image_generator.dense.bias"
"Tensors of the file whose lengths are those of an identity's."


class LSRGenerator(WeightedGenerator, FaceGenerator):
    """The published networks behind the drawing of 68 contour points, for square frames of `size` pixels.

    Nothing is copied from the source: everything, the background too, is painted from what the codes keep of it. The
    networks are of one size, that of their weights (224 as published); frames of another are resized on both sides.

    The points come from the face model with the source's shape and the driving state. With several pictures of a person
    (K-shot) their codes are averaged: what only one of them shows, such as a hand, is lost, the person is not.

    Identity tensors: `modulation` (B, M) and `start` (B, C, s, s), what the generators make of the two codes. Motion
    tensors: `landmarks` (B, 68, 2), frame coordinates.
    """

    name: ClassVar[str] = "lsr"
    sizes: ClassVar[tuple[int, ...]] = (128, 256, 512)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, size: int, weights: Path | None = None) -> None:
        """weights: a file of `engine.nets.lsr_weights`; without, that of `engine.weights`. The exported networks are
        beside it. Raises WeightsError where there is none or it is of something else: none are shipped."""
        super().__init__(size, weights)
        self._inner, self._modulation, self._start = self._stored()

    def network_specs(self) -> dict[Half, NetworkSpec]:
        side = self._inner
        frames, contours, frame = (
            TensorSpec(name, (side, side, 3), np.uint8) for name in ("frames", "contours", "frame")
        )
        modulation = TensorSpec("modulation", (self._modulation,), np.float32)
        start = TensorSpec("start", self._start, np.float32)
        return {
            "encode": NetworkSpec(inputs=(frames, contours), outputs=(modulation, start)),
            "render": NetworkSpec(inputs=(modulation, start, contours), outputs=(frame,)),
        }

    def torch_module(self, half: Half) -> nn.Module:
        network = self._network
        from engine.nets.lsr_halves import LSREncodeHalf, LSRRenderHalf

        return (LSREncodeHalf(network) if half == "encode" else LSRRenderHalf(network)).eval()

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        return {"landmarks": contours_68(person.landmarks(driving)[None])[..., :2].astype(np.float32)}

    def merge(self, identities: Sequence[Identity]) -> Identity:
        """The mean of their tensors, each identity being that of one picture."""
        if not identities:
            raise GeneratorError("generator lsr: an identity is made of at least one source picture")
        return {
            name: np.stack([identity[name] for identity in identities]).mean(axis=0, dtype=np.float32)
            for name in identities[0]
        }

    def encode_with(self, network: Network | None, frames: Frame, landmarks: Array) -> Identity:
        assert network is not None
        self.require_frames(frames)
        self.require_landmarks(landmarks, len(frames))
        contours = self._drawn(contours_68(landmarks)[..., :2])
        pictures = np.stack([_resized(frame, self._inner) for frame in frames])
        return network({"frames": pictures, "contours": contours})

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> Frame:
        assert network is not None
        landmarks, expected = motion["landmarks"], (len(identity["start"]), len(CONTOURS_68), 2)
        if landmarks.shape != expected or not np.isfinite(landmarks).all():
            raise GeneratorError(f"motion landmarks: expected {expected} finite, got {landmarks.shape}")
        frames = network({**identity, "contours": self._drawn(landmarks)})["frame"]
        return np.stack([_resized(frame, self.size) for frame in frames])

    def _drawn(self, points: Array) -> Frame:
        """(B, S, S, 3) for the networks. points: (B, 68, 2)."""
        return np.stack([draw_contours(one, self._inner) for one in points])

    def _stored(self) -> tuple[int, int, tuple[int, int, int]]:
        """The networks' size, and the shapes of an identity, from the file's header: needs no torch."""
        header = self.stored_header()
        if CONFIG_KEY not in header.metadata:
            raise WeightsError(f"{self._weights}: not weights of LSR (no {CONFIG_KEY} in its metadata)")
        try:
            config: Mapping[str, Any] = json.loads(header.metadata[CONFIG_KEY])
            size = int(config["size"])
            (modulation,), (cells,) = header.shapes[MODULATION], header.shapes[START]
            side = size // 32
            return size, modulation, (cells // side**2, side, side)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise WeightsError(f"{self._weights}: its metadata does not describe an LSR ({error!r})") from error

    @cached_property
    def _network(self) -> LSRNetwork:
        def load() -> LSRNetwork:
            from engine.nets.lsr_weights import load_network

            return load_network(self._weights)

        return self.loaded(load)


def _resized(frame: Frame, size: int) -> Frame:
    if len(frame) == size:
        return frame
    smaller = size < len(frame)
    resized = cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)
