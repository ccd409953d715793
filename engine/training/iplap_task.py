"""Training of IP-LAP's renderer (CVPR 2023, section 3.3), in the published form or a narrower one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.nets.iplap import IPLAPRenderer, RendererConfig
from engine.nets.iplap_blocks import separated
from engine.nets.iplap_discriminator import FaceDiscriminator
from engine.nets.iplap_weights import load_renderer, renderer_metadata
from engine.nets.pictures import planes
from engine.nets.stored_weights import LayoutError
from engine.training.adversarial import discriminator_scores, feature_matching, generator_score
from engine.training.clip_cache import Clip
from engine.training.clip_mels import mel_windows_of
from engine.training.clip_task import picture_sheet
from engine.training.iplap_samples import IPLAPSampleConfig, IPLAPSamples
from engine.training.pair_task import PairOptions, PairTask
from engine.training.perceptual import VGG19, find_vgg19, load_vgg19
from engine.training.portrait_samples import encode_sources
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.ssim import ssim_map
from engine.training.style import style_distance
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, write_weights

WARPED = "warped_"
"In front of the names of terms: of the mixed references."
MATCHING_SHARE = 0.5
"Of the published matching term, besides its weight."


@dataclass(frozen=True)
class IPLAPOptions(PairOptions):
    """The recipe's table [options]."""

    renderer: RendererConfig = field(default_factory=RendererConfig)
    discriminator_width: int = 64
    voice: bool = True
    "Whether half of the samples hear the clip's voice, where it has one; the others, and without this all, silence."
    iplap: IPLAPSampleConfig = field(default_factory=IPLAPSampleConfig)


class IPLAPTask(PairTask):
    """Terms: those of `AppearanceLoss` on the face, `perceptual` on whole and half size; the same with the prefix
    `warped_` on the mixed references; `style`, where VGG19 is there; `adversarial`, least squares, and `matching`, of
    the discriminator's features, both means over its two scales and four layers but for the published factor 1/2.

    The discriminator is trained in every stage, as published, and is not there where none weighs its terms.
    """

    name: ClassVar[str] = "iplap"
    options_type: ClassVar[type[PairOptions]] = IPLAPOptions
    perceptual_scales: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._options = options = recipe.options_as(IPLAPOptions)
        if options.iplap.seen != "held" and options.step != 1:
            raise RecipeError(f"options: drawings seen {options.iplap.seen} want neighbouring frames: set step = 1")
        self._network = IPLAPRenderer(options.renderer)
        weights = [recipe.weights(stage) for stage in recipe.stage]
        wanted = any(one.get(term, 0.0) != 0.0 for one in weights for term in ("adversarial", "matching"))
        self._discriminators = {"discriminator": FaceDiscriminator(options.discriminator_width)} if wanted else {}

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return dict(self._discriminators)

    def forward(self, batch: Batch) -> Outputs:
        if not self._options.voice:
            # Of one silence batch norm learns a variance of nothing, by which inference would blow up every rounding.
            self._network.translation.audio_encoder.eval()
        references = batch["references"]
        pictures = separated(planes(references.flatten(0, 1)), references)
        frame, warped = self._network(
            planes(batch["face"]), batch["sketches"], pictures, batch["reference_sketches"], batch["mel"]
        )
        return {"frame": frame, "warped": warped}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        truth = planes(batch["target"])
        importance = self._importance(batch["boxes"])
        own = {name: weight for name, weight in weights.items() if not name.startswith(WARPED)}
        terms = self._appearance.terms(outputs["frame"], truth, own, importance)
        of_warped = {name.removeprefix(WARPED): weights[name] for name in weights if name.startswith(WARPED)}
        for name, term in self._appearance.terms(outputs["warped"], truth, of_warped, importance).items():
            terms[WARPED + name] = term
        if weights.get("style", 0.0) != 0.0 and self._vgg is not None:
            terms["style"] = style_distance(self._vgg, outputs["frame"], truth)
        adversarial, matching = (weights.get(name, 0.0) != 0.0 for name in ("adversarial", "matching"))
        if adversarial or matching:
            judged = self._discriminators["discriminator"](outputs["frame"])
            if adversarial:
                terms["adversarial"] = torch.stack([generator_score(scores) for _, scores in judged]).mean()
            if matching:
                with torch.no_grad():
                    real = self._discriminators["discriminator"](truth)
                pairs = [feature_matching(a, b) for (a, _), (b, _) in zip(real, judged, strict=True)]
                terms["matching"] = MATCHING_SHARE * torch.stack(pairs).sum()
        return terms

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        """Half the sum of its two losses, mean over the scales."""
        truth = planes(batch["target"])
        discriminator = self._discriminators["discriminator"]
        real, fake = discriminator(truth), discriminator(outputs["frame"].to(truth.dtype))
        scores = [discriminator_scores(a, b) for (_, a), (_, b) in zip(real, fake, strict=True)]
        return {name: 0.5 * torch.stack([one[name] for one in scores]).mean() for name in ("real", "fake")}

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: the source as it is there, the mesh, the drawing, mixed references, truth, face, their
        difference."""
        truth, frame = planes(batch["target"]), outputs["frame"].float()
        drawing = batch["sketches"][:, 2:3].expand(-1, 3, -1, -1)
        columns = (planes(batch["source"]), planes(batch["face"]), drawing, outputs["warped"].float())
        return picture_sheet((*columns, truth, frame, (frame - truth).abs()))

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that `IPLAPGenerator` loads, with what it must know of the training in its metadata."""
        options = self.recipe.options_as(IPLAPOptions, self.recipe.stage[-1])
        own = options.iplap
        about = {
            **renderer_metadata(self._network.config),
            "seen": own.seen,
            "smooth": "yes" if own.smooth else "no",
            "margin": str(own.margin),
            "voice": "yes" if options.voice else "no",
        }
        path = folder / f"{self.name}.safetensors"
        write_weights(path, self._state(), {**metadata, **about})
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote, or with imported published weights."""
        try:
            loaded = load_renderer(path)
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of {self.name}: {error}") from error
        if loaded.config != self._network.config:
            raise TrainingError(
                f"{path}: of {asdict(loaded.config)}, the recipe has another [options.renderer]; set it as the weights "
                "have it"
            )
        self._network.load_state_dict(loaded.state_dict())

    @cached_property
    def _vgg(self) -> VGG19 | None:
        path = find_vgg19()
        return load_vgg19(path, self.device) if path else None

    def _prepare(self, clips: Sequence[Clip], size: int) -> None:
        for clip in clips:
            encode_sources(clip, self._drawn(size), self._options.iplap.sources_per_clip)

    def _drawn(self, size: int) -> Path:
        """Where encoded sources are: the ones of `portrait`."""
        return self._folder(size) / "portrait"

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        options = self.recipe.options_as(IPLAPOptions, stage)
        config = replace(options.iplap, flip=0.0, gain=0.0, jitter=0.0) if held_out else options.iplap
        voices = mel_windows_of(self._data, clips, options.step) if options.voice else None
        return IPLAPSamples(clips, self._drawn(stage.size), options.renderer.side, config, voices)

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """Those of `PairTask`, of which `source_` is the still source; `mesh_l1` and `mesh_ssim` of what the mesh drew,
        `warped_l1` of the mixed references."""
        row = super()._figures(batch, outputs)
        truth, mesh = planes(batch["target"]), planes(batch["face"])
        row["mesh_l1"] = _l1(mesh, truth)
        row["mesh_ssim"] = ssim_map(mesh, truth).mean().item()
        row["warped_l1"] = _l1(outputs["warped"].float(), truth)
        return row


def _l1(picture: Tensor, truth: Tensor) -> float:
    return (picture - truth).abs().mean().item()
