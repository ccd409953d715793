"""Training of Rhythmic Head Motion's generator (ECCV 2020), in the published widths or narrower.

The paper learns its flows from FlowNet2's; here they are the landmarker's mesh's, on the face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.nets.pictures import planes
from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork, signed
from engine.nets.rhythmic_composition import Warped, warped
from engine.nets.rhythmic_discriminator import RhythmicDiscriminator
from engine.nets.rhythmic_embedding import grouped
from engine.nets.rhythmic_weights import fill, load_network, network_metadata, normalised
from engine.nets.stored_weights import LayoutError
from engine.training.adversarial import feature_matching
from engine.training.clip_cache import Clip
from engine.training.hinge import discriminator_hinge, generator_hinge
from engine.training.pair_task import PairOptions, PairTask
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.rhythmic_samples import RhythmicFrameConfig, RhythmicSamples
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, write_weights

EMPTY = 10 / 255
"What is darker in a rendering shows no face."
SAME_COLOUR = 0.02
"Mean squared difference of colours up to which a point of the mesh is taken to show the same thing in both frames."
WARPS = ("reference", "rendering")


@dataclass(frozen=True)
class RhythmicOptions(PairOptions):
    """The recipe's table [options]; see also `RhythmicConfig`."""

    divisor: int = 4
    "Of all widths: 1 is the published network."
    references: int = 4
    hybrid: bool = True
    matting: bool = True
    nonlinear: bool = True
    spectral: bool = False
    discriminator_divisor: int = 4
    samples: RhythmicFrameConfig = field(default_factory=RhythmicFrameConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.divisor <= 16 or not 1 <= self.discriminator_divisor <= 16:
            raise ValueError("divisor, discriminator_divisor: expected from 1 to 16")

    def config(self) -> RhythmicConfig:
        """Of the network."""
        return RhythmicConfig(
            width=32 // self.divisor,
            references=self.references,
            hybrid=self.hybrid,
            matting=self.matting,
            nonlinear=self.nonlinear,
            spectral=self.spectral,
            spare=False,
        )


class RhythmicTask(PairTask):
    """Terms: those of `AppearanceLoss`, of which `perceptual` is the paper's; `raw`, L1 of what is drawn before the
    matting, or without it, what is drawn without the warps; `warp`, L1 of both warped pictures, and `flow`, of their
    flows in pixels where the mesh knows them; `adversarial`, hinge, and `matching`, of the discriminator's features.

    There is no discriminator where neither of the last two has a weight.
    """

    name: ClassVar[str] = "rhythmic"
    options_type: ClassVar[type[RhythmicOptions]] = RhythmicOptions
    perceptual_scales: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._options = options = recipe.options_as(RhythmicOptions)
        try:
            self._network = RhythmicNetwork(options.config())
        except ValueError as error:
            raise RecipeError(f"options: {error}") from error
        _initialise(self._network)
        weights = [recipe.weights(stage) for stage in recipe.stage]
        wanted = any(one.get(term, 0.0) != 0.0 for one in weights for term in ("adversarial", "matching"))
        self._discriminators: dict[str, nn.Module] = {}
        if wanted:
            self._discriminators["discriminator"] = RhythmicDiscriminator(32 // options.discriminator_divisor)
        self._second_pass = not options.matting and any(one.get("raw", 0.0) != 0.0 for one in weights)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"network": self._network}

    def discriminators(self) -> Mapping[str, nn.Module]:
        return dict(self._discriminators)

    def forward(self, batch: Batch) -> Outputs:
        count = batch["references"].shape[1]
        pictures = grouped(signed(batch["references"].flatten(0, 1)), count)
        maps = grouped(planes(batch["reference_maps"].flatten(0, 1)), count)
        references = self._network.netG.encode(pictures, maps)
        edges = planes(batch["edges"])
        composed = self._network.compose(
            references,
            edges,
            signed(batch["reference"]),
            planes(batch["reference_edges"]),
            signed(batch["rendering"]),
            planes(batch["rendering_edges"]),
        )
        raw = composed.raw
        if self._second_pass and self._network.training:
            raw = self._network.without_warps(references, edges)
        outputs = {"frame": 0.5 + 0.5 * composed.frame, "raw": 0.5 + 0.5 * raw}
        for name, one in zip(WARPS, (composed.reference, composed.rendering), strict=True):
            outputs |= {f"{name}_{part}": value for part, value in one._asdict().items()}
        return outputs

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        terms = self.appearance_terms(batch, outputs, weights)
        truth = planes(batch["target"])
        wanted = {name for name, weight in weights.items() if weight != 0.0}
        if "raw" in wanted:
            terms["raw"] = (outputs["raw"] - truth).abs().mean()
        for name in WARPS:
            found = Warped(*(outputs[f"{name}_{part}"] for part in Warped._fields))
            if "warp" in wanted:
                wanted_picture = _warp_target(name, batch, truth)
                term = (0.5 + 0.5 * found.picture.float() - wanted_picture).abs().mean()
                terms["warp"] = terms.get("warp", 0.0) + term
            if "flow" in wanted:
                terms["flow"] = terms.get("flow", 0.0) + _flow_term(name, batch, found.flow, truth)
        if wanted & {"adversarial", "matching"}:
            made, scores = self._judged(batch, outputs["frame"])
            if "adversarial" in wanted:
                terms["adversarial"] = generator_hinge(scores)
            if "matching" in wanted:
                with torch.no_grad():
                    real, _ = self._judged(batch, truth)
                terms["matching"] = feature_matching(real, made)
        return terms

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        _, real = self._judged(batch, planes(batch["target"]))
        _, fake = self._judged(batch, outputs["frame"])
        return discriminator_hinge(real, fake)

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """The file that `RhythmicGenerator` loads."""
        network = normalised(self._network)
        path = folder / f"{self.name}.safetensors"
        about = {**metadata, "size": str(self.recipe.stage[-1].size), **network_metadata(network.config)}
        state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
        write_weights(path, state, about)
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with a file that `export` wrote, or with imported published weights."""
        try:
            loaded = load_network(path)
        except (LayoutError, OSError) as error:
            raise TrainingError(f"{path}: no weights of Rhythmic Head Motion: {error}") from error
        own = self._network.config
        if replace(loaded.config, spectral=own.spectral, spare=own.spare) != own:
            raise TrainingError(
                f"{path}: of {loaded.config}, the recipe says {own}; set its [options] as the weights have them"
            )
        fill(self._network, loaded)

    def _judged(self, batch: Batch, picture: Tensor) -> tuple[list[Tensor], Tensor]:
        first = planes(batch["reference_maps"][:, 0]), signed(batch["references"][:, 0])
        judged: tuple[list[Tensor], Tensor] = self._discriminators["discriminator"](
            *first, planes(batch["edges"]), 2.0 * picture - 1.0
        )
        return judged

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        options = self.recipe.options_as(RhythmicOptions, stage)
        config = options.samples
        if held_out:  # as in a call with one picture, which is judged
            config = replace(config, flip=0.0, gain=0.0, farthest=0.0, single=1.0)
        return RhythmicSamples(clips, config, options.references)


def _warp_target(name: str, batch: Batch, truth: Tensor) -> Tensor:
    """(B, 3, S, S) what a warped picture should be: of the rendering, black where it shows nothing."""
    if name == "reference":
        return truth
    shown = planes(batch["rendering"]).amax(dim=1, keepdim=True) > EMPTY
    return truth * shown


def _flow_term(name: str, batch: Batch, flow: Tensor, truth: Tensor) -> Tensor:
    """L1 to the mesh's flow, where that leads to much the same colour."""
    known = batch[f"{name}_flow"].permute(0, 3, 1, 2)
    true_flow, on_face = known[:, :2], known[:, 2:]
    with torch.no_grad():
        error = (warped(planes(batch[name]), true_flow) - truth).square().mean(dim=1, keepdim=True)
        counts = on_face * (error < SAME_COLOUR)
    return ((flow.float() - true_flow).abs() * counts).sum() / (2.0 * counts.sum()).clamp(min=1.0)


def _initialise(network: nn.Module) -> None:
    """Xavier's normal distribution with a gain of 0.02, as published, where weights are normalised by their spectrum;
    torch's own where they are not, and in the heads of flow and weight zeros: nothing moves at first."""
    normalised_by_spectrum = any(name.endswith("weight_orig") for name, _ in network.named_parameters())
    for name, parameter in network.named_parameters():
        if ".conv_flow." in name or ".conv_w." in name:
            nn.init.zeros_(parameter)
        elif normalised_by_spectrum and parameter.ndim > 1:
            nn.init.xavier_normal_(parameter, 0.02)
