"""Training samples of `portrait`'s windows around mouth and eyes.

They are drawn ahead: their networks learn faster than the mesh draws.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.generators.face_windows import WINDOWS, Window, cut, to_frame
from engine.generators.mesh import MeshGenerator
from engine.generators.portrait_drawing import labelled
from engine.motion import to_pixels
from engine.training.augmentation import Change
from engine.training.clip_cache import Clip, ClipError, clip_chances
from engine.training.portrait_samples import EncodedSource, PortraitSampleConfig, load_source

Frame = NDArray[np.uint8]

KINDS: dict[str, tuple[Window, ...]] = {"mouth": ("mouth",), "eyes": ("right_eye", "left_eye")}
"Windows that one network is for: the left eye's is mirrored."


def draw_windows(clip: Clip, folder: Path, sources: int, targets: int) -> None:
    """Draw windows for all sources of a clip and so many of its frames each, unless they are there."""
    mesh = MeshGenerator(clip.frames.shape[1])
    for number in range(sources):
        paths = {window: _path(folder, clip.name, number, window) for window in WINDOWS}
        if all(path.is_file() for path in paths.values()):
            continue
        source = load_source(folder, clip.name, number)
        rows: dict[Window, list[Frame]] = {window: [] for window in WINDOWS}
        chosen = np.unique(np.linspace(0, len(clip.frames) - 1, targets).astype(int))
        for target in [source.frame, *chosen[chosen != source.frame]]:
            for window, row in _windows_of(mesh, source, clip.frames[target], int(target)).items():
                rows[window].append(row)
        for window, path in paths.items():
            partial = path.with_name(path.name + ".partial")
            with partial.open("wb") as file:
                np.save(file, np.stack(rows[window]))
            os.replace(partial, path)


class WindowSamples:
    """Batches of windows around mouth and around eyes, all uint8: of either kind, `mouth` or `eyes`, `<kind>_source`
    (n, N, N, 4), `<kind>_drawn` (B, N, N, 4) and `<kind>_target` (B, N, N, 3), and `<kind>_source_of` (B,) int64.
    """

    def __init__(self, clips: Sequence[Clip], folder: Path, config: PortraitSampleConfig) -> None:
        """folder: where `draw_windows` left the windows of these clips."""
        self.clips = clips
        self._config = config
        self._folder = folder
        self._chances = clip_chances(clips)
        self._open = lru_cache(None)(lambda path: np.load(path, mmap_mode="r"))

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        """`size` rows with mouths, and with eyes the configured share; multiples of the targets per source."""
        each = self._config.targets_per_source
        sizes = {"mouth": size, "eyes": round(size * self._config.eyes_per_mouth)}
        if any(rows % each or not rows for rows in sizes.values()):
            raise ClipError(f"batches of {sizes}: expected multiples of {each} targets a source")
        batch: dict[str, NDArray[Any]] = {}
        for kind, windows in KINDS.items():
            columns: dict[str, list[Frame]] = {"source": [], "drawn": [], "target": []}
            for _ in range(sizes[kind] // each):
                clip = self.clips[rng.choice(len(self.clips), p=self._chances)]
                window = windows[rng.integers(len(windows))]
                number = int(rng.integers(self._config.sources_per_clip))
                pairs = self._open(_path(self._folder, clip.name, number, window))
                change = Change.drawn(rng, self._config.flip, self._config.gain)
                columns["source"].append(change.picture(np.asarray(pairs[0, ..., :4])))
                for row in rng.choice(np.arange(1, len(pairs)), each, replace=len(pairs) <= each):
                    columns["drawn"].append(change.picture(np.asarray(pairs[row, ..., :4])))
                    columns["target"].append(change.picture(np.asarray(pairs[row, ..., 4:])))
            batch |= {f"{kind}_{name}": np.stack(rows) for name, rows in columns.items()}
            batch[f"{kind}_source_of"] = np.repeat(np.arange(sizes[kind] // each), each)
        return batch


def _windows_of(mesh: MeshGenerator, source: EncodedSource, truth: Frame, target: int) -> dict[Window, Frame]:
    """(N, N, 7) of each window: RGB and label of the drawing, RGB of the truth."""
    size = truth.shape[0]
    drawn = source.picture if target == source.frame else labelled(mesh.draw(source.identity, source.driving[target]))
    pixels = to_pixels(source.driving[target], size, size)
    both = np.dstack((drawn, truth))
    # OpenCV warps four channels at the most.
    return {
        window: np.dstack(
            [cut(part, window, to_frame(window, pixels, size)) for part in (both[..., :4], both[..., 4:])]
        )
        for window in WINDOWS
    }


def _path(folder: Path, clip: str, number: int, window: Window) -> Path:
    return folder / f"{clip}.source{number}.{window}.npy"
