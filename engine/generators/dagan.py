"""DaGAN (CVPR 2022) as published: keypoints found in colour and depth, and attention by the source's depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engine.generators.neural import Half, TensorSpec
from engine.generators.warp import WarpGenerator

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.dagan import DaGANModel


class DaGANGenerator(WarpGenerator):
    """See `WarpGenerator`. Identity tensors also: `queries` (B, C / 8, h w), by which the source's depth asks; with the
    SPADE decoder `frames` (B, S, S, 3) uint8, the source itself."""

    name: ClassVar[str] = "dagan"
    task: ClassVar[str] = "dagan"

    def warp_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        warp: Mapping[str, Any] = config["warp"]
        return warp

    def extra_identity(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        channels, height, width = self._feature_map
        return (TensorSpec("queries", (channels // 8, height * width), np.float32),)

    def source_pictures(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        if config["decoder"] != "spade":
            return ()
        return (TensorSpec("frames", (self.size, self.size, 3), np.uint8),)

    def build(self) -> DaGANModel:
        from engine.nets.dagan_weights import load_model

        return load_model(self._weights)

    def halves(self, model: DaGANModel) -> Mapping[Half, nn.Module]:
        from engine.nets.dagan import DetectHalf, EncodeHalf, RenderHalf

        return {"detect": DetectHalf(model), "encode": EncodeHalf(model), "render": RenderHalf(model)}
