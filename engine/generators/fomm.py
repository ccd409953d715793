"""First Order Motion Model (NeurIPS 2019) as published: features of the source, moved by a flow from keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from engine.generators.neural import Half
from engine.generators.warp import WarpGenerator

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.first_order import FirstOrderModel


class FOMMGenerator(WarpGenerator):
    """See `WarpGenerator`."""

    name: ClassVar[str] = "fomm"
    task: ClassVar[str] = "first-order"

    def warp_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    def build(self) -> FirstOrderModel:
        from engine.nets.first_order_weights import load_model

        return load_model(self._weights)

    def halves(self, model: FirstOrderModel) -> Mapping[Half, nn.Module]:
        from engine.nets.first_order import DetectHalf, EncodeHalf, RenderHalf

        return {"detect": DetectHalf(model), "encode": EncodeHalf(model), "render": RenderHalf(model)}
