"""Training samples of `portrait`: a source frame, what the mesh draws of it for another frame, and that frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.fit import fit_source, fit_state
from engine.face.model import FaceModel
from engine.generators.mesh import MeshGenerator
from engine.generators.portrait_drawing import labelled, place_grid
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip, ClipError, clip_chances
from engine.training.face_boxes import REST, box_map

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]

CACHED_SOURCES = 900
"Encoded sources held in memory, some 3 MB each at 256x256."


@dataclass(frozen=True)
class PortraitSampleConfig:
    sources_per_clip: int = 6
    "Encoded ahead: the first frame and others at equal distances."
    targets_per_source: int = 2
    "Rows of a batch that share a source, whose features are then computed once."
    reduction: int = 1
    "Of the frame: how many times smaller than the clip's its sides are. Terms of small frames take less time."
    eyes_per_mouth: float = 0.5
    "Of the windows: rows with an eye for each with a mouth, which has more to learn."
    flip: float = 0.5
    "Share of mirrored samples."
    gain: float = 0.2
    "Largest relative change of brightness; of one colour against another a third of it. Gamma changes as much."
    windows_weight: float = 0.5
    "Of the frame: weight of the pixels in the boxes around mouth and eyes, which windows cover; others have 1."


class PortraitSamples:
    """A batch, N sources and B rows: `source` (N, S, S, 4) uint8, `source_of` (B,) int64 which of them a row uses,
    `drawn` (B, S, S, 4) uint8, `place` (B, 1, 64, 64, 2) float32, `weight` (B, 1, 64, 64) float32, `target`
    (B, S, S, 3) uint8, `importance` (B, S, S) float32.
    """

    def __init__(self, clips: Sequence[Clip], folder: Path, config: PortraitSampleConfig) -> None:
        """folder: where `encode_sources` left the encoded sources of these clips."""
        self.clips = clips
        self.config = config
        self._folder = folder
        size = clips[0].frames.shape[1]
        self._mesh = MeshGenerator(size)
        self._chances = clip_chances(clips)
        self._load = lru_cache(CACHED_SOURCES)(load_source)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        """`size` rows; it must be a multiple of the targets per source."""
        if size % self.config.targets_per_source:
            raise ClipError(f"a batch of {size} is not a multiple of {self.config.targets_per_source} targets a source")
        rows: list[dict[str, NDArray[Any]]] = []
        sources: list[Frame] = []
        for _ in range(size // self.config.targets_per_source):
            clip = self.clips[rng.choice(len(self.clips), p=self._chances)]
            source = self._load(self._folder, clip.name, int(rng.integers(self.config.sources_per_clip)))
            change = Change.drawn(rng, self.config.flip, self.config.gain)
            sources.append(change.picture(self._reduced(source.picture)))
            for target in rng.choice(len(clip.frames), self.config.targets_per_source, p=source.chances):
                rows.append(self.sample(clip, source, int(target), change))
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        batch["source"] = np.stack(sources)
        batch["source_of"] = np.repeat(np.arange(len(sources)), self.config.targets_per_source)
        return batch

    def sample(
        self, clip: Clip, source: EncodedSource, target: int, change: Change | None = None
    ) -> dict[str, NDArray[Any]]:
        """One row of a batch."""
        change = change or Change.none()
        drawn = self._mesh.draw(source.identity, source.driving[target])
        rest = box_map(clip.landmarks[target], clip.frames.shape[1]) == REST
        importance = np.where(rest, 1.0, self.config.windows_weight).astype(np.float32)
        place = place_grid(drawn)
        return {
            "drawn": change.picture(self._reduced(labelled(drawn))),
            "place": change.places(place)[None],
            "weight": np.ones((1, *place.shape[:2]), np.float32),
            "target": change.picture(self._reduced(clip.frames[target])),
            "importance": change.mirrored(self._reduced(importance)),
        }

    def _reduced(self, image: NDArray[Any]) -> NDArray[Any]:
        """(S, S, ...) as much smaller as is configured."""
        if self.config.reduction == 1:
            return image
        side = len(image) // self.config.reduction
        return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True, eq=False)
class EncodedSource:
    identity: dict[str, NDArray[Any]]
    "Of the mesh, without the batch axis."
    picture: Frame
    "(S, S, 4) the source frame with the label of the mesh at rest on it."
    driving: Array
    "(T, 478, 3) landmarks that drive this source through its clip, in frame coordinates."
    frame: int
    "Which frame of the clip it is."

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """(T,) how often each frame is a target: those that differ more from the source have more to teach."""
        moved: NDArray[np.float64] = np.linalg.norm(
            self.driving[..., :2] - self.driving[self.frame, :, :2], axis=2
        ).mean(axis=1)
        chances: NDArray[np.float64] = moved.astype(np.float64) + 0.5 * moved.mean() + 1e-9
        chances[self.frame] = 0.0
        chances /= chances.sum()
        return chances


def encode_sources(clip: Clip, folder: Path, count: int) -> None:
    """Encode `count` frames of the clip into the folder, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    size = clip.frames.shape[1]
    generator, model = MeshGenerator(size), FaceModel.load()
    for number, frame in enumerate(np.linspace(0, len(clip.frames) - 1, count).astype(int)):
        path = _source_path(folder, clip.name, number)
        if path.is_file():
            continue
        person, state = fit_source(model, clip.landmarks[frame])
        own = person.landmarks(state).astype(np.float32)
        identity = {name: value[0] for name, value in generator.encode(clip.frames[frame][None], own[None]).items()}
        picture = labelled(generator.draw(identity, own))
        picture[..., :3] = clip.frames[frame]
        driving = []
        for landmarks in clip.landmarks:
            state = fit_state(model, person, landmarks, previous=state)
            driving.append(person.landmarks(state).astype(np.float32))
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                picture=picture,
                driving=np.stack(driving),
                frame=frame,
                **{f"mesh_{name}": value for name, value in identity.items()},
            )
        os.replace(partial, path)


def load_source(folder: Path, clip: str, number: int) -> EncodedSource:
    with np.load(_source_path(folder, clip, number)) as stored:
        identity = {name.removeprefix("mesh_"): stored[name] for name in stored.files if name.startswith("mesh_")}
        return EncodedSource(identity, stored["picture"], stored["driving"], int(stored["frame"]))


def _source_path(folder: Path, clip: str, number: int) -> Path:
    return folder / f"{clip}.source{number}.npz"
