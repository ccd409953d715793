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
from engine.nets.portrait import enlarged, reduced
from engine.nets.portrait_halves import PortraitEncodeHalf, PortraitRenderHalf, portrait_networks
from engine.training.appearance import AppearanceLoss, weighted_mean
from engine.training.clip_cache import Clip
from engine.training.clip_task import ClipOptions, ClipTask, picture_sheet
from engine.training.perceptual import PerceptualLoss, find_vgg19, load_vgg19
from engine.training.portrait_samples import PortraitSampleConfig, PortraitSamples, encode_sources
from engine.training.portrait_windows import KINDS, WindowSamples, draw_windows
from engine.training.recipe import Recipe, Stage
from engine.training.ssim import ssim_map
from engine.training.task import Batch, Outputs, SampleSource, Terms


@dataclass(frozen=True)
class PortraitOptions(ClipOptions):
    """The recipe's table [options]."""

    window_targets: int = 40
    "Frames of a clip for which the windows of each source are drawn ahead."
    samples: PortraitSampleConfig = field(default_factory=PortraitSampleConfig)


class _PortraitTask(ClipTask):
    """What the parts of `portrait` share: all networks are there and exported, each task trains its own."""

    name: ClassVar[str] = "portrait"
    options_type: ClassVar[type[ClipOptions]] = PortraitOptions

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._options = recipe.options_as(PortraitOptions)
        self._networks = portrait_networks()
        self._encode = cast(PortraitEncodeHalf, self._networks["encode"])
        self._render = cast(PortraitRenderHalf, self._networks["render"])

    def networks(self) -> Mapping[str, nn.Module]:
        return dict(self._networks.items())

    def _of_clips(self, clips: Sequence[Clip], stage: Stage, held_out: bool) -> SampleSource:
        config = self.recipe.options_as(PortraitOptions, stage).samples
        if held_out:
            config = replace(config, flip=0.0, gain=0.0)
        return self._samples(clips, self._drawn(stage.size), config)

    @abstractmethod
    def _samples(self, clips: Sequence[Clip], folder: Path, config: PortraitSampleConfig) -> SampleSource:
        """folder: where encoded sources and drawn windows are."""

    def _drawn(self, size: int) -> Path:
        return self._folder(size) / "portrait"

    def _prepare(self, clips: Sequence[Clip], size: int) -> None:
        count = self._options.samples.sources_per_clip
        _on_all_cores([(encode_sources, (clip, self._drawn(size), count)) for clip in clips])

    @cached_property
    def _appearance(self) -> AppearanceLoss:
        path = find_vgg19()
        return AppearanceLoss(perceptual=PerceptualLoss(load_vgg19(path, self.device)) if path else None)


class PortraitTask(_PortraitTask):
    """The networks of the frame.

    Terms: those of `AppearanceLoss` on the frame; `source` and `paint`, L1 of the moved source and of the paint alone;
    `smooth`, the flow's mean change from cell to cell; `changed`, the share of the frame that is not as the mesh drew
    it, which keeps what is as good from being softened.
    """

    def forward(self, batch: Batch) -> Outputs:
        features = self._encode.frame(batch["source"])[batch["source_of"]]
        source = batch["source"][batch["source_of"]][..., :3]
        parts = self._render.frame.compose(batch["drawn"], source, features[:, None], batch["place"], batch["weight"])
        return vars(parts)

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        truth, importance = planes(batch["target"]), batch["importance"][:, None]
        terms = _terms(self._appearance, outputs, truth, importance, weights)
        side = outputs["paint"].shape[-1]
        terms["paint"] = weighted_mean((outputs["paint"] - reduced(truth, side)).abs(), reduced(importance, side))
        terms["changed"] = 1.0 - outputs["masks"][:, 0].mean()
        return terms

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: truth, mesh, frame, moved source, paint, shading, masks."""
        outputs = {**outputs, "shade": outputs["shade"] + 0.5}
        return _sheet(batch["target"], batch["drawn"], outputs, ("frame", "source", "paint", "shade", "masks"))

    def _samples(self, clips: Sequence[Clip], folder: Path, config: PortraitSampleConfig) -> SampleSource:
        return PortraitSamples(clips, folder, config)

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """L1 and SSIM of the frame and of what the mesh drew; L1 also without the boxes around mouth and eyes."""
        truth, rest = planes(batch["target"]), batch["importance"] == 1.0
        row: dict[str, float] = {}
        for name, picture in (("", outputs["frame"]), ("mesh_", planes(batch["drawn"])[:, :3])):
            error = (picture - truth).abs().mean(dim=1)
            row[f"{name}l1"] = error.mean().item()
            row[f"{name}ssim"] = ssim_map(picture, truth).mean().item()
            row[f"{name}rest_l1"] = error[rest].mean().item()
        return row


class PortraitWindowsTask(_PortraitTask):
    """The networks of the windows around mouth and eyes.

    Terms, means over both: those of `AppearanceLoss` on the window; `drawn` and `source`, L1 of the two moved pictures
    alone; `smooth`, the flows' mean change from cell to cell.
    """

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
            of_kind = _of_kind(outputs, kind)
            terms = _terms(self._appearance, of_kind, truth, visible, weights)
            terms["drawn"] = weighted_mean((of_kind["drawn"] - truth).abs(), visible)
            for name, term in terms.items():
                sums[name] = term / len(KINDS) + (sums.get(name, 0.0))
        return sums

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample, of mouths: truth, mesh, window, moved drawing, moved source, paint, masks."""
        columns = ("frame", "drawn", "source", "paint", "masks")
        return _sheet(batch["mouth_target"], batch["mouth_drawn"], _of_kind(outputs, "mouth"), columns)

    def _prepare(self, clips: Sequence[Clip], size: int) -> None:
        super()._prepare(clips, size)
        work = (self._drawn(size), self._options.samples.sources_per_clip, self._options.window_targets)
        _on_all_cores([(draw_windows, (clip, *work)) for clip in clips])

    def _samples(self, clips: Sequence[Clip], folder: Path, config: PortraitSampleConfig) -> SampleSource:
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
    terms["source"] = weighted_mean((outputs["source"] - truth).abs(), importance)
    flow = outputs["flow"]
    across, down = flow[..., 1:] - flow[..., :-1], flow[..., 1:, :] - flow[..., :-1, :]
    terms["smooth"] = across.abs().mean() + down.abs().mean()
    return terms


def _of_kind(outputs: Outputs, kind: str) -> Outputs:
    mark = f"{kind}_"
    return {name.removeprefix(mark): value for name, value in outputs.items() if name.startswith(mark)}


def _sheet(target: Tensor, drawn: Tensor, outputs: Outputs, names: Sequence[str]) -> NDArray[np.uint8]:
    parts = (enlarged(outputs[name], target.shape[1]) for name in names)
    return picture_sheet((planes(target), planes(drawn)[:, :3], *parts))


def _on_all_cores(work: Sequence[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    """Call functions with their arguments, each in one of as many processes as there are cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=partial(cv2.setNumThreads, 1)) as pool:
        for waiting in [pool.submit(function, *arguments) for function, arguments in work]:
            waiting.result()
