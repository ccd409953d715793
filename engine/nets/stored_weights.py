"""Weights of a network in a file (safetensors), what the file says of them, and networks made of such weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

COUNTER = "num_batches_tracked"
"Of batch norm in training; no state of the network."
TASK_KEY, CONFIG_KEY = "task", "config"
"Of the metadata: what the weights are for, and the fields of the network's configuration as JSON."

NetworkT = TypeVar("NetworkT", bound=nn.Module)
ConfigT = TypeVar("ConfigT")


class LayoutError(ValueError):
    """Weights that are not what the network wants; the message names the first keys that differ."""


def save_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str], half: bool = False) -> None:
    """Write tensors under their keys, batch norm's counters left out; `half` stores matrices and kernels as float16.

    The file appears whole or not at all. Raises OSError where it cannot be written.
    """
    stored = {
        key: (value.half() if half and value.ndim > 1 else value).contiguous().cpu()
        for key, value in state.items()
        if not key.endswith(COUNTER)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        try:
            save_file(stored, unfinished, metadata=dict(metadata))
        except SafetensorError as error:  # which is what a full disk raises, too
            raise OSError(f"{path}: not written ({error})") from error
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and its metadata. Raises LayoutError for a file of another kind or a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is not a mapping)
            return state, dict(file.metadata() or {})
    except SafetensorError as error:
        raise LayoutError(f"{path}: not a safetensors file ({error})") from error


def network_with(build: Callable[[], NetworkT], state: Mapping[str, Tensor]) -> NetworkT:
    """A network with these weights, in float32 and eval mode.

    build: makes the network; called on torch's meta device, which costs neither memory nor time. Raises LayoutError if
    a key is missing, unknown or of another shape; only batch norm's counters may be absent.
    """
    with torch.device("meta"):
        network = build()
    check_layout(network, state)
    given = {key: value.to(torch.float32) for key, value in state.items() if not key.endswith(COUNTER)}
    network = network.to_empty(device="cpu")
    counters = {key: torch.zeros_like(value) for key, value in network.state_dict().items() if key.endswith(COUNTER)}
    network.load_state_dict({**counters, **given})
    return network.eval()


def check_layout(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raises LayoutError, naming keys, if `state` has not all keys and shapes of the network; counters do not count."""
    wanted = {key: value.shape for key, value in network.state_dict().items() if not key.endswith(COUNTER)}
    given = {key: value for key, value in state.items() if not key.endswith(COUNTER)}
    for kind, keys in (("missing", wanted.keys() - given.keys()), ("unknown", given.keys() - wanted.keys())):
        if keys:
            raise LayoutError(f"{len(keys)} {kind} keys: {', '.join(sorted(keys)[:4])}")
    for key, shape in wanted.items():
        if given[key].shape != shape:
            raise LayoutError(f"{key}: expected {tuple(shape)}, got {tuple(given[key].shape)}")


def config_from_json(kind: type[ConfigT], text: str) -> ConfigT:
    """The configuration whose `json.dumps(asdict(config))` is `text`, other such dataclasses in it included.

    Raises ValueError for JSON that is damaged, of another configuration or of values that the configuration refuses.
    """
    content = json.loads(text)
    try:
        return cast(ConfigT, _rebuilt(kind, content))
    except TypeError as error:
        raise ValueError(f"not a configuration of {kind.__name__}: {error}") from error


def task_metadata(task: str, config: Any) -> dict[str, str]:
    """The metadata that `load_configured` goes by. config: a frozen dataclass of numbers, names and other such ones."""
    return {TASK_KEY: task, CONFIG_KEY: json.dumps(asdict(config))}


def load_configured(
    path: Path, task: str, kind: type[ConfigT], build: Callable[[ConfigT], NetworkT]
) -> tuple[NetworkT, dict[str, str]]:
    """The network of a file that was written with `task_metadata`, in float32 and eval mode, and the metadata.

    kind: of the configuration that `build` makes a network of. Raises LayoutError for a file of another task or none.
    """
    state, metadata = read_state(path)
    if metadata.get(TASK_KEY) != task or CONFIG_KEY not in metadata:
        raise LayoutError(f"{path}: weights of {metadata.get(TASK_KEY, 'something unknown')}, not of {task}")
    try:
        config = config_from_json(kind, metadata[CONFIG_KEY])
        return network_with(lambda: build(config), state), metadata
    except ValueError as error:
        raise LayoutError(f"{path}: {error}") from error


def _rebuilt(kind: Any, content: Any) -> Any:
    if not isinstance(content, dict):
        raise TypeError(f"expected an object, got {type(content).__name__}")
    types = get_type_hints(kind)
    nested = {field.name for field in fields(kind) if is_dataclass(types[field.name])}
    return kind(**{name: _rebuilt(types[name], value) if name in nested else value for name, value in content.items()})
