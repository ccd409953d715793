"""Rhythmic Head Motion's facial expression learner (ECCV 2020, supplement, A.2): what a voice does to a face.

From raw voice around a frame and the coefficients of the face at rest to those in that frame. The state-dict layout is
that of the published file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

COEFFICIENTS = 20
"Of the basis in which faces are described."
SLOPE = 0.3
KERNEL = 21
_WIDTHS = (64, 64, 128, 128, 256, 256, 512)


@dataclass(frozen=True)
class ExpressionConfig:
    """What is variable; the defaults are the published learner's."""

    samples: int = 14_000
    "Around a frame: seven chunks of 40 ms at 50 kHz."
    divisor: int = 1
    "Of all widths."
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.divisor <= 16:
            raise ValueError(f"divisor: expected 1 to 16, got {self.divisor}")
        if self.length < 1:
            raise ValueError(f"samples: {self.samples} are fewer than seven convolutions need")

    @property
    def length(self) -> int:
        """Of the last map."""
        length = self.samples
        for _ in _WIDTHS:
            length = (length - KERNEL) // 2 + 1
        return length


class ExpressionLearner(nn.Module):
    """The learner. (The published code leaves its dropout on while it is used; here eval mode is without.)"""

    def __init__(self, config: ExpressionConfig = ExpressionConfig()) -> None:
        super().__init__()
        self.config = config
        widths = [1, *(width // config.divisor for width in _WIDTHS)]
        for number, width in enumerate(widths[1:], 1):
            self.add_module(f"conv{number}", nn.Conv1d(widths[number - 1], width, KERNEL, 2))
            self.add_module(f"norm{number}", nn.BatchNorm1d(width))
        hidden = 256 // config.divisor
        self.fc1 = nn.Linear(widths[-1] * config.length, hidden)
        self.lmark_fc1 = nn.Linear(COEFFICIENTS, hidden)
        self.fc2 = nn.Linear(2 * hidden, COEFFICIENTS)

    def forward(self, voice: Tensor, rest: Tensor) -> Tensor:
        """(B, 20) coefficients in a frame. voice: (B, S) around it, in units of 16-bit samples. rest: (B, 20)."""
        x = voice[:, None]
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"norm{number}")(self.get_submodule(f"conv{number}")(x))
            x = self._dropped(functional.leaky_relu(x, SLOPE))
        heard = functional.leaky_relu(self.fc1(x.flatten(1)), SLOPE)
        seen = self._dropped(functional.leaky_relu(self.lmark_fc1(rest), SLOPE))
        coefficients: Tensor = self.fc2(torch.cat((heard, seen), dim=1))
        return coefficients

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.config.dropout, self.training)
