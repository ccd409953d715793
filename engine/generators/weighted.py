"""What generators have in common whose weights are trained or imported by the user: their file, and the checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import POINTS
from engine.generators.base import GeneratorError
from engine.generators.neural import Half, NeuralGenerator
from engine.weights import WeightsError, graph_name, graph_path, weights_path
from engine.weights.stored_header import StoredHeader, read_header

LoadedT = TypeVar("LoadedT")


class WeightedGenerator(NeuralGenerator):
    """A generator for square frames of `size` pixels with a file of weights; none are shipped."""

    def __init__(self, size: int, weights: Path | None = None) -> None:
        """weights: a file; without, that of `engine.weights`. The exported networks are beside it.

        Raises WeightsError where there is none, GeneratorError for a size that is not among `sizes`.
        """
        if size not in self.sizes:
            raise GeneratorError(f"generator {self.name}: no size {size}; it renders {', '.join(map(str, self.sizes))}")
        super().__init__(size)
        self._own_weights = weights
        self._weights = weights or weights_path(self.name)

    def graph_path(self, half: Half) -> Path:
        if self._own_weights is None:
            return graph_path(self.name, half, self.size)
        path = self._own_weights.with_name(graph_name(half, self.size))
        if not path.is_file():
            raise WeightsError(f"no exported network at {path}: export it there, or use runtime torch")
        return path

    def stored_header(self) -> StoredHeader:
        """What the file says of itself: needs no torch. Raises WeightsError for one that cannot be read."""
        try:
            return read_header(self._weights)
        except OSError as error:
            raise WeightsError(f"generator {self.name}: cannot read its weights ({error})") from error

    def loaded(self, load: Callable[[], LoadedT]) -> LoadedT:
        """What `load`, which imports torch's side, makes of the file. Raises GeneratorError without torch, WeightsError
        for weights that are not what the network wants."""
        try:
            from engine.nets.stored_weights import LayoutError
        except ImportError as error:
            raise GeneratorError(
                "torch is not installed: pip install 'visavis[torch]', or choose another runtime"
            ) from error
        try:
            return load()
        except LayoutError as error:
            raise WeightsError(f"generator {self.name}: {error}") from error

    def require_frames(self, frames: NDArray[np.uint8]) -> None:
        """Raises GeneratorError for anything but (B, size, size, 3) uint8."""
        size = self.size
        if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
            raise GeneratorError(f"frames: expected (B, {size}, {size}, 3) uint8, got {frames.shape} {frames.dtype}")

    def require_landmarks(self, landmarks: NDArray[np.float32], batch: int) -> None:
        """Raises GeneratorError for anything but (batch, 478, 3) finite."""
        if landmarks.shape != (batch, POINTS, 3) or not np.isfinite(landmarks).all():
            raise GeneratorError(f"landmarks: expected ({batch}, {POINTS}, 3) finite, got {landmarks.shape}")
