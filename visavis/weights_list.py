"""`visavis weights list`: which weights are there, and which are not. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.generators import ENTRY_POINT, generator_names
from engine.generators.neural import NeuralGenerator
from engine.weights import (
    CARD,
    IMPORTABLE,
    VARIABLE,
    WeightsError,
    exported_graphs,
    ships,
    weights_folder,
    weights_name,
    weights_roots,
)
from engine.weights.stored_header import read_header

DIGITS = 12
"Of a hash that are shown."


def list_weights() -> int:
    """Run the command."""
    console = Console()
    found = set()
    for root in weights_roots():
        folders = _folders(root)
        found |= {folder.name for folder in folders}
        if folders:
            console.print(Text(str(root)), soft_wrap=True)
            console.print(_table(folders, ships(root)))
    for name in sorted({*generator_names(), *IMPORTABLE} - found):
        console.print(Text(f"{name}: {_without_weights(name)}"), soft_wrap=True)
    return 0


def _folders(root: Path) -> list[Path]:
    """The folders in it that hold weights, or networks exported from some."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:  # not there, or not ours to look into
        return []
    return [folder for folder in folders if (folder / weights_name(folder.name)).is_file() or exported_graphs(folder)]


def _table(folders: list[Path], shipped: bool) -> Table:
    table = Table(show_lines=True)
    for title in ("generator", "MB", "source", "licence", "exported"):
        table.add_column(title, overflow="fold")
    for folder in folders:
        first = weights_folder(folder.name)
        name = folder.name if folder == first else f"{folder.name}\n(not used: {first.parent} comes first)"
        graphs = (f"{size}: {', '.join(halves)}" for size, halves in exported_graphs(folder).items())
        cells = (name, *_weights_cells(folder, shipped), "\n".join(graphs) or "nothing")
        table.add_row(*map(Text, cells))
    return table


def _weights_cells(folder: Path, shipped: bool) -> tuple[str, str, str]:
    """Size, source and licence."""
    weights = folder / weights_name(folder.name)
    try:
        size = f"{weights.stat().st_size / 1e6:.1f}"
        about = read_header(weights).metadata
    except FileNotFoundError:
        return "", "no weights, only networks", ""
    except (WeightsError, OSError) as error:
        return "?", str(error).removeprefix(f"{weights}: "), ""
    card = f"see its {CARD}" if (folder / CARD).is_file() else "not stated"
    return size, _source(about, shipped), about.get("licence", card)


def _source(about: Mapping[str, str], shipped: bool) -> str:
    if "source" not in about:
        return "comes with visavis" if shipped else "not stated"
    names, hashes = (about.get(key, "").split(", ") for key in ("source", "sha256"))
    hashes += [""] * (len(names) - len(hashes))
    return "\n".join(f"{name}\n  sha256 {digest[:DIGITS]}" for name, digest in zip(names, hashes, strict=False))


def _without_weights(name: str) -> str:
    if name in IMPORTABLE:
        return f"no weights; `visavis weights import {name} FILE...` reads published ones"
    for point in entry_points(group=ENTRY_POINT):
        if point.name == name:
            try:
                kind = point.load()
            except ImportError as error:
                return f"cannot be loaded ({error})"
            if not issubclass(kind, NeuralGenerator):
                return "needs no weights"
    return f"no weights; train some with `visavis train {name}`, or name a folder of yours in {VARIABLE}"
