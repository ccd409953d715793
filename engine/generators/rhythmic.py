"""Rhythmic Head Motion (ECCV 2020) as a generator: several pictures of a person, driven by the face's edges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.face.model import Person
from engine.face.regions import POINTS
from engine.generators.base import FaceGenerator, GeneratorError, Identity, Tensors
from engine.generators.neural import Half, Network, NetworkSpec, TensorSpec
from engine.generators.rhythmic_drawing import ReferencePicture, drawn_edges, frame_inputs
from engine.generators.weighted import WeightedGenerator
from engine.motion import FaceState, to_pixels
from engine.weights import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.rhythmic import RhythmicNetwork

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

TRAINED_SIZE = 256
"Side in pixels of the frames that the published weights were trained with; files say so where it is another one."
SLOTS = "_by_slot"
"Of the names of what references add to one another, by their place among them."
PICTURES = ("frames", "landmarks", "edges")
"Of the identity: what is drawn from, K of each."
JOINED = ("keys", "pictures", "labels")
"Of the identity: what the networks made of each reference, n of each."
OWN = ("own_pictures", "own_labels")
"Of the identity: what they made of all references together."


class RhythmicGenerator(WeightedGenerator, FaceGenerator):
    """The networks of engine/nets/rhythmic.py, for square frames of the size that their weights were trained at.

    The target's edges are drawn from the landmarks of person and state; the face of the most frontal picture is turned
    into the target's pose as a textured surface; the picture whose pose is the nearest is warped. Fewer pictures than
    the networks' n references are repeated.

    Identity tensors, K pictures: `frames` (B, K, S, S, 3) uint8, `landmarks` (B, K, 478, 3) in pixels, `edges`
    (B, K, S, S, 1) uint8; `keys`, `pictures`, `labels` (B, n, D, S / 4, S / 4); in the hybrid variant `own_pictures`,
    `own_labels` (B, D, S / 4, S / 4), and of a single picture, for `merge`, `own_pictures_by_slot` and
    `own_labels_by_slot` (B, n, D, S / 4, S / 4). Motion tensors: `landmarks` (B, 478, 3) in frame coordinates.
    """

    name: ClassVar[str] = "rhythmic"
    sizes: ClassVar[tuple[int, ...]] = (128, 256)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, size: int, weights: Path | None = None) -> None:
        """weights: a file of `engine.nets.rhythmic_weights`; without, that of `engine.weights`. The exported networks
        are beside it. Raises WeightsError where there is none or it is of something else, GeneratorError for a size
        that the weights were not trained at."""
        super().__init__(size, weights)
        width, self._references, self._hybrid, trained_size = self._stored()
        if trained_size != size:
            raise GeneratorError(
                f"generator rhythmic: these weights, trained at {trained_size} pixels, cannot render {size}"
            )
        self._map = 4 * width, size // 4, size // 4

    def network_specs(self) -> dict[Half, NetworkSpec]:
        size, count = self.size, self._references
        frames, edges = _picture("frames", size, 3), _picture("edges", size, 1)
        own = tuple(TensorSpec(name, self._map, np.float32) for name in OWN) if self._hybrid else ()
        by_slot = tuple(TensorSpec(entry.name + SLOTS, (count, *self._map), np.float32) for entry in own)
        return {
            "encode": NetworkSpec(
                (frames, edges), (*(TensorSpec(name, self._map, np.float32) for name in JOINED), *by_slot)
            ),
            "render": NetworkSpec(
                (
                    edges,
                    _picture("reference", size, 3),
                    _picture("reference_edges", size, 1),
                    _picture("rendering", size, 3),
                    _picture("rendering_edges", size, 1),
                    *(TensorSpec(name, (count, *self._map), np.float32) for name in JOINED),
                    *own,
                ),
                (_picture("frame", size, 3),),
            ),
        }

    def torch_module(self, half: Half) -> nn.Module:
        network = self._network
        from engine.nets.rhythmic import EncodeHalf, RenderHalf

        return (EncodeHalf(network) if half == "encode" else RenderHalf(network)).eval()

    def encode_with(self, network: Network | None, frames: Frame, landmarks: Array) -> Identity:
        assert network is not None
        size, count = self.size, self._references
        self.require_frames(frames)
        self.require_landmarks(landmarks, len(frames))
        points = to_pixels(landmarks, size, size)
        edges = np.stack([drawn_edges(own, size) for own in points])
        outputs = network({"frames": frames, "edges": edges})
        return {
            "frames": frames[:, None],
            "landmarks": points[:, None],
            "edges": edges[:, None],
            **{name: np.repeat(outputs[name][:, None], count, axis=1) for name in JOINED},
            **{name: value for name, value in outputs.items() if name.endswith(SLOTS)},
            **{name: outputs[name + SLOTS].sum(axis=1) for name in OWN if self._hybrid},
        }

    def merge(self, identities: Sequence[Identity]) -> Identity:
        """One identity of up to n pictures. Raises GeneratorError for more."""
        count = self._references
        if not 1 <= len(identities) <= count:
            raise GeneratorError(
                f"generator rhythmic: these weights take 1 to {count} pictures of a person, not {len(identities)}"
            )
        if any(identity["frames"].shape[1] != 1 for identity in identities):
            raise GeneratorError("generator rhythmic: an identity of several pictures cannot be merged once more")
        turns = [identities[slot % len(identities)] for slot in range(count)]
        return {
            **{name: np.concatenate([identity[name] for identity in identities], axis=1) for name in PICTURES},
            **{name: np.concatenate([identity[name][:, :1] for identity in turns], axis=1) for name in JOINED},
            **{
                name: np.sum([identity[name + SLOTS][:, slot] for slot, identity in enumerate(turns)], axis=0)
                for name in OWN
                if self._hybrid
            },
        }

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        return {"landmarks": person.landmarks(driving)[None].astype(np.float32)}

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> Frame:
        assert network is not None
        landmarks, batch = motion["landmarks"], len(identity["frames"])
        if landmarks.shape != (batch, POINTS, 3) or not np.isfinite(landmarks).all():
            raise GeneratorError(f"motion landmarks: expected ({batch}, {POINTS}, 3) finite, got {landmarks.shape}")
        driving = to_pixels(landmarks, self.size, self.size)
        rows = []
        for b in range(batch):
            pictures = zip(identity["frames"][b], identity["landmarks"][b], identity["edges"][b], strict=True)
            rows.append(frame_inputs([ReferencePicture(*picture) for picture in pictures], driving[b]))
        inputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        known = {name: identity[name] for name in (*JOINED, *OWN) if name in identity}
        return np.asarray(network({**inputs, **known})["frame"], np.uint8)

    def _stored(self) -> tuple[int, int, bool, int]:
        """Width, number of references, variant and size that the file's weights were trained at: needs no torch."""
        metadata = self.stored_header().metadata
        if metadata.get("task") != self.name:
            raise WeightsError(f"{self._weights}: weights of {metadata.get('task', 'something else')}, not rhythmic")
        try:
            config = json.loads(metadata["config"])
            facts = int(config["width"]), int(config["references"]), bool(config["hybrid"])
            return *facts, int(metadata.get("size", TRAINED_SIZE))
        except (KeyError, ValueError, TypeError) as error:
            raise WeightsError(f"{self._weights}: its metadata does not describe a rhythmic ({error!r})") from error

    @cached_property
    def _network(self) -> RhythmicNetwork:
        def load() -> RhythmicNetwork:
            from engine.nets.rhythmic_weights import load_network

            return load_network(self._weights)

        return self.loaded(load)


def _picture(name: str, size: int, channels: int) -> TensorSpec:
    return TensorSpec(name, (size, size, channels), np.uint8)
