"""Fill what is not known of a picture smoothly from what is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def fill(image: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, C) `image` with the pixels of weight 0 replaced by an average of the known ones around them.

    known: (H, W) weights from 0 to 1; pixels between keep that share of their own colour. The average widens with the
    distance to what is known (pull-push over a pyramid). Without any known pixel the result is 0.
    """
    known = np.clip(known, 0.0, 1.0).astype(np.float32)
    return _fill(image.astype(np.float32) * known[..., None], known)


def _fill(weighted: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = known.shape
    colour = weighted / np.maximum(known, 1e-6)[..., None]
    if min(height, width) <= 2 or known.min() >= 1.0:
        return colour.astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse_known = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(weighted, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1)
    # Half known is known well enough for a coarse pixel: only what nothing around it tells comes from coarser levels.
    gain = np.minimum(1.0, 2.0 * coarse_known) / np.maximum(coarse_known, 1e-6)
    filled = _fill(coarse * gain[..., None], coarse_known * gain)
    up = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    return (weighted + (1.0 - known)[..., None] * up).astype(np.float32)
