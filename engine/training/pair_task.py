"""What tasks share that learn to turn one frame of a person into another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.nets.pictures import planes
from engine.training.appearance import AppearanceLoss
from engine.training.clip_frames import FrameConfig
from engine.training.clip_task import ClipOptions, ClipTask, picture_sheet
from engine.training.face_boxes import EYES, MOUTH
from engine.training.perceptual import PerceptualLoss, find_vgg19, load_vgg19
from engine.training.ssim import ssim_map
from engine.training.task import Batch, Outputs, Terms


@dataclass(frozen=True)
class PairOptions(ClipOptions):
    """What the recipe's table [options] says of pairs of frames."""

    mouth_weight: float = 5.0
    eyes_weight: float = 4.0
    "Weight of the pixels in the boxes around mouth and eyes, where others have 1."
    samples: FrameConfig = field(default_factory=FrameConfig)


class PairTask(ClipTask):
    """A task whose batches are those of `FramePairs`, and whose outputs have the `frame`, (B, 3, S, S) from 0 to 1."""

    options_type: ClassVar[type[PairOptions]] = PairOptions
    perceptual_scales: ClassVar[tuple[int, ...]]
    "The sizes that the paper compares by VGG19; see `PerceptualLoss`."

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8]:
        """A row per sample: source, truth, frame, their difference."""
        truth, frame = planes(batch["target"]), outputs["frame"].float()
        columns = (planes(batch["source"]), truth, frame, (frame - truth).abs())
        return picture_sheet(columns)

    def appearance_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        """The terms of `AppearanceLoss`, mouth and eyes weighted as the options say."""
        importance = self._importance(batch["boxes"])
        return self._appearance.terms(outputs["frame"], planes(batch["target"]), weights, importance)

    @cached_property
    def _appearance(self) -> AppearanceLoss:
        path = find_vgg19()
        vgg = load_vgg19(path, self.device) if path else None
        return AppearanceLoss(perceptual=PerceptualLoss(vgg, self.perceptual_scales) if vgg else None)

    def _importance(self, boxes: Tensor) -> Tensor:
        """(B, 1, S, S) how much each pixel counts, from (B, S, S)."""
        options = self.recipe.options_as(self.options_type)
        importance = torch.ones(boxes.shape, device=boxes.device)
        for box, weight in ((EYES, options.eyes_weight), (MOUTH, options.mouth_weight)):
            importance = torch.where(boxes == box, weight, importance)
        return importance[:, None]

    def _figures(self, batch: Batch, outputs: Outputs) -> dict[str, float]:
        """L1 and SSIM of the frame and of the still source, L1 in the boxes around mouth and eyes."""
        truth = planes(batch["target"])
        row: dict[str, float] = {}
        for prefix, picture in (("", outputs["frame"].float()), ("source_", planes(batch["source"]))):
            error = (picture - truth).abs().mean(dim=1)
            row[f"{prefix}l1"] = error.mean().item()
            row[f"{prefix}ssim"] = ssim_map(picture, truth).mean().item()
            for region, box in (("mouth", MOUTH), ("eyes", EYES)):
                row[f"{prefix}{region}_l1"] = error[batch["boxes"] == box].mean().item()
        return row
