"""Training of Rhythmic Head Motion's learners of the voice (ECCV 2020), in the published widths or narrower."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from engine.audio.rhythmic_voice import EXPRESSION_RATE_HZ, MOTION_RATE_HZ
from engine.nets.expression_learner import ExpressionConfig, ExpressionLearner
from engine.nets.head_motion_learner import HeadMotionConfig, HeadMotionLearner, MotionDiscriminator
from engine.nets.learner_weights import EXPRESSION, HEAD_MOTION, expression_metadata, head_motion_metadata
from engine.nets.stored_weights import save_state
from engine.training.clip_cache import cache_folder
from engine.training.clip_sounds import ClipSounds, known_sounds
from engine.training.learner_samples import (
    ExpressionSamples,
    HeadMotionSamples,
    SpokenClip,
    spoken_clips,
)
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, TrainingTask
from engine.training.voice_clips import voice_clips

VALIDATION_BATCHES = 8


@dataclass(frozen=True)
class LearnerOptions:
    """What the recipe's table [options] says."""

    divisor: int = 8
    "Of all widths: 1 is the published network."
    validation: tuple[str, ...] = ()
    "Identities that are held out, by the manifest's names."
    rights: tuple[str, ...] = ()
    "Only clips whose column `rights` begins with one of these; none means all."
    sounds: str = ""
    "Recipe that says which clips' sound is of no use or late, see `known_sounds`; without, all are taken as they are."
    gains_db: tuple[float, ...] = (-12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0)
    "Of the voice, for the expression learner."


class LearnerTask(TrainingTask):
    """A task whose samples are the sound and the motion of clips. Raises TrainingError without any."""

    rate_hz: ClassVar[int]

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        if data is None:
            raise TrainingError(f"{self.name} is trained with clips: name the folder with --data")
        self._data = data
        self._options = recipe.options_as(LearnerOptions)

    def samples(self, stage: Stage) -> SampleSource:
        return self._checked(stage, held_out=False)

    def sheet_samples(self, stage: Stage) -> SampleSource:
        """Of the people held out, where there are any."""
        return self._checked(stage, held_out=any(self._held_out(clip) for clip in self._clips))

    def validate(self, stage: Stage) -> dict[str, float]:
        """Root mean squares over fixed batches: of the error, and of what is to be predicted about its mean."""
        samples, errors, truths = self.sheet_samples(stage), [], []
        for number in range(VALIDATION_BATCHES):
            arrays = samples.batch(np.random.default_rng(number), stage.batch)
            batch = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for name, a in arrays.items()}
            truth = batch[self.target]
            errors.append((self.forward(batch)["predicted"].float() - truth).square().mean().item())
            truths.append(truth.square().mean().item())
        return {"error": float(np.sqrt(np.mean(errors))), "still_error": float(np.sqrt(np.mean(truths)))}

    target: ClassVar[str]
    "What of a batch is to be predicted."

    @abstractmethod
    def _of_clips(self, clips: Sequence[SpokenClip], stage: Stage) -> SampleSource:
        """Samples of these clips. Raises ValueError where they are too short."""

    @cached_property
    def _clips(self) -> list[SpokenClip]:
        sounds = known_sounds(self._options.sounds) if self._options.sounds else ClipSounds()
        found = voice_clips(
            self._data,
            cache_folder(self._data, 0, 1),
            rights=self._options.rights,
            exclude=sounds.exclude,
            delays_ms=sounds.delays_ms,
        )
        return spoken_clips(self._data, found, self.rate_hz)

    def _held_out(self, clip: SpokenClip) -> bool:
        return clip.identity in self._options.validation

    def _checked(self, stage: Stage, held_out: bool) -> SampleSource:
        clips = [clip for clip in self._clips if self._held_out(clip) == held_out]
        if not clips:
            raise TrainingError(f"{self._data}: no clip with sound but of people held out for validation")
        try:
            return self._of_clips(clips, stage)
        except ValueError as error:
            raise TrainingError(f"{self._data}: {error}") from error


class ExpressionTask(LearnerTask):
    """The term: `face`, squared error of the 20 coefficients in standard deviations. A stage's `size` is not used."""

    name: ClassVar[str] = EXPRESSION
    rate_hz: ClassVar[int] = EXPRESSION_RATE_HZ
    target: ClassVar[str] = "face"

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        try:
            self._network = ExpressionLearner(ExpressionConfig(divisor=self._options.divisor))
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def forward(self, batch: Batch) -> Outputs:
        return {"predicted": self._network(batch["voice"], batch["rest"])}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        return {"face": functional.mse_loss(outputs["predicted"].float(), batch["face"])}

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Matrices as float16; statistics of 16-bit samples are too large for that."""
        path = folder / f"{self.name}.safetensors"
        save_state(self._state(), path, {**metadata, **expression_metadata(self._network.config)}, half=True)
        return [path]

    def _of_clips(self, clips: Sequence[SpokenClip], stage: Stage) -> SampleSource:
        return ExpressionSamples(clips, self._options.gains_db)


class HeadMotionTask(LearnerTask):
    """Terms: `motion`, squared error of the normalised motion; `adversarial`, cross-entropy of a discriminator that
    sees statistics, as the paper has it (its code trains the learner without).

    A stage's `size` is the length of a stretch in frames: 64 as published.
    """

    name: ClassVar[str] = HEAD_MOTION
    rate_hz: ClassVar[int] = MOTION_RATE_HZ
    target: ClassVar[str] = "motion"

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        try:
            self._network = HeadMotionLearner(HeadMotionConfig(divisor=self._options.divisor))
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error
        weights = [recipe.weights(stage) for stage in recipe.stage]
        wanted = any(one.get("adversarial", 0.0) != 0.0 for one in weights)
        self._discriminators: dict[str, nn.Module] = {"discriminator": MotionDiscriminator()} if wanted else {}

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return dict(self._discriminators)

    def forward(self, batch: Batch) -> Outputs:
        return {"predicted": self._network(batch["known"], batch["known_chunks"], batch["chunks"])}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        predicted = outputs["predicted"].float()
        terms = {"motion": functional.mse_loss(predicted, batch["motion"])}
        if weights.get("adversarial", 0.0) != 0.0:
            odds = self._discriminators["discriminator"](predicted)
            terms["adversarial"] = functional.binary_cross_entropy_with_logits(odds, torch.ones_like(odds))
        return terms

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        terms = {}
        for name, motion, truth in (("real", batch["motion"], 1.0), ("fake", outputs["predicted"].float(), 0.0)):
            odds = self._discriminators["discriminator"](motion)
            terms[name] = functional.binary_cross_entropy_with_logits(odds, torch.full_like(odds, truth))
        return terms

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """With what motion is normalised by in the metadata."""
        facts = head_motion_metadata(self._network.config, *self._statistics)
        return super().export(folder, {**metadata, **facts})

    @cached_property
    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """(6,) mean and deviation of the motion of those who are trained with."""
        motion = np.concatenate([clip.motion for clip in self._clips if not self._held_out(clip)])
        return motion.mean(axis=0), np.maximum(motion.std(axis=0), 1e-4)

    def _of_clips(self, clips: Sequence[SpokenClip], stage: Stage) -> SampleSource:
        return HeadMotionSamples(clips, stage.size, *self._statistics)
