"""A running mean of the weights: smoother than the weights themselves, and what is shown and shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningMean:
    """Exponential moving average of all parameters and floating-point buffers of some networks.

    In the first steps the mean is over fewer of them, min(decay, (1 + n) / (10 + n)), so that the weights that the
    training began with are soon forgotten. Counters among the buffers are taken over as they are.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._own = {
            f"{part}.{key}": value.detach()
            for part, network in networks.items()
            for key, value in network.state_dict().items()
        }
        self._mean = {key: value.clone() for key, value in self._own.items()}
        self._floating = [key for key, value in self._own.items() if value.is_floating_point()]
        self._counters = [key for key, value in self._own.items() if not value.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move the mean towards the weights as they are now."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        means = [self._mean[key] for key in self._floating]
        torch._foreach_lerp_(means, [self._own[key] for key in self._floating], 1.0 - decay)
        for key in self._counters:
            self._mean[key].copy_(self._own[key])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The networks have the mean for weights inside."""
        kept = {key: value.clone() for key, value in self._own.items()}
        self._fill(self._mean)
        try:
            yield
        finally:
            self._fill(kept)

    def state_dict(self) -> dict[str, Tensor | int]:
        """For a checkpoint."""
        return {**self._mean, "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Take over what `state_dict` gave. Raises KeyError where it belongs to other networks."""
        updates = state["updates"]
        assert isinstance(updates, int)
        self._updates = updates
        for key, value in self._mean.items():
            stored = state[key]
            assert isinstance(stored, Tensor)
            value.copy_(stored)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for key, value in self._own.items():
            value.copy_(values[key])
