"""Training of IP-LAP's landmark generator (CVPR 2023, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from engine.face.landmarks131 import JAW
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator
from engine.nets.iplap_weights import LANDMARKS, landmarks_metadata, load_landmarks
from engine.nets.stored_weights import LayoutError
from engine.training.clip_sounds import known_sounds
from engine.training.iplap_landmark_samples import (
    LandmarkSampleConfig,
    LandmarkSamples,
    VoicedClip,
    load_voiced_clips,
)
from engine.training.recipe import Recipe, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, TrainingTask, write_weights

VALIDATION_BATCHES = 10
EPSILON = 1e-6


@dataclass(frozen=True)
class LandmarkOptions:
    """The recipe's table [options]."""

    validation: tuple[str, ...] = ()
    "Identities that are held out, by the manifest's names."
    sounds: str = ""
    "Recipe that says which clips' sound is of no use or late, see `known_sounds`; without, the manifest does."
    network: LandmarkConfig = field(default_factory=LandmarkConfig)
    samples: LandmarkSampleConfig = field(default_factory=LandmarkSampleConfig)


class LandmarkTask(TrainingTask):
    """Terms: `l1`, the mean distance of coordinates; `velocity`, the mean length of the difference of their changes
    from frame to frame, all 114 together."""

    name: ClassVar[str] = LANDMARKS

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        if data is None:
            raise TrainingError(f"{self.name} is trained with clips: name the folder with --data")
        self._data = data
        self._options = recipe.options_as(LandmarkOptions)
        self._network = LandmarkGenerator(self._options.network)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def samples(self, stage: Stage) -> SampleSource:
        options = self.recipe.options_as(LandmarkOptions, stage)
        clips = [clip for clip in self._clips if clip.identity not in options.validation]
        if not clips:
            raise TrainingError(f"{self._data}: no clip with a voice but of people held out for validation")
        return LandmarkSamples(clips, options.samples)

    def forward(self, batch: Batch) -> Outputs:
        return {"contents": self._network(batch["references"], batch["mels"], batch["poses"])}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        predicted, truth = outputs["contents"].float(), batch["contents"]
        return {"l1": (predicted - truth).abs().mean(), "velocity": velocity_term(predicted, truth)}

    def validate(self, stage: Stage) -> dict[str, float]:
        """`jaw_l1` and `mouth_l1` on people held out, times 1000; with `still_` of the mean of the references."""
        options = self.recipe.options_as(LandmarkOptions, stage)
        held_out = [clip for clip in self._clips if clip.identity in options.validation]
        if not held_out:
            return {}
        samples = LandmarkSamples(held_out, options.samples.as_recorded())
        rows: list[dict[str, float]] = []
        for number in range(VALIDATION_BATCHES):
            arrays = samples.batch(np.random.default_rng(number), 16)
            batch = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for name, a in arrays.items()}
            still = batch["references"][:, :, -batch["contents"].shape[2] :].mean(dim=1, keepdim=True)
            row = {}
            for prefix, contents in (("", self.forward(batch)["contents"]), ("still_", still)):
                error = 1000 * (contents.float() - batch["contents"]).abs()
                row[f"{prefix}jaw_l1"] = error[:, :, : len(JAW)].mean().item()
                row[f"{prefix}mouth_l1"] = error[:, :, len(JAW) :].mean().item()
            rows.append(row)
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that `LandmarkPredictor` loads."""
        options = self.recipe.options_as(LandmarkOptions, self.recipe.stage[-1])
        timing = {"timing": "causal" if options.samples.causal else "exact"}
        path = folder / f"{self.name}.safetensors"
        write_weights(path, self._state(), {**metadata, **timing, **landmarks_metadata(self._network.config)})
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote, or with imported published weights."""
        try:
            loaded = load_landmarks(path)
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of {self.name}: {error}") from error
        if loaded.config != self._network.config:
            raise TrainingError(
                f"{path}: of {loaded.config}; set [options.network] of the recipe as the weights have it"
            )
        self._network.load_state_dict(loaded.state_dict())

    @cached_property
    def _clips(self) -> list[VoicedClip]:
        sounds = self._options.sounds
        return load_voiced_clips(self._data, sounds=known_sounds(sounds) if sounds else None)


def velocity_term(predicted: Tensor, truth: Tensor) -> Tensor:
    """The mean over (B, T, P, 2) of how far the changes from each frame to the next differ, as vectors of 2 P."""
    change = (predicted - truth).flatten(2).diff(dim=1)
    # As torch's pairwise distance has it.
    return cast(Tensor, (change + EPSILON).norm(dim=2).mean())
