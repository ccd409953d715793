"""What is not for 16 bits: coordinates, softmax over many positions, statistics."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """`x` in float32 at least."""
    return x if x.dtype.itemsize >= 4 else x.float()


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Autocast off, where it is on for the device of `like`."""
    kind = like.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
