"""Training samples of IP-LAP's renderer: references of a person, a drawn face, its upper half, and the true face.

The upper half is not the true frame's, which no call has, but that of the source picture as the mesh moves it; and the
drawing has the points that the generator will be given: the source's person in the state that was fitted to the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.face.face_crop import cut_face
from engine.face.landmarks131 import Boxes, FaceBoxConfig, face_boxes, in_box
from engine.face.sketch import SketchConfig, draw_sketch
from engine.generators.mesh import MeshGenerator
from engine.motion import to_pixels
from engine.nets.iplap import BANDS, COLUMNS, WINDOW
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip, clip_chances
from engine.training.face_boxes import box_map
from engine.training.portrait_samples import EncodedSource, load_source

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

CACHED_SOURCES = 250
"Encoded sources held in memory, some 3 MB each at 256x256."
SILENCE = -4.0
"In a mel window."

Seen = Literal["centred", "causal", "held"]
"""Which frames' drawings are seen with frame t: t-2 to t+2 as published, t-4 to t, or t alone, five times."""
OFFSETS: Mapping[Seen, tuple[int, ...]] = {
    "centred": (-2, -1, 0, 1, 2),
    "causal": (-4, -3, -2, -1, 0),
    "held": (0,) * WINDOW,
}


@dataclass(frozen=True)
class IPLAPSampleConfig:
    sources_per_clip: int = 6
    "Encoded ahead: the first frame and others at equal distances."
    references: int = 3
    "At most; each batch has from 1 to so many. The first one is the source."
    seen: Seen = "centred"
    "Unless held, every frame of the clips is wanted: step = 1 in the recipe's [options]."
    smooth: bool = False
    "Of the drawings, see `SketchConfig`."
    margin: float = 0.125
    "See `FaceBoxConfig`."
    jitter: float = 0.03
    "Of the boxes' sides, in shares of the face: trackers in a call are not still either."
    flip: float = 0.5
    "Share of mirrored samples."
    gain: float = 0.2
    "Largest relative change of brightness; of one colour against another a third of it. Gamma changes as much."


class IPLAPSamples:
    """A batch: `face` (B, S, S, 3) uint8, the mesh's; `sketches` (B, 5, S, S) and `mel` (B, 80, 16) float32;
    `references` (B, K, S, S, 3) uint8 and their `reference_sketches` (B, K, S, S) float32; `target` and `source`
    (B, S, S, 3) uint8, the true face and what the still source has there; `boxes` (B, S, S) uint8, the target's
    `box_map`. K differs from batch to batch.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        folder: Path,
        side: int,
        config: IPLAPSampleConfig,
        voices: Mapping[str, Array] | None = None,
    ) -> None:
        """folder: where `encode_sources` left the encoded sources of these clips. voices: by clip, (T, 80, 16) the mel
        windows of its frames; half of the samples of such a clip hear them, all others silence."""
        self.clips = clips
        self._config = config
        self._side = side
        self._folder = folder
        self._voices = voices or {}
        self._sketch = SketchConfig(smooth=config.smooth)
        self._mesh = MeshGenerator(clips[0].frames.shape[1])
        self._chances = clip_chances(clips)
        self._load = lru_cache(CACHED_SOURCES)(load_source)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        count = int(rng.integers(1, self._config.references + 1))
        rows: list[dict[str, NDArray[Any]]] = []
        for _ in range(size):
            clip = self.clips[rng.choice(len(self.clips), p=self._chances)]
            source = self._load(self._folder, clip.name, int(rng.integers(self._config.sources_per_clip)))
            rows.append(self._drawn(rng, clip, source, count))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _drawn(
        self, rng: np.random.Generator, clip: Clip, source: EncodedSource, count: int
    ) -> dict[str, NDArray[Any]]:
        """A row whose frames are drawn of the clip's."""
        config = self._config
        target = int(rng.choice(len(clip.frames), p=source.chances))
        others = [k for k in range(len(clip.frames)) if k not in (target, source.frame)]
        chosen = rng.choice(others, count - 1, replace=len(others) < count - 1).tolist() if others else []
        numbers = [source.frame, *chosen, *[source.frame] * (count - 1 - len(chosen))]
        change = Change.drawn(rng, config.flip, config.gain)
        margins = config.margin + config.jitter * rng.uniform(-1.0, 1.0, 1 + count)
        row = self.sample(clip, source, target, numbers, change, margins)
        voice = self._voices.get(clip.name)
        heard = voice is not None and rng.random() < 0.5
        row["mel"] = voice[target] if heard and voice is not None else np.full((BANDS, COLUMNS), SILENCE, np.float32)
        return row

    def sample(
        self,
        clip: Clip,
        source: EncodedSource,
        target: int,
        references: Sequence[int],
        change: Change,
        margins: NDArray[np.float64],
    ) -> dict[str, NDArray[Any]]:
        """A row without its mel window. margins: of the target's box, then of the references'."""
        size, last = clip.frames.shape[1], len(clip.frames) - 1
        seen = [min(max(target + offset, 0), last) for offset in OFFSETS[self._config.seen]]
        box = face_boxes(source.driving[target], size, size, FaceBoxConfig(float(margins[0])))
        template = self._mesh.draw(source.identity, source.driving[target]).frame
        drawings = {k: self._drawing(source.driving[k], size, float(margins[0])) for k in set(seen)}
        own = [
            (
                self._faces(clip.frames[k], source.driving[k], float(margin)),
                self._drawing(source.driving[k], size, margin),
            )
            for k, margin in zip(references, margins[1:].tolist(), strict=True)
        ]
        return {
            "face": change.picture(cut_face(template, box, self._side)),
            "target": change.picture(cut_face(clip.frames[target], box, self._side)),
            "source": change.picture(cut_face(clip.frames[source.frame], box, self._side)),
            "sketches": np.stack([change.mirrored(drawings[k]) for k in seen]),
            "references": np.stack([change.picture(picture) for picture, _ in own]),
            "reference_sketches": np.stack([change.mirrored(drawing) for _, drawing in own]),
            "boxes": change.mirrored(box_map(_in_crop(clip.landmarks[target], box, size), self._side)),
        }

    def _faces(self, frame: Frame, landmarks: Array, margin: float) -> Frame:
        size = len(frame)
        return cut_face(frame, face_boxes(landmarks, size, size, FaceBoxConfig(margin)), self._side)

    def _drawing(self, landmarks: Array, size: int, margin: float) -> Array:
        box = face_boxes(landmarks, size, size, FaceBoxConfig(margin))
        return draw_sketch(in_box(landmarks, box, size, size), box, self._side, self._sketch)


def _in_crop(landmarks: Array, box: Boxes, size: int) -> Array:
    """(478, 2) frame coordinates of the square that a box becomes."""
    first, extent = box[:2].astype(np.float32), (box[2:] - box[:2]).astype(np.float32)
    return np.asarray((to_pixels(landmarks, size, size)[:, :2] - first) / extent - 0.5, np.float32)
