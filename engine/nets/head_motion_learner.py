"""Rhythmic Head Motion's head motion learner (ECCV 2020, supplement, A.1): from a voice, and how somebody moves to his.

An encoder sees a stretch of voice with the head motion that went with it, and predicts the weights of a linear layer:
that layer is how this head moves, and turns the voice that follows to motion. The state-dict layout is that of the
published file's three parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

CHUNKS = 7
"Of voice, a frame long each, around each frame: three before, the frame's own, three after."
MOTION = 6
"Numbers of a head's pose."
SLOPE = 0.3
"Of the leaky ReLUs."
SHORTEST = 13
"Frames that the encoder needs."


@dataclass(frozen=True)
class HeadMotionConfig:
    """What is variable; the defaults are the published learner's."""

    samples: int = 640
    "Of a chunk: 40 ms at 16 kHz."
    divisor: int = 1
    "Of all widths."
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.samples < 5:
            raise ValueError(f"samples: expected at least 5, got {self.samples}")
        if not 1 <= self.divisor <= 8:
            raise ValueError(f"divisor: expected 1 to 8, got {self.divisor}")


class Extrapolator(NamedTuple):
    """How a certain head moves to a voice."""

    weight: Tensor
    "(B, F, 6)"
    bias: Tensor
    "(B, 6)"

    def __call__(self, features: Tensor) -> Tensor:
        """(B, T, F) features of a voice to (B, T, 6) head motion."""
        return features @ self.weight + self.bias[:, None]


class VoiceFeatures(nn.Module):
    """Chunks of voice to features, which also see the two frames before and after."""

    def __init__(self, config: HeadMotionConfig) -> None:
        super().__init__()
        narrow, wide, hidden, features = (width // config.divisor for width in (8, 16, 512, 256))
        self.conv = nn.Sequential(nn.Conv2d(1, narrow, 3), nn.ReLU(), nn.Conv2d(narrow, wide, 3))
        flat = wide * (CHUNKS - 4) * (config.samples - 4)
        self.audio_l = nn.Sequential(
            nn.Conv1d(flat, hidden, 3, padding=1),
            nn.BatchNorm1d(hidden),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(config.dropout),
            nn.Conv1d(hidden, features, 3, padding=1),
            nn.BatchNorm1d(features),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, chunks: Tensor) -> Tensor:
        """(B, T, 7, S) to (B, T, F)."""
        of_frames = self.conv(chunks.flatten(0, 1)[:, None]).flatten(1).unflatten(0, chunks.shape[:2])
        features: Tensor = self.audio_l(of_frames.transpose(1, 2)).transpose(1, 2)
        return features


class MotionEncoder(nn.Module):
    """Head motion, and the features of the voice that it went with, to one embedding."""

    def __init__(self, config: HeadMotionConfig) -> None:
        super().__init__()
        narrow, features, width = (one // config.divisor for one in (128, 256, 512))
        self.l = nn.Sequential(  # (the published name)
            nn.Linear(MOTION, narrow), nn.BatchNorm1d(narrow), nn.LeakyReLU(SLOPE), nn.Linear(narrow, features)
        )
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv1d(width, width, 5, 2), nn.BatchNorm1d(width), nn.LeakyReLU(SLOPE)]
            layers.append(nn.Dropout(config.dropout))
        self.backend_conv1 = nn.Sequential(*layers)

    def forward(self, motion: Tensor, features: Tensor) -> Tensor:
        """(B, T, 6) and (B, T, F) to (B, E). Raises ValueError for fewer than `SHORTEST` frames."""
        if motion.shape[1] < SHORTEST:
            raise ValueError(f"motion: expected at least {SHORTEST} frames, got {motion.shape[1]}")
        moved = self.l(motion.flatten(0, 1)).unflatten(0, motion.shape[:2])
        joined = torch.cat((moved, features), dim=2).transpose(1, 2)
        embedding: Tensor = self.backend_conv1(joined).mean(dim=2)
        return embedding


class WeightPredictor(nn.Module):
    """An embedding to an `Extrapolator`."""

    def __init__(self, config: HeadMotionConfig) -> None:
        super().__init__()
        self._features = 256 // config.divisor
        self.l = nn.Linear(512 // config.divisor, (self._features + 1) * MOTION)

    def forward(self, embedding: Tensor) -> Extrapolator:
        flat = self.l(embedding)
        return Extrapolator(flat[:, :-MOTION].unflatten(1, (self._features, MOTION)), flat[:, -MOTION:])


class HeadMotionLearner(nn.Module):
    """The learner. Motion is normalised: (h - mean) / deviation of what it was trained with."""

    def __init__(self, config: HeadMotionConfig = HeadMotionConfig()) -> None:
        super().__init__()
        self.config = config
        self.encode = MotionEncoder(config)
        self.mid_net = VoiceFeatures(config)
        self.decode = WeightPredictor(config)

    def enrol(self, motion: Tensor, chunks: Tensor) -> Extrapolator:
        """How a head moves, from (B, T, 6) motion and (B, T, 7, S) chunks of the voice beside it; T is 64 as published.

        Raises ValueError for fewer than `SHORTEST` frames.
        """
        extrapolator: Extrapolator = self.decode(self.encode(motion, self.mid_net(chunks)))
        return extrapolator

    def forward(self, known: Tensor, known_chunks: Tensor, chunks: Tensor) -> Tensor:
        """(B, T, 6) motion to the voice (B, T, 7, S), by that known (B, U, 6) to another stretch (B, U, 7, S)."""
        return self.enrol(known, known_chunks)(self.mid_net(chunks))


class MotionDiscriminator(nn.Module):
    """Whether a sequence of head motion is a true one, by its statistics alone."""

    def __init__(self) -> None:
        super().__init__()
        self.l = nn.Linear(4 * MOTION, 1)

    def forward(self, motion: Tensor) -> Tensor:
        """(B, T, 6) to (B,) the logarithm of the odds that it is true."""
        score: Tensor = self.l(motion_statistics(motion))[:, 0]
        return score


def motion_statistics(motion: Tensor) -> Tensor:
    """(B, 24) mean and deviation over time of (B, T, 6), and of its differences from frame to frame."""
    steps = motion.diff(dim=1)
    return torch.cat([part for one in (motion, steps) for part in (one.mean(dim=1), one.std(dim=1))], dim=1)
