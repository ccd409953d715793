"""Training of the warping family without labels: First Order Motion Model (NeurIPS 2019) and what was built on it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.first_order import FirstOrderConfig
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from engine.nets.local_frames import Keypoints
from engine.nets.patch_discriminator import DiscriminatorConfig, KeypointDiscriminator
from engine.nets.pictures import planes
from engine.nets.stored_weights import LayoutError
from engine.training.adversarial import discriminator_scores, feature_matching, generator_score
from engine.training.clip_cache import Clip
from engine.training.clip_frames import FramePairs
from engine.training.equivariance import RandomDeformation, jacobian_term, value_term
from engine.training.pair_task import PairOptions, PairTask
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, write_weights

PYRAMID = (1, 2, 4, 8)


@dataclass(frozen=True)
class WarpOptions(PairOptions):
    """The recipe's table [options]."""

    keypoints: int = 10
    divisor: int = 4
    "Of all widths: 1 is the published network."
    downscale: int = 4
    "Keypoints and motion are found on a map so many times smaller than the picture: 4 at 256 pixels, as published."
    discriminator_divisor: int = 4
    discriminator_keypoints: bool = True
    "Whether the discriminator sees the heat maps of the driving keypoints."

    def __post_init__(self) -> None:
        if not 1 <= self.divisor <= 16 or not 1 <= self.discriminator_divisor <= 16:
            raise ValueError("divisor, discriminator_divisor: expected from 1 to 16")

    def config(self, channels: int) -> FirstOrderConfig:
        """Of the networks. channels: of what the keypoint detector sees."""
        d = self.divisor
        return FirstOrderConfig(
            detector=KeypointConfig(
                keypoints=self.keypoints,
                channels=channels,
                hourglass=HourglassConfig(width=32 // d, limit=1024 // d),
                downscale=self.downscale,
            ),
            motion=DenseMotionConfig(hourglass=HourglassConfig(64 // d, 1024 // d), downscale=self.downscale),
            width=64 // d,
            limit=512 // d,
        )


@dataclass(frozen=True, eq=False)
class Rendered:
    """A batch through the networks."""

    frame: Tensor
    "(B, 3, S, S) from 0 to 1."
    source: Keypoints
    driving: Keypoints
    twin: Keypoints | None
    "Of the deformed driving pictures, where there are any."


class WarpTask(PairTask):
    """Terms: those of `AppearanceLoss`, of which `perceptual` is the paper's; `adversarial`, least squares, and
    `matching`, of the discriminator's features; `equivariance` and `equivariance_jacobian`, of the driving picture and
    a randomly deformed twin (First Order Motion Model, section 3.1).

    The source is animated with absolute transfer. There is no discriminator where neither `adversarial` nor `matching`
    has a weight.
    """

    options_type: ClassVar[type[WarpOptions]] = WarpOptions
    perceptual_scales: ClassVar[tuple[int, ...]] = PYRAMID

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._options = options = recipe.options_as(self.options_type)
        try:
            self._model = self.build(options)
            opponent = KeypointDiscriminator(
                DiscriminatorConfig(
                    keypoints=options.keypoints if options.discriminator_keypoints else 0,
                    width=32 // options.discriminator_divisor,
                    limit=512 // options.discriminator_divisor,
                )
            )
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error
        weights = [recipe.weights(stage) for stage in recipe.stage]
        wanted = any(one.get(term, 0.0) != 0.0 for one in weights for term in ("adversarial", "matching"))
        self._discriminators = {"discriminator": opponent} if wanted else {}
        self._twins = any(
            one.get(term, 0.0) != 0.0 for one in weights for term in ("equivariance", "equivariance_jacobian")
        )

    @abstractmethod
    def build(self, options: WarpOptions) -> nn.Module:
        """The model. Raises ValueError for options that make no network."""

    @abstractmethod
    def render(self, source: Tensor, driving: Tensor, twin: Tensor | None) -> Rendered:
        """(B, 3, S, S) pictures from 0 to 1 through the model."""

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """What a file of the weights must say for the generator to load it."""

    @abstractmethod
    def loaded(self, path: Path) -> nn.Module:
        """The model of a file. Raises LayoutError for a file of something else."""

    def networks(self) -> Mapping[str, nn.Module]:
        return {"model": self._model}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return dict(self._discriminators)

    def forward(self, batch: Batch) -> Outputs:
        source, driving = planes(batch["source"]), planes(batch["target"])
        twin, deformation = None, None
        if self._twins and self._model.training:
            deformation = RandomDeformation.drawn(len(driving), driving.device)
            twin = deformation.pictures(driving)
        rendered = self.render(source, driving, twin)
        outputs = {"frame": rendered.frame, "points": rendered.driving.points, "source_points": rendered.source.points}
        if deformation is not None and rendered.twin is not None:
            # While the deformation is at hand: the loop knows nothing of it.
            twin_points, twin_jacobians = rendered.twin
            points, jacobians = rendered.driving
            outputs["equivariance"] = value_term(points, twin_points, deformation)
            outputs["equivariance_jacobian"] = jacobian_term(jacobians, twin_points, twin_jacobians, deformation)
        return outputs

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        terms = self.appearance_terms(batch, outputs, weights)
        for name in ("equivariance", "equivariance_jacobian"):
            if name in outputs and weights.get(name, 0.0) != 0.0:
                terms[name] = outputs[name]
        adversarial, matching = (weights.get(name, 0.0) != 0.0 for name in ("adversarial", "matching"))
        if adversarial or matching:
            made, scores = self._judged(outputs["frame"], outputs)
            if adversarial:
                terms["adversarial"] = generator_score(scores)
            if matching:
                with torch.no_grad():
                    real, _ = self._judged(planes(batch["target"]), outputs)
                terms["matching"] = feature_matching(real, made)
        return terms

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        truth = planes(batch["target"])
        _, real = self._judged(truth, outputs)
        _, fake = self._judged(outputs["frame"].to(truth.dtype), outputs)
        return discriminator_scores(real, fake)

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that the generator loads, with the networks' configuration and the size in its metadata."""
        path = folder / f"{self.name}.safetensors"
        size = {"size": str(self.recipe.stage[-1].size)}
        write_weights(path, self._state(), {**metadata, **size, **self.metadata()})
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote, or with imported published weights."""
        try:
            state = self.loaded(path).state_dict()
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of {self.name}: {error}") from error
        own = self._model.state_dict()
        odd = [key for key in own if key not in state or state[key].shape != own[key].shape]
        if odd or len(state) != len(own):
            raise TrainingError(
                f"{path}: holds another network than task {self.name} with these options, e.g. at "
                f"{(odd or sorted(state.keys() - own.keys()))[0]}; set keypoints and divisor in the recipe's [options] "
                "as the weights have them"
            )
        self._model.load_state_dict(state)

    def _judged(self, picture: Tensor, outputs: Outputs) -> tuple[list[Tensor], Tensor]:
        points = outputs["points"].detach() if self._options.discriminator_keypoints else None
        features, scores = self._discriminators["discriminator"](picture, points)
        return features, scores

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        config = self.recipe.options_as(self.options_type, stage).samples
        return FramePairs(clips, replace(config, flip=0.0, gain=0.0) if held_out else config)


def parted(keypoints: Keypoints, parts: int) -> list[Keypoints]:
    """Keypoints of several batches of pictures that went through the detector as one."""
    points, jacobians = (one.chunk(parts) for one in keypoints)
    return [Keypoints(*both) for both in zip(points, jacobians, strict=True)]
