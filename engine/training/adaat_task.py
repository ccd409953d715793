"""Training of AdaAT (Zhang and Ding, ACM MM 2022), in the published form or a narrower one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from engine.nets.adaat import AdaATConfig, AdaATDiscriminator, AdaATNetwork
from engine.nets.adaat_weights import config_metadata, load_network
from engine.nets.pictures import planes
from engine.nets.stored_weights import LayoutError
from engine.training.adaat_samples import AdaATSamples
from engine.training.adversarial import discriminator_scores, feature_matching, generator_score
from engine.training.clip_cache import Clip
from engine.training.pair_task import PairOptions, PairTask
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import (
    Batch,
    Outputs,
    SampleSource,
    Terms,
    TrainingError,
    write_weights,
)

PERCEPTUAL_SCALES = (1, 2)
PERCEPTUAL_TAPS = 5


@dataclass(frozen=True)
class AdaATOptions(PairOptions):
    """The recipe's table [options]."""

    divisor: int = 8
    "Of all widths, 64 at most: 1 is the published network, and costs some 60 times as much as 8."
    discriminator_divisor: int = 8
    blend: bool = False
    "Whether neighbouring channels are mixed, as in published weights; of no use to what is trained from scratch."


class AdaATTask(PairTask):
    """Terms: those of `AppearanceLoss`, of which `perceptual` is as AdaAT has it, the mean over VGG19's taps of the sum
    over whole and half size; `adversarial`, least squares; `matching`, of the discriminator's features.

    The discriminator sees the target's heat maps beside the picture. There is none where neither of the last two terms
    has a weight.
    """

    name: ClassVar[str] = "adaat"
    options_type: ClassVar[type[PairOptions]] = AdaATOptions
    perceptual_scales: ClassVar[tuple[int, ...]] = PERCEPTUAL_SCALES

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._options = options = recipe.options_as(AdaATOptions)
        try:
            self._network = AdaATNetwork(AdaATConfig(divisor=options.divisor, blend=options.blend))
            opponent = AdaATDiscriminator(AdaATConfig(divisor=options.discriminator_divisor))
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error
        weights = [recipe.weights(stage) for stage in recipe.stage]
        wanted = any(one.get(term, 0.0) != 0.0 for one in weights for term in ("adversarial", "matching"))
        self._discriminators = {"discriminator": opponent} if wanted else {}

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return dict(self._discriminators)

    def forward(self, batch: Batch) -> Outputs:
        source = planes(batch["source"])
        return {"frame": self._network(source, batch["source_landmarks"], batch["target_landmarks"])}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        frame, truth, landmarks = outputs["frame"], planes(batch["target"]), batch["target_landmarks"]
        terms = self.appearance_terms(batch, outputs, weights)
        if "perceptual" in terms:
            terms["perceptual"] = terms["perceptual"] / PERCEPTUAL_TAPS
        adversarial, matching = (weights.get(name, 0.0) != 0.0 for name in ("adversarial", "matching"))
        if adversarial or matching:
            discriminator = self._discriminators["discriminator"]
            made, scores = discriminator(frame, landmarks)
            if adversarial:
                terms["adversarial"] = generator_score(scores)
            if matching:
                with torch.no_grad():
                    real, _ = discriminator(truth, landmarks)
                terms["matching"] = feature_matching(real, made)
        return terms

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        """AdaAT's, each half of what `discriminator_scores` says."""
        truth, landmarks = planes(batch["target"]), batch["target_landmarks"]
        pictures = torch.cat((truth, outputs["frame"].to(truth.dtype)))
        _, scores = self._discriminators["discriminator"](pictures, landmarks.repeat(2, 1, 1))
        return {name: 0.5 * term for name, term in discriminator_scores(*scores.chunk(2)).items()}

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that `AdaATGenerator` loads, with the network's configuration in its metadata."""
        path = folder / f"{self.name}.safetensors"
        write_weights(path, self._state(), {**metadata, **config_metadata(self._network.config)})
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote, or with imported published weights."""
        try:
            loaded = load_network(path)
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of AdaAT: {error}") from error
        if loaded.config != self._network.config:
            raise TrainingError(
                f"{path}: of {loaded.config}, the recipe says {self._network.config}; set divisor and blend in its "
                "[options] as the weights have them"
            )
        self._network.load_state_dict(loaded.state_dict())

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        config = self.recipe.options_as(AdaATOptions, stage).samples
        return AdaATSamples(clips, replace(config, flip=0.0, gain=0.0) if held_out else config)
