"""Training of `portrait`: correct, choose from and paint over what the mesh draws."""

from __future__ import annotations

import multiprocessing
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.generators.face_windows import opacity
from engine.nets.pictures import planes
from engine.nets.portrait_halves import PortraitEncodeHalf, PortraitRenderHalf, portrait_networks
from engine.training.appearance import AppearanceLoss, weighted_mean
from engine.training.clip_cache import Clip, build_cache, cache_folder
from engine.training.perceptual import PerceptualLoss, find_vgg19, load_vgg19
from engine.training.portrait_samples import PortraitSampleConfig, PortraitSamples, encode_sources
from engine.training.portrait_windows import KINDS, WindowSamples, draw_windows
from engine.training.recipe import Recipe, Stage
from engine.training.ssim import ssim_map
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, TrainingTask

SHEET_ROWS = 6
VALIDATION_BATCHES = 10


@dataclass(frozen=True)
class PortraitOptions:
    """The recipe's table [options]."""

    validation: tuple[str, ...] = ()
    "Identities that are held out, by the manifest's names."
    rights: tuple[str, ...] = ()
    "Only clips whose column `rights` begins with one of these; none means all."
    step: int = 2
    "Every how manieth frame of the clips is used."
    window_targets: int = 40
    "Frames of a clip for which the windows of each source are drawn ahead."
    samples: PortraitSampleConfig = field(default_factory=PortraitSampleConfig)


class _PortraitTask(TrainingTask):
    """What the parts of `portrait` share: all networks are there and exported, each task trains its own."""

    name: ClassVar[str] = "portrait"

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        if data is None:
            raise TrainingError("portrait is trained with clips: name the folder with --data")
        self._data = data
        self._options = recipe.options_as(PortraitOptions)
        self._networks = portrait_networks()
        self._encode = cast(PortraitEncodeHalf, self._networks["encode"])
        self._render = cast(PortraitRenderHalf, self._networks["render"])
        self._clips: dict[int, list[Clip]] = {}

    def networks(self) -> Mapping[str, nn.Module]:
        return dict(self._networks.items())

    def samples(self, stage: Stage) -> SampleSource:
        options = self.recipe.options_as(PortraitOptions, stage)
        return self._of_clips(stage, options.samples, held_out=False)

    def sheet_samples(self, stage: Stage) -> SampleSource:
        options = self.recipe.options_as(PortraitOptions, stage)
        if not options.validation:
            return self.samples(stage)
        return self._of_clips(stage, replace(options.samples, flip=0.0, gain=0.0), held_out=True)

    @abstractmethod
    def _of_clips(self, stage: Stage, config: PortraitSampleConfig, held_out: bool) -> SampleSource:
        """Samples of the clips that are trained with, or of those that are not."""

    def validate(self, stage: Stage) -> dict[str, float]:
        """Means over fixed batches of what is held out."""
        samples = self.sheet_samples(stage)
        rows: list[dict[str, float]] = []
        for number in range(VALIDATION_BATCHES):
            arrays = samples.batch(np.random.default_rng(number), stage.batch)
            batch = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for name, a in arrays.items()}
            rows.append(self._figures(batch, self.forward(batch)))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    @abstractmethod
    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]: ...

    @cached_property
    def _appearance(self) -> AppearanceLoss:
        path = find_vgg19()
        return AppearanceLoss(perceptual=PerceptualLoss(load_vgg19(path, self.device)) if path else None)

    def _folder(self, size: int) -> Path:
        """Where encoded sources and drawn windows are."""
        return cache_folder(self._data, size, self._options.step) / "portrait"

    def _encoded(self, size: int, held_out: bool) -> list[Clip]:
        options = self._options
        if size not in self._clips:
            folder = cache_folder(self._data, size, options.step)
            clips = build_cache(self._data, folder, size=size, step=options.step, rights=options.rights)
            count = options.samples.sources_per_clip
            _on_all_cores([(encode_sources, (clip, self._folder(size), count)) for clip in clips])
            self._clips[size] = clips
        return [clip for clip in self._clips[size] if (clip.identity in options.validation) == held_out]


class PortraitTask(_PortraitTask):
    """The networks of the frame.

    Terms: those of `AppearanceLoss` on the frame; `drawn` and `source`, L1 of the two moved pictures alone; `smooth`,
    the flows' mean change from cell to cell.
    """

    def forward(self, batch: Batch) -> Outputs:
        features = self._encode.frame(batch["source"])[batch["source_of"]]
        source = batch["source"][batch["source_of"]][..., :3]
        parts = self._render.frame.compose(batch["drawn"], source, features[:, None], batch["place"], batch["weight"])
        return vars(parts)

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        truth, importance = planes(batch["target"]), batch["importance"][:, None]
        return _terms(self._appearance, outputs, truth, importance, weights)

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: truth, mesh, frame, moved drawing, moved source, paint, masks."""
        return _sheet(batch["target"], batch["drawn"], outputs)

    def _of_clips(self, stage: Stage, config: PortraitSampleConfig, held_out: bool) -> SampleSource:
        return PortraitSamples(self._encoded(stage.size, held_out), self._folder(stage.size), config)

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """L1 and SSIM of the frame and of what the mesh drew, L1 in the boxes around mouth and eyes."""
        config, truth = self._options.samples, planes(batch["target"])
        row: dict[str, float] = {}
        for name, picture in (("", outputs["frame"]), ("mesh_", planes(batch["drawn"])[:, :3])):
            error = (picture - truth).abs().mean(dim=1)
            row[f"{name}l1"] = error.mean().item()
            row[f"{name}ssim"] = ssim_map(picture, truth).mean().item()
            for region, weight in (("mouth", config.mouth_weight), ("eyes", config.eyes_weight)):
                row[f"{name}{region}_l1"] = error[batch["importance"] == weight].mean().item()
        return row


class PortraitWindowsTask(_PortraitTask):
    """The networks of the windows around mouth and eyes; the terms of `PortraitTask`, means over both."""

    def forward(self, batch: Batch) -> Outputs:
        outputs: Outputs = {}
        for kind, encode, render in (
            ("mouth", self._encode.mouth, self._render.mouth),
            ("eyes", self._encode.eyes, self._render.eyes),
        ):
            features, source_of = encode(batch[f"{kind}_source"]), batch[f"{kind}_source_of"]
            source = batch[f"{kind}_source"][source_of]
            parts = render.compose(batch[f"{kind}_drawn"], source, features[source_of])
            outputs |= {f"{kind}_{name}": value for name, value in vars(parts).items()}
        return outputs

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        sums: Terms = {}
        for kind in KINDS:
            truth = planes(batch[f"{kind}_target"])
            visible = torch.from_numpy(opacity(truth.shape[-1])).to(truth.device).expand(len(truth), 1, -1, -1)
            terms = _terms(self._appearance, _of_kind(outputs, kind), truth, visible, weights)
            for name, term in terms.items():
                sums[name] = term / len(KINDS) + (sums.get(name, 0.0))
        return sums

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """As that of `PortraitTask`, of mouths."""
        return _sheet(batch["mouth_target"], batch["mouth_drawn"], _of_kind(outputs, "mouth"))

    def _of_clips(self, stage: Stage, config: PortraitSampleConfig, held_out: bool) -> SampleSource:
        clips, folder = self._encoded(stage.size, held_out), self._folder(stage.size)
        work = (folder, config.sources_per_clip, self._options.window_targets)
        _on_all_cores([(draw_windows, (clip, *work)) for clip in clips])
        return WindowSamples(clips, folder, config)

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """L1 and SSIM of the windows and of what the mesh drew in them."""
        row: dict[str, float] = {}
        for kind in KINDS:
            truth = planes(batch[f"{kind}_target"])
            drawn = planes(batch[f"{kind}_drawn"])[:, :3]
            for name, picture in (("", outputs[f"{kind}_frame"]), ("mesh_", drawn)):
                row[f"{name}{kind}_l1"] = (picture - truth).abs().mean().item()
                row[f"{name}{kind}_ssim"] = ssim_map(picture, truth).mean().item()
        return row


def _terms(
    appearance: AppearanceLoss, outputs: Outputs, truth: Tensor, importance: Tensor, weights: Mapping[str, float]
) -> Terms:
    terms = appearance.terms(outputs["frame"], truth, weights, importance)
    terms["drawn"] = weighted_mean((outputs["drawn"] - truth).abs(), importance)
    terms["source"] = weighted_mean((outputs["source"] - truth).abs(), importance)
    flow = outputs["flow"]
    across, down = flow[..., 1:] - flow[..., :-1], flow[..., 1:, :] - flow[..., :-1, :]
    terms["smooth"] = across.abs().mean() + down.abs().mean()
    return terms


def _of_kind(outputs: Outputs, kind: str) -> Outputs:
    mark = f"{kind}_"
    return {name.removeprefix(mark): value for name, value in outputs.items() if name.startswith(mark)}


def _sheet(target: Tensor, drawn: Tensor, outputs: Outputs) -> NDArray[np.uint8]:
    parts = (outputs[name] for name in ("frame", "drawn", "source", "paint", "masks"))
    columns = (planes(target), planes(drawn)[:, :3], *parts)
    sheet = torch.cat([column[:SHEET_ROWS] for column in columns], dim=3).permute(0, 2, 3, 1).flatten(0, 1)
    return np.asarray((sheet * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def _on_all_cores(work: Sequence[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    """Call functions with their arguments, each in one of as many processes as there are cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=partial(cv2.setNumThreads, 1)) as pool:
        for waiting in [pool.submit(function, *arguments) for function, arguments in work]:
            waiting.result()
