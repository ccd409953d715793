"""Training of the First Order Motion Model (NeurIPS 2019), in the published widths or narrower."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.nets.first_order import IMAGE_CHANNELS, FirstOrderModel
from engine.nets.first_order_weights import load_model, model_metadata
from engine.nets.local_frames import frame_change
from engine.training.warp_task import Rendered, WarpOptions, WarpTask, parted


class FirstOrderTask(WarpTask):
    """See `WarpTask`."""

    name: ClassVar[str] = "fomm"
    _model: FirstOrderModel

    def build(self, options: WarpOptions) -> FirstOrderModel:
        return FirstOrderModel(options.config(IMAGE_CHANNELS))

    def render(self, source: Tensor, driving: Tensor, twin: Tensor | None) -> Rendered:
        pictures = [source, driving] if twin is None else [source, driving, twin]
        found = parted(self._model.detect(torch.cat(pictures)), len(pictures))
        generator = self._model.generator
        frame = generator.render(
            generator.encode(source, found[0].points),
            found[1].points,
            frame_change(found[0].jacobians, found[1].jacobians),
        )
        return Rendered(frame, found[0], found[1], found[2] if twin is not None else None)

    def metadata(self) -> dict[str, str]:
        return model_metadata(self._model.config)

    def loaded(self, path: Path) -> nn.Module:
        return load_model(path)
