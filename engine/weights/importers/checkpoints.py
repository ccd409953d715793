"""What all importers do: read a published pickle without executing anything, and say where weights are from."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from engine.nets.stored_weights import LayoutError

Checkpoint = str | Path | BinaryIO
"A file, or an open one."

_REFUSED = re.compile(
    r"WeightsUnpickler error: ((?:Unsupported (?:global|class)|Trying to call reduce|Can only build)[^.\n]*(?:\.\w+)*)"
)
"What torch says of a pickle that wants more than to be read."
_HARMLESS = (
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    *(f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "Long", "Int", "Byte", "Bool")),
)
"Names that checkpoints of tensors ask for."


def load_tensors(checkpoint: Checkpoint) -> object:
    """The content of a checkpoint, in whichever of torch's formats: tensors, numbers, texts and plain containers.

    Raises LayoutError for a file that is damaged or cut short, and for one that asks for anything else to be made,
    which is code to be executed: it is not. Raises OSError for one that cannot be read.
    """
    name = name_of(checkpoint)
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # what a damaged pickle raises, depends on the byte that it breaks at
        refused = _refused(error)
        if refused is not None:
            raise LayoutError(
                f"{name}: not a checkpoint of tensors alone: it asks for something to be executed ({refused}), "
                "which was not done"
            ) from error
        raise LayoutError(
            f"{name}: not a checkpoint, or a damaged one ({_reason(error)}); "
            "if it is a download, compare its size with the original's"
        ) from error


def state_dict(content: object, what: str, prefix: str = "") -> dict[str, Tensor]:
    """A mapping of names to finite tensors, `prefix` removed from the names wherever it is.

    what: whose weights they are to be, for messages. Raises LayoutError for anything else.
    """
    if not isinstance(content, Mapping) or not content:
        raise LayoutError(f"{what}: no state dict in the file")
    state = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise LayoutError(f"{what}: {key!r} is not a named tensor")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise LayoutError(f"{what}: {key} holds values that are not finite")
        state[key.replace(prefix, "")] = value
    if len(state) < len(content):
        raise LayoutError(f"{what}: names that differ only in {prefix!r}")
    return state


@contextmanager
def named_errors(checkpoint: Checkpoint) -> Iterator[None]:
    """Makes LayoutErrors that name the checkpoint of errors that do not, also of configurations that make no sense."""
    try:
        yield
    except ValueError as error:
        name, message = name_of(checkpoint), str(error)
        if isinstance(error, LayoutError) and message.startswith(name):
            raise
        raise LayoutError(f"{name}: {message}") from error


def origin(generator: str, checkpoints: Sequence[Path], licence: str) -> dict[str, str]:
    """Metadata of weights that were imported: for which generator, names and SHA-256 of the files, in their order, and
    their licence."""
    return {
        "generator": generator,
        "source": ", ".join(path.name for path in checkpoints),
        "sha256": ", ".join(sha256_of(path) for path in checkpoints),
        "licence": licence,
    }


def sha256_of(checkpoint: Path) -> str:
    """The hexadecimal SHA-256 of a file, by which one can tell later which one it was."""
    with open(checkpoint, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(checkpoint: Checkpoint) -> str:
    """What messages call a checkpoint."""
    return str(checkpoint) if isinstance(checkpoint, (str, Path)) else "checkpoint"


def _refused(error: Exception) -> str | None:
    """What a pickle wanted besides being read, None if the error is another one."""
    found = _REFUSED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if found is None:
        return None
    wanted = found[1].rpartition("GLOBAL ")[2].rstrip(".")
    # A file that was cut short in the middle of a name asks for the name's beginning.
    return None if any(name.startswith(wanted) for name in _HARMLESS) else found[1]


def _reason(error: Exception) -> str:
    """One line of an error; of torch's long ones the line that says what is wrong, not how to load it all the same."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = [line for line in lines if "WeightsUnpickler error" in line]
    return (found or lines or [type(error).__name__])[0].split(". ")[0]
