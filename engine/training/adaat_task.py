"""Training of AdaAT (Zhang and Ding, ACM MM 2022), in the published form or a narrower one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.nets.adaat import AdaATConfig, AdaATDiscriminator, AdaATNetwork
from engine.nets.adaat_weights import config_metadata, load_network
from engine.nets.pictures import planes
from engine.nets.stored_weights import LayoutError
from engine.training.adaat_samples import AdaATSampleConfig, AdaATSamples
from engine.training.adversarial import discriminator_scores, feature_matching, generator_score
from engine.training.appearance import AppearanceLoss
from engine.training.clip_cache import Clip, build_cache, cache_folder
from engine.training.face_boxes import EYES, MOUTH
from engine.training.perceptual import PerceptualLoss, find_vgg19, load_vgg19
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.ssim import ssim_map
from engine.training.task import (
    Batch,
    Outputs,
    SampleSource,
    Terms,
    TrainingError,
    TrainingTask,
    write_weights,
)

SHEET_ROWS = 6
VALIDATION_BATCHES = 10
PERCEPTUAL_SCALES = (1, 2)
PERCEPTUAL_TAPS = 5


@dataclass(frozen=True)
class AdaATOptions:
    """The recipe's table [options]."""

    divisor: int = 8
    "Of all widths, 64 at most: 1 is the published network, and costs some 60 times as much as 8."
    discriminator_divisor: int = 8
    blend: bool = False
    "Whether neighbouring channels are mixed, as in published weights; of no use to what is trained from scratch."
    validation: tuple[str, ...] = ()
    "Identities that are held out, by the manifest's names."
    rights: tuple[str, ...] = ()
    "Only clips whose column `rights` begins with one of these; none means all."
    step: int = 2
    "Every how manieth frame of the clips is used."
    mouth_weight: float = 5.0
    eyes_weight: float = 4.0
    "Weight of the pixels in the boxes around mouth and eyes, where others have 1."
    samples: AdaATSampleConfig = field(default_factory=AdaATSampleConfig)


class AdaATTask(TrainingTask):
    """Terms: those of `AppearanceLoss`, of which `perceptual` is as AdaAT has it, the mean over VGG19's taps of the sum
    over whole and half size; `adversarial`, least squares; `matching`, of the discriminator's features.

    The discriminator sees the target's heat maps beside the picture. There is none where neither of the last two terms
    has a weight.
    """

    name: ClassVar[str] = "adaat"

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        if data is None:
            raise TrainingError("adaat is trained with clips: name the folder with --data")
        self._data = data
        self._options = options = recipe.options_as(AdaATOptions)
        try:
            self._network = AdaATNetwork(AdaATConfig(divisor=options.divisor, blend=options.blend))
            opponent = AdaATDiscriminator(AdaATConfig(divisor=options.discriminator_divisor))
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error
        weights = [recipe.weights(stage) for stage in recipe.stage]
        wanted = any(one.get(term, 0.0) != 0.0 for one in weights for term in ("adversarial", "matching"))
        self._discriminators = {"discriminator": opponent} if wanted else {}
        self._clips: dict[int, list[Clip]] = {}

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return dict(self._discriminators)

    def samples(self, stage: Stage) -> SampleSource:
        options = self.recipe.options_as(AdaATOptions, stage)
        clips = [clip for clip in self._decoded(stage.size) if clip.identity not in options.validation]
        if not clips:
            raise TrainingError(f"{self._data}: no clip at {stage.size} pixels but of people held out for validation")
        return AdaATSamples(clips, options.samples)

    def sheet_samples(self, stage: Stage) -> SampleSource:
        options = self.recipe.options_as(AdaATOptions, stage)
        clips = [clip for clip in self._decoded(stage.size) if clip.identity in options.validation]
        return AdaATSamples(clips, AdaATSampleConfig(flip=0.0, gain=0.0)) if clips else self.samples(stage)

    def forward(self, batch: Batch) -> Outputs:
        source = planes(batch["source"])
        return {"frame": self._network(source, batch["source_landmarks"], batch["target_landmarks"])}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        frame, truth, landmarks = outputs["frame"], planes(batch["target"]), batch["target_landmarks"]
        terms = self._appearance.terms(frame, truth, weights, self._importance(batch["boxes"]))
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

    def validate(self, stage: Stage) -> dict[str, float]:
        """L1 and SSIM of the frame and of the still source, L1 in the boxes around mouth and eyes."""
        samples = self.sheet_samples(stage)
        sums: dict[str, list[float]] = {}
        for number in range(VALIDATION_BATCHES):
            arrays = samples.batch(np.random.default_rng(number), stage.batch)
            batch = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for name, a in arrays.items()}
            frame, truth = self.forward(batch)["frame"].float(), planes(batch["target"])
            for prefix, picture in (("", frame), ("source_", planes(batch["source"]))):
                error = (picture - truth).abs().mean(dim=1)
                figures = {"l1": error.mean(), "ssim": ssim_map(picture, truth).mean()}
                for region, box in (("mouth", MOUTH), ("eyes", EYES)):
                    figures[f"{region}_l1"] = error[batch["boxes"] == box].mean()
                for name, figure in figures.items():
                    sums.setdefault(f"{prefix}{name}", []).append(float(figure))
        return {name: float(np.mean(values)) for name, values in sums.items()}

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: source, truth, frame, their difference."""
        truth, frame = planes(batch["target"]), outputs["frame"].float()
        columns = (planes(batch["source"]), truth, frame, (frame - truth).abs())
        sheet = torch.cat([column[:SHEET_ROWS] for column in columns], dim=3).permute(0, 2, 3, 1).flatten(0, 1)
        return np.asarray((sheet * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())

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

    @cached_property
    def _appearance(self) -> AppearanceLoss:
        path = find_vgg19()
        vgg = load_vgg19(path, self.device) if path else None
        return AppearanceLoss(perceptual=PerceptualLoss(vgg, PERCEPTUAL_SCALES) if vgg else None)

    def _importance(self, boxes: Tensor) -> Tensor:
        """(B, 1, S, S) how much each pixel counts, from (B, S, S)."""
        importance = torch.ones(boxes.shape, device=boxes.device)
        for box, weight in ((EYES, self._options.eyes_weight), (MOUTH, self._options.mouth_weight)):
            importance = torch.where(boxes == box, weight, importance)
        return importance[:, None]

    def _decoded(self, size: int) -> list[Clip]:
        if size not in self._clips:
            options = self._options
            folder = cache_folder(self._data, size, options.step)
            self._clips[size] = build_cache(self._data, folder, size=size, step=options.step, rights=options.rights)
        return self._clips[size]
