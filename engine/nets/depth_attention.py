"""Attention in which the source's depth asks and the moved appearance answers. DaGAN (2022), section 3.3."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.precision import full_precision, widened

QUERIES_AT_ONCE = 512
"""The attention of 4096 positions to each other is 64 MB in float32; so many rows of it are made at a time."""


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(B, V, N): for every position i the values, weighted by softmax over j of q_i . k_j, unscaled.

    queries: (B, Q, N). keys: (B, Q, M). values: (B, V, M). In float32 at least; the whole (N, M) map is never held.
    """
    with full_precision(queries):
        asked, keys, rows = widened(queries).transpose(1, 2), widened(keys), widened(values).transpose(1, 2)
        answers = [
            torch.matmul(torch.softmax(torch.matmul(some, keys), dim=-1), rows)
            for some in torch.split(asked, QUERIES_AT_ONCE, dim=1)
        ]
        return torch.cat(answers, dim=1).transpose(1, 2)


class DepthAttention(nn.Module):
    """Queries of the source's depth, computed once, and what every frame's appearance answers to them.

    Where it differs from attention as usual: ReLU on queries, keys and values, logits that are not scaled.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 8:
            raise ValueError(f"channels: at least 8, the queries have an eighth of them; got {channels}")
        self.query_conv = nn.Conv2d(channels, channels // 8, 1)
        self.key_conv = nn.Conv2d(channels, channels // 8, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def queries(self, depth: Tensor) -> Tensor:
        """(B, C / 8, h w), rows of the map after each other. depth: (B, C, h, w) features of the source's disparity."""
        return functional.relu(self.query_conv(depth)).flatten(2)

    def forward(self, queries: Tensor, appearance: Tensor) -> Tensor:
        """(B, C, h, w) the appearance, and gamma times what it answers. appearance: (B, C, h, w), moved."""
        keys = functional.relu(self.key_conv(appearance)).flatten(2)
        values = functional.relu(self.value_conv(appearance)).flatten(2)
        answered = attend(queries, keys, values).view(appearance.shape).to(appearance.dtype)
        return self.gamma * answered + appearance
