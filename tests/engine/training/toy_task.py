"""A small real task: a convolutional network learns a fixed filter from examples, with a discriminator if asked to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from engine.nets.pictures import planes
from engine.training.task import TrainingTask


@dataclass(frozen=True)
class ToyOptions:
    width: int = 8
    adversarial: bool = False
    bad_step: int = -1
    "The samples of this step are not finite (every step from it on, if `bad_forever`)."
    bad_forever: bool = False


class Patterns:
    """Random pictures, and the same blurred and inverted."""

    def __init__(self, size: int) -> None:
        self._size = size

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        source = rng.integers(0, 256, (size, self._size, self._size, 3), dtype=np.uint8)
        padded = np.pad(source.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        blurred = (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4
        return {"source": source, "truth": (255 - blurred).astype(np.uint8)}


class ToyTask(TrainingTask):
    name = "toy"

    def __init__(self, recipe, data) -> None:
        super().__init__(recipe, data)
        self.options = recipe.options_as(ToyOptions)
        width = self.options.width
        self.network = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1)
        )
        self.judge = nn.Sequential(nn.Conv2d(3, 4, 4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 1))
        self.steps_seen = 0

    def networks(self):
        return {"painter": self.network}

    def discriminators(self):
        return {"judge": self.judge} if self.options.adversarial else {}

    def samples(self, stage):
        return Patterns(stage.size)

    def forward(self, batch):
        return {"rendered": self.network(planes(batch["source"]))}

    def generator_terms(self, batch, outputs, weights):
        rendered = outputs["rendered"]
        terms = {"l1": (rendered - planes(batch["truth"])).abs().mean()}
        if self.options.adversarial:
            terms["gan"] = ((self.judge(rendered) - 1) ** 2).mean()
        step = self.steps_seen
        self.steps_seen += 1
        if step == self.options.bad_step or (self.options.bad_forever and step > self.options.bad_step):
            terms["l1"] = terms["l1"] * float("nan")
        return terms

    def discriminator_terms(self, batch, outputs):
        real, fake = self.judge(planes(batch["truth"])), self.judge(outputs["rendered"])
        return {"real": ((real - 1) ** 2).mean(), "fake": (fake**2).mean()}

    def sheet(self, batch, outputs):
        rows = torch.cat([planes(batch["truth"]), outputs["rendered"].clamp(0, 1)], dim=2)
        return (rows[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()

    def validate(self, stage):
        arrays = Patterns(stage.size).batch(np.random.default_rng(99), 8)
        rendered = self.network(planes(torch.from_numpy(arrays["source"])))
        return {"l1": float((rendered - planes(torch.from_numpy(arrays["truth"]))).abs().mean())}
