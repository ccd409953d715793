"""Training of LSR (Meshry et al., ICCV 2021), in the published widths or narrower: the layout first, then all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.lsr import Codes, LSRConfig, LSRDiscriminator, LSRNetwork
from engine.nets.lsr_halves import signed
from engine.nets.lsr_weights import DISCRIMINATOR_FILE, beside, config_metadata, load_discriminator, load_network
from engine.nets.pictures import planes
from engine.nets.stored_weights import LayoutError
from engine.training.appearance import AppearanceLoss
from engine.training.clip_cache import Clip
from engine.training.clip_task import picture_sheet
from engine.training.face_identity import FaceFeatures, find_vggface, load_vggface
from engine.training.gradient_penalty import logistic_score, logistic_terms
from engine.training.lsr_samples import LSRSampleConfig, LSRSamples
from engine.training.pair_task import PairOptions, PairTask
from engine.training.perceptual import TapLoss, find_vgg19, load_vgg19
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, write_weights

TAP_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"Of VGG19's five taps."
PENALTY = 5.0
"Half of the gamma of R1 and R2."


@dataclass(frozen=True)
class LSROptions(PairOptions):
    """The recipe's table [options]."""

    mouth_weight: float = 1.0
    eyes_weight: float = 1.0
    "As published, no pixel counts more than another."
    network: LSRConfig = field(
        default_factory=lambda: LSRConfig(size=96, width=8, limit=128, hidden=16, encoder_blocks=5)
    )
    "The stages' size must be that of the network."
    penalty_share: float = 1.0
    "In how many of the steps the discriminator's gradient is penalised; see `logistic_terms`."
    samples: LSRSampleConfig = field(default_factory=LSRSampleConfig)


class LSRTask(PairTask):
    """Terms: those of `AppearanceLoss`, of which `perceptual` is LSR's, on VGG19's taps by `TAP_WEIGHTS`; `gan`, not
    saturating; `face` and `identity`, of VGGFace's taps and of its logits, where its weights are there; `style_code`
    and `layout_code`, mean squares of the codes; `layout`, the cross-entropy of the map to classes.

    The discriminator sees the contours beside the picture. There is none where `gan` has no weight.
    """

    name: ClassVar[str] = "lsr"
    options_type: ClassVar[type[PairOptions]] = LSROptions
    perceptual_scales: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._options = options = recipe.options_as(LSROptions)
        config = options.network
        if wrong := [stage.size for stage in recipe.stage if stage.size != config.size]:
            raise RecipeError(
                f"stage: size {wrong[0]}, but the network is for {config.size} (options.network.size); "
                "its dense layers know the size"
            )
        self._network = LSRNetwork(config)
        self._opponent = LSRDiscriminator(config)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return {"discriminator": self._opponent} if self._any_weight("gan") else {}

    def forward(self, batch: Batch) -> Outputs:
        codes = self._codes(batch)
        prepared = self._network.prepare(codes)
        drawn = self._network.render(prepared, signed(batch["contours"]))
        frame = (drawn.picture + 1.0) * 0.5
        return {"picture": drawn.picture, "frame": frame, "logits": drawn.logits, **codes._asdict()}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        terms = {
            **self.appearance_terms(batch, outputs, weights),
            **self._code_terms(outputs, weights),
            **self._layout_terms(batch, outputs, weights),
        }
        if _weighs(weights, "gan"):
            terms["gan"] = logistic_score(self._opponent(outputs["picture"], signed(batch["contours"])))
        if self._face is not None and (_weighs(weights, "face") or _weighs(weights, "identity")):
            features, logits = self._face.distances(outputs["frame"], planes(batch["target"]))
            terms |= {"face": features, "identity": logits}
        return terms

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        contours = signed(batch["contours"])
        terms = logistic_terms(
            lambda picture: self._opponent(picture, contours),
            signed(batch["target"]),
            outputs["picture"],
            self._options.penalty_share,
        )
        return {**terms, "penalty": PENALTY * terms["penalty"]}

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: source, contours, layout, truth, frame, their difference."""
        truth, frame = planes(batch["target"]), outputs["frame"].float().clamp(0.0, 1.0)
        layout = _coloured(outputs["logits"])
        columns = (planes(batch["source"]), planes(batch["contours"]), layout, truth, frame, (frame - truth).abs())
        return picture_sheet(columns)

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that `LSRGenerator` loads, and the discriminator, against which a subject is fine-tuned."""
        about = {**metadata, **config_metadata(self._network.config)}
        paths = [folder / f"{self.name}.safetensors"]
        write_weights(paths[0], self._state(), about)
        if self.discriminators():
            paths.append(folder / DISCRIMINATOR_FILE)
            write_weights(paths[1], self._opponent.state_dict(), about)
        return paths

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote, or with imported published weights; the discriminator's, too, if its
        file is beside it."""
        try:
            loaded = load_network(path)
            opponent = load_discriminator(beside(path)) if beside(path).is_file() else None
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of LSR: {error}") from error
        if loaded.config != self._network.config:
            raise TrainingError(
                f"{path}: of {loaded.config}, the recipe says {self._network.config}; set options.network in it as the "
                "weights have it"
            )
        self._network.load_state_dict(loaded.state_dict())
        if opponent is not None and opponent.config == self._opponent.config:
            self._opponent.load_state_dict(opponent.state_dict())

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        config = self.recipe.options_as(LSROptions, stage).samples
        if held_out:
            config = replace(config, flip=0.0, gain=0.0)
        return LSRSamples(clips, config, stage.size, self._any_weight("layout"))

    def _split(self, size: int, held_out: bool) -> list[Clip]:
        # Clips have powers of two for sides, published networks 224: samples are made smaller.
        return super()._split(1 << (size - 1).bit_length(), held_out)

    def _any_weight(self, term: str) -> bool:
        return any(_weighs(self.recipe.weights(stage), term) for stage in self.recipe.stage)

    def _codes(self, batch: Batch) -> Codes:
        """Of each sample, the means over its pictures."""
        shots = batch["sources"].shape[:2]
        found = self._network.encode(
            signed(batch["sources"].flatten(0, 1)), signed(batch["source_contours"].flatten(0, 1))
        )
        return Codes(*(code.reshape(*shots, -1).mean(dim=1) for code in found))

    def _code_terms(self, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        return {
            f"{name}_code": outputs[name].float().square().mean()
            for name in ("style", "layout")
            if name in outputs and _weighs(weights, f"{name}_code")
        }

    def _layout_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        if not _weighs(weights, "layout"):
            return {}
        return {"layout": functional.cross_entropy(outputs["logits"].float(), batch["classes"].long())}

    @cached_property
    def _appearance(self) -> AppearanceLoss:
        return AppearanceLoss(perceptual=self._taps)

    @cached_property
    def _taps(self) -> TapLoss | None:
        path = find_vgg19()
        return TapLoss(load_vgg19(path, self.device), TAP_WEIGHTS) if path else None

    @cached_property
    def _face(self) -> FaceFeatures | None:
        path = find_vggface()
        return load_vggface(path, self.device) if path else None


class LSRLayoutTask(LSRTask):
    """The layout's share of the networks alone, before the rest: terms `layout`, `layout_code`, `guide_perceptual` and
    `guide_l1`. What it exports begins an `lsr` run (`--weights`)."""

    def forward(self, batch: Batch) -> Outputs:
        contours = signed(batch["contours"])
        layout = self._layout_code(batch)
        logits, guide = self._network.layout(self._network.layout_generator.dense(layout), contours)
        return {"logits": logits, "guide": (guide + 1.0) * 0.5, "layout": layout}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        terms = {**self._code_terms(outputs, weights), **self._layout_terms(batch, outputs, weights)}
        truth = planes(batch["target"])
        if _weighs(weights, "guide_l1"):
            terms["guide_l1"] = (outputs["guide"].float() - truth).abs().mean()
        if self._taps is not None and _weighs(weights, "guide_perceptual"):
            terms["guide_perceptual"] = self._taps(outputs["guide"], truth)
        return terms

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: source, contours, wanted layout, layout, truth, guide."""
        count = outputs["logits"].shape[1]
        wanted = functional.one_hot(batch["classes"].long(), count).permute(0, 3, 1, 2)
        guide = outputs["guide"].float().clamp(0.0, 1.0)
        layouts = (_coloured(wanted.float()), _coloured(outputs["logits"]))
        return picture_sheet(
            (planes(batch["source"]), planes(batch["contours"]), *layouts, planes(batch["target"]), guide)
        )

    def _layout_code(self, batch: Batch) -> Tensor:
        shots = batch["sources"].shape[:2]
        pictures, contours = (signed(batch[name].flatten(0, 1)) for name in ("sources", "source_contours"))
        code: Tensor = self._network.layout_encoder(torch.cat((pictures, contours), dim=1))
        return code.reshape(*shots, -1).mean(dim=1)

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """Cross-entropy, and the mean over classes of intersection over union."""
        classes, found = batch["classes"].long(), outputs["logits"].argmax(dim=1)
        shares = []
        for value in torch.unique(classes):
            both = ((classes == value) & (found == value)).sum()
            shares.append((both / ((classes == value) | (found == value)).sum()).item())
        return {
            "layout": functional.cross_entropy(outputs["logits"].float(), classes).item(),
            "intersection": float(np.mean(shares)),
        }


def _weighs(weights: Mapping[str, float], term: str) -> bool:
    return weights.get(term, 0.0) != 0.0


def _coloured(logits: Tensor) -> Tensor:
    """(B, 3, S, S) from 0 to 1: the likeliest of (B, classes, S, S), each in a colour of its own."""
    colours = np.random.default_rng(0).random((logits.shape[1], 3)).astype(np.float32)
    colours[0] = 0.0
    table = torch.from_numpy(colours).to(logits.device)
    coloured: Tensor = table[logits.argmax(dim=1)].permute(0, 3, 1, 2)
    return coloured
