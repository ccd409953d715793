"""What tasks share that are trained with clips: people held out, validation on them, sheets of pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.training.clip_cache import Clip, build_cache, cache_folder
from engine.training.recipe import Recipe, Stage
from engine.training.task import Batch, Outputs, SampleSource, TrainingError, TrainingTask

SHEET_ROWS = 6
VALIDATION_BATCHES = 10


@dataclass(frozen=True)
class ClipOptions:
    """What the recipe's table [options] says of clips."""

    validation: tuple[str, ...] = ()
    "Identities that are held out, by the manifest's names."
    rights: tuple[str, ...] = ()
    "Only clips whose column `rights` begins with one of these; none means all."
    step: int = 2
    "Every how manieth frame of the clips is used."


class ClipTask(TrainingTask):
    """A task whose samples are made of clips.

    `options_type` is what it reads the recipe's [options] as. Raises TrainingError without clips.
    """

    options_type: ClassVar[type[ClipOptions]]

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        if data is None:
            raise TrainingError(f"{self.name} is trained with clips: name the folder with --data")
        self._data = data
        self._clip_options: ClipOptions = recipe.options_as(self.options_type)
        self._clips: dict[int, list[Clip]] = {}

    def samples(self, stage: Stage) -> SampleSource:
        clips = self._split(stage.size, held_out=False)
        if not clips:
            raise TrainingError(f"{self._data}: no clip at {stage.size} pixels but of people held out for validation")
        return self._of_clips(clips, stage, held_out=False)

    def sheet_samples(self, stage: Stage) -> SampleSource:
        """Of the people held out, where there are any."""
        clips = self._split(stage.size, held_out=True)
        return self._of_clips(clips, stage, held_out=True) if clips else self.samples(stage)

    def validate(self, stage: Stage) -> dict[str, float]:
        """Means of `_figures` over fixed batches of what is held out."""
        samples = self.sheet_samples(stage)
        rows: list[dict[str, float]] = []
        for number in range(VALIDATION_BATCHES):
            arrays = samples.batch(np.random.default_rng(number), stage.batch)
            batch = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for name, a in arrays.items()}
            rows.append(self._figures(batch, self.forward(batch)))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    @abstractmethod
    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        """Samples of these clips; of those held out without augmentation."""

    @abstractmethod
    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """What validation says of a batch."""

    def _folder(self, size: int) -> Path:
        """Where the decoded clips are."""
        return cache_folder(self._data, size, self._clip_options.step)

    def _prepare(self, clips: Sequence[Clip], size: int) -> None:
        """Compute ahead what samples of these clips need, once per size."""

    def _split(self, size: int, held_out: bool) -> list[Clip]:
        options = self._clip_options
        if size not in self._clips:
            clips = build_cache(self._data, self._folder(size), size=size, step=options.step, rights=options.rights)
            self._prepare(clips, size)
            self._clips[size] = clips
        return [clip for clip in self._clips[size] if (clip.identity in options.validation) == held_out]


def picture_sheet(columns: Sequence[Tensor]) -> NDArray[np.uint8]:
    """The first samples of (B, 3, S, S) pictures from 0 to 1, a row each, side by side."""
    sheet = torch.cat([column[:SHEET_ROWS] for column in columns], dim=3).permute(0, 2, 3, 1).flatten(0, 1)
    return np.asarray((sheet.float() * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())
