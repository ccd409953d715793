"""A small data pack of the demo's public material, and a generator that gets better with every source frame."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.evaluation.clips import Clip, find_clips, read_clip
from benchmarks.evaluation.contenders import Contender
from engine.face.model import FaceModel, Person
from engine.generators import FaceGenerator
from engine.motion import FaceState
from engine.runtime import Compiled
from visavis.demo import DRIVING

FRAMES = 24
FIRST = 40
"The demo's mouth moves from here on."


class NearestSource(FaceGenerator):
    """Shows the source frame whose landmarks come closest to the driving ones: crude, but each source helps."""

    name: ClassVar[str] = "nearest"
    sizes: ClassVar[tuple[int, ...]] = (256,)
    expensive_half: ClassVar[str] = "render"

    def encode(self, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        return {"frames": frames[:, None], "landmarks": landmarks[:, None]}

    def motion(self, person: Person, driving: FaceState) -> Mapping[str, NDArray[Any]]:
        return {"landmarks": person.landmarks(driving)[None]}

    def render(self, identity: Mapping[str, NDArray[Any]], motion: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        difference = identity["landmarks"][..., :2] - motion["landmarks"][:, None, :, :2]
        nearest = np.abs(difference).mean((2, 3)).argmin(1)
        return np.stack([frames[k] for frames, k in zip(identity["frames"], nearest, strict=True)])

    def merge(self, identities: Sequence[Mapping[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
        return {name: np.concatenate([one[name] for one in identities], axis=1) for name in identities[0]}


@pytest.fixture(scope="session")
def nearest() -> Contender:
    generator = NearestSource(256)
    return Contender(generator.name, generator, Compiled(generator.encode, generator.render))


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short test clips of two people (the second is the first one mirrored), and one of the training split."""
    root = tmp_path_factory.mktemp("pack")
    (root / "clips" / "256").mkdir(parents=True)
    with av.open(str(DRIVING)) as file:
        pictures = [picture.to_ndarray(format="rgb24") for picture in file.decode(video=0)][FIRST : FIRST + 2 * FRAMES]
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    clips = {
        "a_01": ("a", "test", pictures[:FRAMES]),
        "a_02": ("a", "test", pictures[FRAMES:]),
        "b_01": ("b", "test", mirrored[:FRAMES]),
        "c_01": ("c", "train", pictures[:FRAMES]),
    }
    with open(root / "manifest.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "split", "identity", "frames"))
        for name, (identity, split, frames) in clips.items():
            rows.writerow((name, split, identity, len(frames)))
            _write(root / "clips" / "256" / f"{name}.mp4", frames)
    return root


@pytest.fixture(scope="session")
def clip(pack: Path) -> Clip:
    return read_clip(find_clips(pack, 256, ("a_01",))[0])


def _write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
