"""The figures of `benchmarks.gpu` as tables and as a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import kernels


def tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    """One of the kernels, if they were measured, and one of each generator."""
    if figures["kernels"] is not None:
        yield kernels.table(figures["kernels"])
    for name, generator in figures["generators"].items():
        yield _table(name, generator, figures)


def _table(name: str, generator: Mapping[str, Any], figures: Mapping[str, Any]) -> Table:
    ceilings = figures["ceilings"]
    rates = ", ".join(f"{kind} {rate:.0f}" for kind, rate in ceilings["tflops_per_s"].items())
    table = Table(
        title=f"{name} {figures['size']}x{figures['size']}, {generator['weights']} weights, {figures['gpu']['name']}",
        caption=f"copy {ceilings['copy_gb_per_s']:.0f} GB/s; matrices TFLOP/s: {rates}; "
        f"streams at {figures['rate']:.0f} FPS",
    )
    for column in ("way", "batch", "p50 / p95 / p99 ms", "spread", "FPS", "times", "of matrix", "of copy"):
        table.add_column(column)
    for column in ("of roofline", "deviation", "streams"):
        table.add_column(column, justify="right")
    for way, entry in generator["ways"].items():
        if "failed" in entry:
            table.add_row(way, "", entry["failed"])
        for batch, of_batch in entry.get("batches", {}).items():
            latencies = " / ".join(f"{of_batch[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
            table.add_row(
                *(way, str(batch), latencies, f"{of_batch['spread']:.0%}", f"{of_batch['fps']:.0f}"),
                f"{entry['times'][batch]:.1f}",
                *(_percent(of_batch.get(key)) for key in ("of_matrix", "of_copy", "of_roofline")),
                "" if of_batch["deviation"] is None else f"{of_batch['deviation']:.2f}",
                str(entry["streams"]),
            )
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """Frames a second and latency against the batch size, a column for each generator. Needs matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import ScalarFormatter

    generators = figures["generators"]
    figure, axes = pyplot.subplots(
        2, len(generators), figsize=(4.2 * len(generators), 7), squeeze=False, sharex=True, layout="constrained"
    )
    for column, (name, generator) in enumerate(generators.items()):
        above, below = axes[0][column], axes[1][column]
        for way, entry in generator["ways"].items():
            by_batch = entry.get("batches", {})
            if not by_batch:
                continue
            style = "--" if way.startswith("host") else "-"
            sizes = [int(batch) for batch in by_batch]
            above.plot(sizes, [one["fps"] for one in by_batch.values()], style, marker="o", label=way)
            below.plot(sizes, [one["p95_ms"] for one in by_batch.values()], style, marker="o")
        below.axhline(1e3 / figures["rate"], color="grey", linewidth=0.8)
        above.set(title=f"{name} ({generator['weights']} weights)", yscale="log", xscale="log")
        below.set(xlabel="batch", yscale="log")
        below.xaxis.set_major_formatter(ScalarFormatter())
        below.set_xticks(sizes_of(generator), [str(size) for size in sizes_of(generator)])
        below.minorticks_off()
    axes[0][0].set_ylabel("frames a second")
    axes[1][0].set_ylabel("p95 latency of a call, ms; grey: a frame's time")
    axes[0][0].legend(fontsize="small")
    figure.suptitle(f"{figures['gpu']['name']}, {figures['size']}x{figures['size']}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def sizes_of(generator: Mapping[str, Any]) -> list[int]:
    """The batch sizes that any way was measured with."""
    return sorted({int(batch) for way in generator["ways"].values() for batch in way.get("batches", {})})
