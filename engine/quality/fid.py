"""FID: distance between the distributions of rendered and true frames in the features of an Inception network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.quality.errors import MetricUnavailableError
from engine.quality.image import Picture

_GET = (
    "a TorchScript file of the Inception v3 of 2015 that takes (N, 3, H, W) RGB, 0 to 255, and returns (N, D) "
    "features, such as inception-2015-12-05.pt, published with StyleGAN"
)


class InceptionFeatures:
    """A feature network in a TorchScript file. Such a file is a program: load only one whose origin you trust."""

    def __init__(self, path: Path | None) -> None:
        """Raises MetricUnavailableError without the file or torch."""
        if path is None:
            raise MetricUnavailableError(f"FID needs the weights of an Inception network, not shipped: name {_GET}")
        if not path.is_file():
            raise MetricUnavailableError(f"{path}: no such file; FID needs {_GET}")
        try:
            import torch
        except ImportError as error:
            raise MetricUnavailableError("FID needs torch: pip install 'visavis[bench]'") from error
        try:
            self._network: Any = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise MetricUnavailableError(f"{path}: not TorchScript; FID needs {_GET}") from error
        # Published exports end in class scores unless they are told otherwise.
        arguments = {argument.name for argument in self._network.forward.schema.arguments}
        self._options = {"return_features": True} if "return_features" in arguments else {}

    def __call__(self, frame: Picture) -> NDArray[np.float64]:
        """(D,) the features of a frame (H, W, 3)."""
        import torch

        with torch.inference_mode():
            picture = torch.from_numpy(np.ascontiguousarray(np.moveaxis(frame, 2, 0)[None])).float()
            features = self._network(picture, **self._options)
        return np.asarray(features.numpy(), np.float64).reshape(-1)


class FeatureDistribution:
    """Mean and covariance of features, gathered one by one."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Any = 0.0
        self._products: Any = 0.0

    def add(self, features: NDArray[np.float64]) -> None:
        """features: (D,)"""
        self.count += 1
        self._sum = self._sum + features
        self._products = self._products + np.outer(features, features)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(D,) mean and (D, D) covariance. Raises ValueError below two samples."""
        if self.count < 2:
            raise ValueError(f"a distribution of {self.count} frames has no covariance; at least 2 are needed")
        mean = self._sum / self.count
        return mean, (self._products - self.count * np.outer(mean, mean)) / (self.count - 1)


def frechet_distance(rendered: FeatureDistribution, truth: FeatureDistribution) -> float:
    """FID of Heusel et al. (2017), Eq. 6: the Fréchet distance of two normal distributions, 0 for equal ones.

    Below about as many samples as there are features (2048) the value is biased upwards: compare equal counts only.
    """
    mean, covariance = rendered.moments()
    true_mean, true_covariance = truth.moments()
    # tr((A B)^1/2) is the sum of the roots of the eigenvalues of A^1/2 B A^1/2, which is symmetric.
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ true_covariance @ root)
    cross = np.sqrt(np.maximum(mixed, 0.0)).sum()
    difference = float(np.square(mean - true_mean).sum())
    return difference + float(np.trace(covariance) + np.trace(true_covariance) - 2.0 * cross)
