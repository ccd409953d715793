"""What a generator brings to be trained: its networks, samples, loss terms and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.nets.stored_weights import COUNTER
from engine.training.recipe import Recipe, RecipeError, Stage

ENTRY_POINT = "visavis.training"

Batch = Mapping[str, Tensor]
"What a `SampleSource` made, on the training device."
Outputs = dict[str, Tensor]
Terms = dict[str, Tensor]
"Scalars by name, not yet weighted."


class TrainingError(RuntimeError):
    """A training run cannot start or go on; the message says why and what to change."""


class SampleSource(Protocol):
    """Makes training samples. Lives in processes of its own: what is large should be a memory-mapped file."""

    def batch(self, rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
        """`size` samples as arrays, batch first, that depend on `rng` alone. Pictures are best left uint8, NHWC."""


class TrainingTask(ABC):
    """A generator as the loop sees it. Networks keep running means (EMA); what is shown and written is made of these.

    `device` is set, and the networks are there, before anything but `networks` and `discriminators` is called.
    """

    name: ClassVar[str]
    "File name of the weights, without its ending."
    device: torch.device = torch.device("cpu")

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        """data: the folder with the clips. Raises RecipeError or TrainingError for what is missing."""
        self.recipe = recipe
        self.data = data

    @abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """What is trained and exported, by name: the same objects at every call."""

    def discriminators(self) -> Mapping[str, nn.Module]:
        """What is trained against the networks and not exported."""
        return {}

    @abstractmethod
    def samples(self, stage: Stage) -> SampleSource:
        """The training samples of a stage."""

    @abstractmethod
    def forward(self, batch: Batch) -> Outputs:
        """Run the networks, once a step; what the terms and the sheet need."""

    @abstractmethod
    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        """The terms that the networks make small. The loop weights and adds them.

        weights: of the present stage; a term of weight 0 need not be computed.
        """

    def discriminator_terms(self, batch: Batch, outputs: Outputs) -> Terms:
        """The terms that the discriminators make small, added as they are. outputs: without gradient."""
        return {}

    def sheet(self, batch: Batch, outputs: Outputs) -> NDArray[np.uint8] | None:
        """A picture (H, W, 3) RGB of how it looks, or None. The same samples each time."""
        return None

    def sheet_samples(self, stage: Stage) -> SampleSource:
        """Where the samples of the sheet come from."""
        return self.samples(stage)

    def validate(self, stage: Stage) -> dict[str, float]:
        """Figures on what was not trained with."""
        return {}

    def export(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write what is shipped, from the weights that are in the networks now. Returns the files."""
        path = folder / f"{self.name}.safetensors"
        write_weights(path, self._state(), metadata)
        return [path]

    def load_weights(self, path: Path) -> None:
        """Begin with weights that `export` wrote. Raises TrainingError where they belong to other networks."""
        try:
            loaded = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{path}: no weights in safetensors format: {error}") from error
        own = self._state()
        # Files of `engine.nets.stored_weights` are without batch norm's counters.
        odd = sorted(key for key in loaded.keys() ^ own.keys() if not key.endswith(COUNTER))
        shared = loaded.keys() & own.keys()
        odd = odd or sorted(key for key in shared if loaded[key].shape != own[key].shape)
        if odd:
            raise TrainingError(
                f"{path}: holds other networks than task {self.name} with these options, e.g. {odd[0]}; "
                "use the recipe that it was trained by"
            )
        for key in shared:
            own[key].copy_(loaded[key])

    def _state(self) -> dict[str, Tensor]:
        """All parameters and buffers of the networks under the names that they are written with."""
        parts = self.networks()
        return {
            key if len(parts) == 1 else f"{part}.{key}": value.detach()
            for part, network in parts.items()
            for key, value in network.state_dict().items()
        }


def load_task(recipe: Recipe, data: Path | None) -> TrainingTask:
    """Make the recipe's task, its networks as the seed says. Raises RecipeError where there is none of that name."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINT)}
    module, _, name = recipe.task.partition(":")
    try:
        kind = getattr(import_module(module), name) if name else points[recipe.task].load()
    except (ImportError, AttributeError, KeyError) as error:
        if isinstance(error, ImportError) and error.name != module:
            raise  # the task is there; something that it needs is not
        raise RecipeError(
            f"no training task is called {recipe.task!r}; there are: {', '.join(sorted(points)) or 'none'}; "
            "one of your own is named module:Class"
        ) from error
    torch.manual_seed(recipe.seed)
    task: TrainingTask = kind(recipe, data)
    return task


def write_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict as safetensors, floats as fp16. Raises TrainingError where one does not fit in fp16."""
    small = {}
    for key, value in state.items():
        value = value.detach().cpu()
        small[key] = value.half().contiguous() if value.is_floating_point() else value.contiguous()
        if value.is_floating_point() and not torch.isfinite(small[key]).all():
            raise TrainingError(f"{key}: is not finite in fp16; the training diverged, begin again with a lower lr")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    save_file(small, str(unfinished), metadata=dict(metadata))
    unfinished.replace(path)
