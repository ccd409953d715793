"""The interface of generators that are driven by keypoints, which a network of their own finds where the camera is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.generators.base import GeneratorError, Identity, Tensors
from engine.generators.neural import Network, NeuralGenerator
from engine.keypoint_motion import Transferred
from engine.motion import Keypoints

Detector = Callable[[NDArray[np.uint8]], list[Keypoints]]
"""(B, size, size, 3) RGB to the keypoints of each; time 0, confidence 1."""


class KeypointGenerator(NeuralGenerator):
    """A generator with a third half, `detect`, that the sender runs: keypoints and renderer belong together.

    Identity tensors, besides a generator's own: `source_points` (B, K, 2) and `source_jacobians` (B, K, 2, 2). Motion
    tensors: `points` (B, K, 2), the source's keypoints moved, and `matrices` (B, K, 2, 2), what leads from the moved
    local frames back to the source's.
    """

    @property
    @abstractmethod
    def keypoint_count(self) -> int:
        """K."""

    @property
    @abstractmethod
    def digest(self) -> bytes:
        """(8 bytes) of the weights: keypoints mean nothing to others."""

    def detect_with(self, network: Network, frames: NDArray[np.uint8]) -> list[Keypoints]:
        """`detect`, by the network of this half."""
        size = self.size
        if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
            raise GeneratorError(f"frames: expected (B, {size}, {size}, 3) uint8, got {frames.shape} {frames.dtype}")
        found = network({"frames": frames})
        return [_keypoints(*both) for both in zip(found["points"], found["jacobians"], strict=True)]

    def detect(self, frames: NDArray[np.uint8]) -> list[Keypoints]:
        """The keypoints of (B, size, size, 3) RGB frames; time 0, confidence 1."""
        return self.detect_with(self._reference["detect"], frames)

    def source_keypoints(self, identity: Identity) -> Keypoints:
        """Those of a source, which its identity (of batch 1) holds."""
        return _keypoints(identity["source_points"][0], identity["source_jacobians"][0])

    def motion(self, moved: Transferred) -> Tensors:
        """What `render` wants to know for one frame: arrays with batch 1."""
        return {"points": moved.points[None].astype(np.float32), "matrices": moved.matrices[None].astype(np.float32)}


def _keypoints(points: NDArray[Any], jacobians: NDArray[Any]) -> Keypoints:
    try:
        return Keypoints(points, jacobians)
    except ValueError as error:
        raise GeneratorError(f"the keypoint detector found nothing usable: {error}; are these its weights?") from error
