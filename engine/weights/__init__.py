"""Where the weights and the exported networks of generators are.

A generator's folder holds `<generator>.safetensors` (what trains, or was imported), `<half>_<size>.onnx` (what runs,
made of it by `visavis export`) and `card.md` (data, rights, metrics). Folders are looked for, in this order,

1. in the folder that the environment variable VISAVIS_WEIGHTS names,
2. in the user's: `visavis/weights` in $XDG_DATA_HOME, which is `~/.local/share` where it is not set,
3. beside this file: what ships.

A generator that is found takes nothing from the folders after: weights and networks belong together.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.generators.base import GeneratorError

VARIABLE = "VISAVIS_WEIGHTS"
IMPORTABLE = ("adaat", "dagan", "fomm", "iplap", "lsr", "rhythmic")
"Generators whose published checkpoints `visavis weights import` reads."
CARD = "card.md"

_SHIPPED = Path(__file__).parent
_GRAPH = re.compile(r"(?P<half>\w+)_(?P<size>\d+)\.onnx")


class WeightsError(GeneratorError):
    """A generator's weights or exported network are not there; the message says how to get them."""


def user_folder() -> Path | None:
    """Where the user's own weights go, whether it exists or not; None for a user without a home."""
    data = os.environ.get("XDG_DATA_HOME", "")
    # The standard says to take no notice of a relative one.
    if not os.path.isabs(data):
        data = os.path.expanduser("~/.local/share")
    return Path(data) / "visavis" / "weights" if os.path.isabs(data) else None


def weights_roots() -> list[Path]:
    """The folders that generators' folders are looked for in, first come first; whether they exist or not."""
    own, users = os.environ.get(VARIABLE), user_folder()
    return [*([Path(own)] if own else []), *([users] if users else []), _SHIPPED]


def ships(root: Path) -> bool:
    """Whether one of `weights_roots` is that of the package."""
    return root == _SHIPPED


def weights_folder(generator: str) -> Path:
    """The folder of a generator, whether it exists or not."""
    folders = [root / generator for root in weights_roots()]
    # os.path: a home that may not be looked into counts as one without the folder.
    return next((folder for folder in folders if os.path.isdir(folder)), folders[-1])


def weights_name(generator: str) -> str:
    """The file name of a generator's weights."""
    return f"{generator}.safetensors"


def weights_path(generator: str) -> Path:
    """The trained weights of a generator. Raises WeightsError where there are none."""
    path = weights_folder(generator) / weights_name(generator)
    if not path.is_file():
        ways = [f"train some with `visavis train {generator}`"]
        if generator in IMPORTABLE:
            ways.append(f"import published ones with `visavis weights import {generator} FILE`")
        raise WeightsError(
            f"generator {generator} has no weights ({path} is missing): {', '.join(ways)}, "
            f"or set {VARIABLE} to a folder that holds {generator}/{weights_name(generator)}"
        )
    return path


def graph_name(half: str, size: int) -> str:
    """The file name of the exported network of a half for square frames of `size` pixels."""
    return f"{half}_{size}.onnx"


def graph_path(generator: str, half: str, size: int) -> Path:
    """The exported network of a generator's half. Raises WeightsError where there is none."""
    path = weights_folder(generator) / graph_name(half, size)
    if not path.is_file():
        raise WeightsError(
            f"generator {generator} has no exported network for {half} at {size}x{size} ({path} is missing): make it "
            f"with `visavis export --generator {generator} --size {size}`, or use runtime torch"
        )
    return path


def exported_graphs(folder: Path) -> dict[int, dict[str, Path]]:
    """The exported networks in a generator's folder by size in pixels, then by half; sorted."""
    graphs: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.onnx")):
        if found := _GRAPH.fullmatch(path.name):
            graphs.setdefault(int(found["size"]), {})[found["half"]] = path
    return dict(sorted(graphs.items()))
