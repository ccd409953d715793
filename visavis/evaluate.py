"""`visavis evaluate`: how good generators are on test clips, as JSON and as a page."""

from __future__ import annotations

from typing import Any

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.environment import command_line, describe, write_result
from benchmarks.evaluation.figures import DEFINITIONS
from benchmarks.evaluation.report import SHEETS, check_plotting, formatted, write_page
from benchmarks.evaluation.run import EvaluationConfig
from benchmarks.evaluation.run import evaluate as measure
from visavis.commands import Evaluate, Rendering

RESULT = "evaluation.json"


def evaluate(options: Evaluate) -> int:
    """Run the command."""
    console = Console()
    check_plotting()
    cv2.setNumThreads(1)  # OpenCV's part of a frame is timed on one core, as in `visavis bench`
    config = EvaluationConfig(
        data=options.data,
        generators=options.generator or (Rendering.generator,),
        runtime=options.runtime,
        size=options.size,
        step=options.step,
        sources=options.sources,
        clips=options.clips,
        cross_pairs=options.pairs if options.cross else 0,
        lpips_weights=options.lpips_weights,
        fid_network=options.fid_network,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        figures = measure(config, options.output / SHEETS, advance)
    result = options.output / RESULT
    write_result(result, command_line(), figures)
    page = write_page(options.output, describe(command_line()), figures)
    console.print(_table("same identity", figures["same_identity"]["mean"]))
    if "few_shot" in figures:
        means = {
            f"{generator}, {count}": mean
            for generator, by_count in figures["few_shot"]["mean"].items()
            for count, mean in by_count.items()
        }
        console.print(_table("number of source frames, second half of the clips", means))
    if "cross_identity" in figures:
        console.print(_table("cross identity", figures["cross_identity"]["mean"]))
    for name, why in figures["not_measured"].items():
        console.print(f"not measured: {name}: {why}", style="dim", markup=False)
    console.print(f"{result}, {page}; the sheets show people: keep them to yourself", markup=False, highlight=False)
    return 0


def _table(title: str, ways: dict[str, dict[str, float | None]]) -> Table:
    """Figures down, ways across: there are more of the former."""
    table = Table("", *ways, title=title)
    for name, definition in DEFINITIONS.items():
        values = [way.get(name) for way in ways.values()]
        if any(value is not None for value in values):
            table.add_row(definition.title, *(formatted(name, value) for value in values))
    return table
