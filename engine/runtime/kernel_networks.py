"""Networks with our kernels in them: equals of the published ones in which one kernel does what took several steps."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from engine.nets.adaat import AdaAT
from engine.nets.dagan import DaGANGenerator, DaGANSource
from engine.nets.first_order import FeatureWarp, FirstOrderGenerator, FirstOrderSource
from engine.runtime.kernel_operators import affine_sample, dense_motion


class KernelAdaAT(AdaAT):
    """The operator without its grids: a kernel computes where each channel's pixels are."""

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        return cast(Tensor, affine_sample(features, *self.transforms(code), self.align_corners, self.blend))


class KernelFirstOrderGenerator(FirstOrderGenerator):
    """From the motion network's logits to the moved features in one pass."""

    def render(self, source: FirstOrderSource, points: Tensor, matrices: Tensor) -> Tensor:
        return self.enlarge(self.bottleneck(moved_features(self, source, points, matrices)))


class KernelDaGANGenerator(DaGANGenerator):
    """The same, before the attention."""

    def render(self, source: DaGANSource, points: Tensor, matrices: Tensor) -> Tensor:
        kept = moved_features(self, FirstOrderSource(source.features, source.view), points, matrices)
        return self.enlarge(self.bottleneck(self.AttnModule(source.queries, kept)))


TWINS: dict[type[nn.Module], type[nn.Module]] = {
    AdaAT: KernelAdaAT,
    FirstOrderGenerator: KernelFirstOrderGenerator,
    DaGANGenerator: KernelDaGANGenerator,
}
"DaGAN's SPADE decoder also looks at the flow itself, which the kernel does not give out: it keeps the steps."


def use_kernels(module: nn.Module) -> None:
    """Turn the parts of a module that have a twin into it, with the weights that they have."""
    for part in module.modules():
        if type(part) in TWINS:
            part.__class__ = TWINS[type(part)]


def moved_features(generator: FeatureWarp, source: FirstOrderSource, points: Tensor, matrices: Tensor) -> Tensor:
    """(B, C, h, w) what `FeatureWarp.move` calls `kept`; arguments as there."""
    network = generator.dense_motion_network
    _, seen = network.see(source.view, points, matrices)
    features = network.hourglass(seen)
    return cast(
        Tensor,
        dense_motion(
            source.features,
            network.mask(features),
            None if network.occlusion is None else network.occlusion(features),
            source.view.points,
            points,
            matrices,
            generator.config.align_corners,
        ),
    )
