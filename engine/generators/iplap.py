"""IP-LAP (CVPR 2023): the face of a moved picture, made anew of drawn landmarks and of references of the person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel_windows import COLUMNS, silent_window
from engine.face.face_crop import PasteConfig, cut_face, paste_face
from engine.face.landmarks131 import (
    CONTENT,
    LANDMARKS_131,
    POSE,
    FaceBoxConfig,
    face_boxes,
    in_box,
    lip_opening,
    spread_by_opening,
)
from engine.face.model import Person
from engine.face.sketch import SketchConfig, draw_sketch
from engine.generators.base import FaceGenerator, GeneratorError, Identity, Tensors
from engine.generators.mesh import MeshGenerator
from engine.generators.neural import Half, Network, NetworkSpec, TensorSpec
from engine.generators.weighted import WeightedGenerator
from engine.motion import FaceState
from engine.weights import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.iplap import IPLAPRenderer

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

WINDOW = 5
"Frames whose drawings are seen."
BANDS = 80
REFERENCES = 25
"As many as are used at most: the published number."
SMALLEST_BOX = 24
"Pixels: in a smaller face there is nothing to see."
MESH = "mesh_"


class IPLAPGenerator(WeightedGenerator, FaceGenerator):
    """The published renderer behind 131 landmarks and, if it hears, the voice, for square frames of `size` pixels.

    It makes the face alone, and asks for a picture of the head that is in place already but for the lower half of its
    face: the published system is given a video. Here it is the principal picture, moved by the mesh, unless the motion
    brings a `template` (B, S, S, 3).

    `merge` takes any number of pictures of the person; of more than `references` it keeps the first, and of the others
    those whose mouths are the most differently open.

    Identity tensors, K references of side N: `shallow` (B, K, C, N, N), `deep` and `normal` (B, K, D, N / 2, N / 2),
    `pictures` (B, K, N, N, 3) uint8, `points` (B, K, 131, 2) from 0 to 1 in their face boxes, `openings` (B, K) of the
    lips, in face heights; those of `MeshGenerator` with the prefix `mesh_`, of the principal picture. Motion tensors:
    `landmarks` (B, 478, 3) in frame coordinates; of five frames `points` (B, 5, 131, 2) and `boxes` (B, 5, 4) in
    pixels; `mel` (B, 80, 16).
    """

    name: ClassVar[str] = "iplap"
    sizes: ClassVar[tuple[int, ...]] = (256, 512)
    expensive_half: ClassVar[str] = "render"

    def __init__(self, size: int, weights: Path | None = None, references: int = REFERENCES) -> None:
        """weights: a file of `engine.nets.iplap_weights`; without, that of `engine.weights`. The exported networks are
        beside it. Raises WeightsError where there is none or it is of something else."""
        if references < 1:
            raise GeneratorError(f"generator iplap: references {references}; it uses at least one")
        super().__init__(size, weights)
        self._references = references
        self._mesh = MeshGenerator(size)
        self._paste = PasteConfig()
        self._read()

    @property
    def side(self) -> int:
        """Of the square face in pixels."""
        return self._side

    @property
    def hears(self) -> bool:
        """Whether the weights were trained with voices. If not, all that they are given is silence."""
        return self._hears

    @property
    def seen(self) -> str:
        """Which frames' drawings the weights know: centred (two before and two after), causal (four before) or held
        (the frame's own, five times)."""
        return self._seen

    @property
    def now(self) -> int:
        """The place of the frame that is made among the five that are drawn."""
        return WINDOW - 1 if self._seen == "causal" else WINDOW // 2

    def network_specs(self) -> dict[Half, NetworkSpec]:
        side, half = self._side, self._side // 2
        picture, face, made = (TensorSpec(name, (side, side, 3), np.uint8) for name in ("picture", "face", "made"))
        shapes = {"shallow": (self._shallow, side, side), "deep": (self._deep, half, half)}
        shapes["normal"] = shapes["deep"]
        return {
            "encode": NetworkSpec(
                inputs=(picture, TensorSpec("sketch", (side, side), np.float32)),
                outputs=tuple(TensorSpec(name, shape, np.float32) for name, shape in shapes.items()),
            ),
            "render": NetworkSpec(
                inputs=(
                    face,
                    TensorSpec("sketches", (WINDOW, side, side), np.float32),
                    TensorSpec("mel", (BANDS, COLUMNS), np.float32),
                    *(TensorSpec(name, ("references", *shape), np.float32) for name, shape in shapes.items()),
                    TensorSpec("pictures", ("references", side, side, 3), np.uint8),
                ),
                outputs=(made,),
            ),
        }

    def torch_module(self, half: Half) -> nn.Module:
        network = self._network
        from engine.nets.iplap import EncodeHalf, RenderHalf
        from engine.nets.merged_modulation import merged_for_inference

        return (EncodeHalf(network) if half == "encode" else RenderHalf(merged_for_inference(network))).eval()

    def encode_with(self, network: Network | None, frames: Frame, landmarks: Array) -> Identity:
        assert network is not None
        size = self.size
        self.require_frames(frames)
        self.require_landmarks(landmarks, len(frames))
        boxes = face_boxes(landmarks, size, size, self._box)
        smallest = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
        if (smallest < SMALLEST_BOX).any():
            raise GeneratorError(
                f"frame {int(smallest.argmin())}: the face is outside or only {int(smallest.min())} pixels wide, "
                f"{SMALLEST_BOX} are needed; crop the picture around the head"
            )
        points = in_box(landmarks, boxes, size, size)
        pictures = np.stack([cut_face(frame, box, self._side) for frame, box in zip(frames, boxes, strict=True)])
        sketches = np.stack([self._drawn(*pair) for pair in zip(points, boxes, strict=True)])
        features = network({"picture": pictures, "sketch": sketches})
        heights = np.ptp(landmarks[..., 1], axis=1)
        return {
            **{name: value[:, None] for name, value in features.items()},
            "pictures": pictures[:, None],
            "points": points[:, None],
            "openings": (lip_opening(landmarks) / heights).astype(np.float32)[:, None],
            **{MESH + name: value for name, value in self._mesh.encode(frames, landmarks).items()},
        }

    def merge(self, identities: Sequence[Identity]) -> Identity:
        if not identities:
            raise GeneratorError("generator iplap: an identity is made of at least one picture")
        first = identities[0]
        own = [name for name in first if not name.startswith(MESH)]
        joined = {name: np.concatenate([one[name] for one in identities], axis=1) for name in own}
        kept = _kept(joined["openings"].mean(axis=0), self._references)
        return {**first, **{name: np.ascontiguousarray(value[:, kept]) for name, value in joined.items()}}

    def motion(self, person: Person, driving: FaceState) -> Tensors:
        """Of one frame that is all there is: the drawings of those before and after are its own. No voice."""
        return self.motion_of(person, [driving] * WINDOW)

    def motion_of(
        self,
        person: Person,
        driving: Sequence[FaceState],
        mel: Array | None = None,
        contents: Array | None = None,
    ) -> Tensors:
        """Of one of five frames, the one `now`. mel: (80, 16) its window of the voice; without, silence. contents:
        (5, 57, 2) jaw and lips from 0 to 1 in the face boxes, e.g. predicted from a voice, instead of the states'."""
        if len(driving) != WINDOW:
            raise GeneratorError(f"motion: expected the states of {WINDOW} frames, got {len(driving)}")
        heard = silent_window(BANDS) if mel is None or not self._hears else np.asarray(mel, np.float32)
        if heard.shape != (BANDS, COLUMNS) or not np.isfinite(heard).all():
            raise GeneratorError(f"motion mel: expected ({BANDS}, {COLUMNS}) finite, got {heard.shape}")
        distinct = {id(state): person.landmarks(state).astype(np.float32) for state in driving}
        landmarks = np.stack([distinct[id(state)] for state in driving])
        boxes = face_boxes(landmarks, self.size, self.size, self._box)
        points = in_box(landmarks, boxes, self.size, self.size)
        if contents is not None:
            if contents.shape != (WINDOW, len(CONTENT), 2):
                raise GeneratorError(f"contents: expected ({WINDOW}, {len(CONTENT)}, 2), got {contents.shape}")
            points[:, len(POSE) :] = contents
        return {
            "landmarks": landmarks[self.now][None],
            "points": points[None],
            "boxes": boxes[None],
            "mel": heard[None],
        }

    def render_with(self, network: Network | None, identity: Identity, motion: Tensors) -> Frame:
        assert network is not None
        batch = len(identity["pictures"])
        points, boxes = motion["points"], motion["boxes"]
        if points.shape != (batch, WINDOW, len(LANDMARKS_131), 2) or not np.isfinite(points[:, :, : len(POSE)]).all():
            expected = (batch, WINDOW, len(LANDMARKS_131), 2)
            raise GeneratorError(f"motion points: expected {expected} finite, got {points.shape}")
        templates = self._templates(identity, motion)
        faces = np.stack([cut_face(templates[b], boxes[b, self.now], self._side) for b in range(batch)])
        sketches = np.stack([self._drawings(points[b], boxes[b]) for b in range(batch)])
        of_identity = {name: identity[name] for name in ("shallow", "deep", "normal", "pictures")}
        made = network({"face": faces, "sketches": sketches, "mel": motion["mel"], **of_identity})["made"]
        return np.stack(
            [
                paste_face(templates[b], made[b], points[b, self.now], boxes[b, self.now], self._paste)
                for b in range(batch)
            ]
        )

    def _templates(self, identity: Identity, motion: Tensors) -> Frame:
        """(B, S, S, 3) the frames that the faces are put into."""
        given = motion.get("template")
        if given is None:
            of_mesh = {name.removeprefix(MESH): value for name, value in identity.items() if name.startswith(MESH)}
            return self._mesh.render(of_mesh, {"landmarks": motion["landmarks"]})
        expected = (len(identity["pictures"]), self.size, self.size, 3)
        if given.shape != expected or given.dtype != np.uint8:
            raise GeneratorError(f"motion template: expected {expected} uint8, got {given.shape} {given.dtype}")
        return np.asarray(given, np.uint8)

    def _drawings(self, points: Array, boxes: NDArray[np.int32]) -> Array:
        """(5, N, N), each different one drawn once."""
        drawings: list[Array] = []
        for k in range(WINDOW):
            same = k > 0 and np.array_equal(points[k], points[k - 1]) and np.array_equal(boxes[k], boxes[k - 1])
            drawings.append(drawings[-1] if same else self._drawn(points[k], boxes[k]))
        return np.stack(drawings)

    def _drawn(self, points: Array, box: NDArray[np.int32]) -> Array:
        return draw_sketch(points, box, self._side, self._sketch)

    def _read(self) -> None:
        """What the file's header says of the network: needs no torch."""
        metadata = self.stored_header().metadata
        if metadata.get("task") != self.name:
            raise WeightsError(f"{self._weights}: weights of {metadata.get('task', 'something else')}, not iplap")
        try:
            config: Mapping[str, Any] = json.loads(metadata["config"])
            self._side, self._shallow, self._deep = (int(config[name]) for name in ("side", "shallow", "deep"))
            self._box = FaceBoxConfig(float(metadata.get("margin", FaceBoxConfig.margin)))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{self._weights}: its metadata does not describe a renderer ({error!r})") from error
        self._sketch = SketchConfig(smooth=metadata.get("smooth") == "yes")
        self._hears = metadata.get("voice", "yes") == "yes"
        self._seen = metadata.get("seen", "centred")

    @cached_property
    def _network(self) -> IPLAPRenderer:
        def load() -> IPLAPRenderer:
            from engine.nets.iplap_weights import load_renderer

            return load_renderer(self._weights)

        return self.loaded(load)


def _kept(openings: NDArray[np.floating], count: int) -> list[int]:
    """Which of (K,) references to use: all, or the first and `count - 1` others whose openings differ."""
    if len(openings) <= count:
        return list(range(len(openings)))
    if count == 1:
        return [0]
    # The first one is there anyway: what resembles it the most need not be.
    chosen = [k for k in spread_by_opening(openings, count) if k != 0]
    if len(chosen) == count:
        chosen.remove(min(chosen, key=lambda k: abs(float(openings[k] - openings[0]))))
    return [0, *chosen]
