"""Training of DaGAN (CVPR 2022), in the published widths or narrower, around a depth network that is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.dagan_weights import load_depth, load_model, model_metadata
from engine.nets.face_depth import FaceDepthConfig
from engine.nets.first_order import IMAGE_CHANNELS
from engine.nets.local_frames import frame_change
from engine.nets.stored_weights import LayoutError
from engine.training.keypoint_distance import crowding
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError
from engine.training.warp_task import Rendered, WarpOptions, WarpTask, parted


@dataclass(frozen=True)
class DaGANOptions(WarpOptions):
    """The recipe's table [options]."""

    keypoints: int = 15
    depth: Path | None = None
    "Weights of the depth network (recipe face-depth). None: they come with the weights that the run begins with."
    depth_width: int = 16
    "Of the depth network, where no file says it: 64 in published weights."


class DaGANTask(WarpTask):
    """Also a term: `crowding`, of source's and driving keypoints, see `engine.training.keypoint_distance`.

    The depth network is not trained.
    """

    name: ClassVar[str] = "dagan"
    options_type: ClassVar[type[WarpOptions]] = DaGANOptions
    _model: DaGANModel

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        self._model.depth.requires_grad_(False)

    def build(self, options: WarpOptions) -> DaGANModel:
        assert isinstance(options, DaGANOptions)
        if options.depth is None:
            depth = FaceDepthConfig(width=options.depth_width)
            return DaGANModel(DaGANConfig(options.config(IMAGE_CHANNELS + 1), depth))
        try:
            trained = load_depth(options.depth)
        except (LayoutError, OSError) as error:
            raise RecipeError(f"options: depth: {error}; train one: visavis train face-depth") from error
        model = DaGANModel(DaGANConfig(options.config(IMAGE_CHANNELS + 1), trained.config))
        model.depth.load_state_dict(trained.state_dict())
        return model

    def samples(self, stage: Stage) -> SampleSource:
        """Raises TrainingError also where the depth network has never been trained."""
        seen = self._model.depth.depth_encoder.encoder.bn1.running_mean
        if seen is None or not seen.any():
            raise TrainingError(
                "dagan needs a depth network that is trained: train one with `visavis train face-depth`, and name its "
                "weights as depth in the recipe's [options]; or begin with --weights that have one"
            )
        return super().samples(stage)

    def render(self, source: Tensor, driving: Tensor, twin: Tensor | None) -> Rendered:
        self._model.depth.eval()  # the loop puts whole models into training
        pictures = [source, driving] if twin is None else [source, driving, twin]
        keypoints, disparities = self._model.detect(torch.cat(pictures))
        found = parted(keypoints, len(pictures))
        generator = self._model.generator
        frame = generator.render(
            generator.encode_with_depth(source, disparities[: len(source)], found[0].points),
            found[1].points,
            frame_change(found[0].jacobians, found[1].jacobians),
        )
        return Rendered(frame, found[0], found[1], found[2] if twin is not None else None)

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        terms = super().generator_terms(batch, outputs, weights)
        if weights.get("crowding", 0.0) != 0.0:
            terms["crowding"] = crowding(outputs["points"]) + crowding(outputs["source_points"])
        return terms

    def metadata(self) -> dict[str, str]:
        return model_metadata(self._model.config)

    def loaded(self, path: Path) -> nn.Module:
        return load_model(path)
