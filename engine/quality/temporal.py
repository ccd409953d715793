"""How a rendered video moves, beside the true one."""

from __future__ import annotations

import numpy as np

from engine.quality.image import Picture, check_pictures


def flicker(previous: Picture, rendered: Picture, previous_truth: Picture, truth: Picture) -> float:
    """Mean absolute difference between the rendered and the true change since the frame before, 0 to 1.

    A video that stands still does not get 0, but the amount of motion that it misses.
    """
    check_pictures(rendered, truth)
    check_pictures(previous, previous_truth)
    change = rendered.astype(np.int16) - previous
    true_change = truth.astype(np.int16) - previous_truth
    return float(np.abs(change - true_change).mean() / 255)
