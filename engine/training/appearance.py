"""How far a rendered picture is from the true one, without weights, over a pyramid of sizes.

L1, gradients and SSIM, which all prefer a soft picture to a sharp one that is half a pixel off; and the difference of
contrast, which does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from engine.training.ssim import Window, box_means, ssim_map, window_means

TERMS = ("l1", "gradient", "ssim", "contrast")
Perceptual = Callable[[Tensor, Tensor], Tensor]
"Rendered and true pictures (N, 3, H, W) in [0, 1] to a scalar; see `engine.training.perceptual`."


@dataclass(frozen=True)
class AppearanceConfig:
    """What the terms look at."""

    scales: int = 3
    "Sizes: the whole, half, quarter, ..."
    window: Window = "box"
    "Of SSIM."


class AppearanceLoss:
    """The terms `l1`, `gradient`, `ssim`, `contrast`, and `perceptual` where VGG19 is there; each 0 for equal pictures.

    `l1` is the mean absolute difference, `gradient` that of the differences between neighbouring pixels, `ssim` is
    1 - SSIM, `contrast` the mean absolute difference of `local_contrast`; means over the sizes of the pyramid.
    `perceptual` is what is given, as FOMM's `PerceptualLoss`. Without VGG19 the others have to do; give them weights
    that suffice alone.
    """

    def __init__(self, config: AppearanceConfig = AppearanceConfig(), perceptual: Perceptual | None = None) -> None:
        self._config = config
        self._perceptual = perceptual

    def terms(
        self,
        rendered: Tensor,
        truth: Tensor,
        weights: Mapping[str, float],
        importance: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The terms whose weight is not 0, unweighted.

        rendered, truth: (N, 3, H, W) in [0, 1]. importance: (N, 1, H, W), how much each pixel counts in all terms but
        `perceptual`, e.g. more around mouth and eyes; its scale does not matter.
        """
        wanted = {name for name in TERMS if weights.get(name, 0.0) != 0.0}
        sums: dict[str, Tensor] = {}
        a, b, counts = rendered.float(), truth.float(), None if importance is None else importance.float()
        for scale in range(self._config.scales if wanted else 0):
            if scale:
                a, b = functional.avg_pool2d(a, 2), functional.avg_pool2d(b, 2)
                counts = None if counts is None else functional.avg_pool2d(counts, 2)
            for name in sorted(wanted):
                term = self._term(name, a, b, counts) / self._config.scales
                sums[name] = sums[name] + term if name in sums else term
        if self._perceptual is not None and weights.get("perceptual", 0.0) != 0.0:
            sums["perceptual"] = self._perceptual(rendered, truth)
        return sums

    def _term(self, name: str, a: Tensor, b: Tensor, importance: Tensor | None) -> Tensor:
        if name == "l1":
            return weighted_mean((a - b).abs(), importance)
        if name == "gradient":
            error = a - b
            across = (error[..., :, 1:] - error[..., :, :-1]).abs()
            down = (error[..., 1:, :] - error[..., :-1, :]).abs()
            right, lower = (None, None) if importance is None else (importance[..., :, 1:], importance[..., 1:, :])
            return weighted_mean(across, right) + weighted_mean(down, lower)
        window = self._config.window
        if name == "contrast":
            errors = (local_contrast(a, window) - local_contrast(b, window)).abs()
        else:
            errors = 1.0 - ssim_map(a, b, window)
        return weighted_mean(errors, None if importance is None else window_means(importance, window))


def local_contrast(pictures: Tensor, window: Window) -> Tensor:
    """How much detail (N, C, H, W) have, wherever exactly it lies: by window, the mean difference from a 5x5 mean."""
    detail = (pictures - box_means(functional.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5)).abs()
    return window_means(detail, window)


def weighted_mean(errors: Tensor, importance: Tensor | None) -> Tensor:
    """Mean over all values of (N, C, H, W), each counting as (N, 1, H, W) says where it is given."""
    if importance is None:
        return errors.mean()
    return (errors.mean(dim=1, keepdim=True) * importance).sum() / importance.sum()
