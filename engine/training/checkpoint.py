"""Files that a killed run goes on from: complete or not there, whenever the kill comes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from engine.training.task import TrainingError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values. A checkpoint that was there stays until the new one is on the disk."""
    unfinished = path.with_name(path.name + ".part")
    with open(unfinished, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU. Raises TrainingError where there is none."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"{path}: no such file; nothing to resume, start without --resume") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingError(f"{path}: not a checkpoint of a training run: {error}") from error
    return state
