"""The figures of an evaluation as a page: tables, plots and contact sheets, in one folder that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.evaluation.clips import EvaluationError
from benchmarks.evaluation.figures import DEFINITIONS

PAGE, PLOTS, SHEETS = "index.html", "plots", "sheets"
"Names in the folder."

_PLOTTED = ("l1", "ssim", "akd", "mouth_l1", "eyes_l1", "flicker")
_PLOTTED_CROSS = ("csim", "expression", "akd", "prmse")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem } table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto } th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child, .text { text-align: left } .best { font-weight: 600; background: #eef6ee }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0 } figcaption, .note { color: #666 }
"""


def check_plotting() -> None:
    """Raise EvaluationError without matplotlib, before the work begins."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EvaluationError("the report's plots need matplotlib: pip install 'visavis[bench]'") from error


def write_page(folder: Path, environment: Mapping[str, Any], figures: Mapping[str, Any]) -> Path:
    """Write index.html and the plots; the sheets are already in `folder / SHEETS`. Returns the page's path.

    environment: from `benchmarks.environment.describe`. figures: from `benchmarks.evaluation.run.evaluate`.
    """
    plots = _write_plots(folder / PLOTS, figures)
    same = figures["same_identity"]
    generators = ", ".join(figures["generators"])
    parts = [
        f"<h1>Evaluation: {escape(generators)}</h1>",
        f"<p>{figures['size']}x{figures['size']}, every frame number divisible by {figures['step']}, "
        f"{len(same['clips'])} clips, runtime {escape(figures['runtime'])}. All clips count the same in the means.</p>",
        "<p class=note>The sheets show people who were not asked: this page is for whoever made it.</p>",
        "<h2>Same identity</h2>",
        "<p>The first frame of each clip, driven by the rest of it, beside the true frames. "
        "<i>still</i>: that first frame all the time. <i>delaunay</i>: a flat warp of it by the true landmarks.</p>",
        _table(same["mean"]),
        *_plot(plots, "means", "Means over the clips."),
        *_better("Clips", same["better_on"]),
        *_plot(plots, "clips", "Clip by clip."),
        *_plot(plots, "turn", "Errors against the angle by which the head is turned away from the source's."),
    ]
    if "few_shot" in figures:
        few = figures["few_shot"]
        parts += ["<h2>Several source frames</h2>", f"<p>{escape(few['note'].capitalize())}.</p>"]
        for generator, by_count in few["mean"].items():
            parts.append(_table({f"{generator}, {count}": mean for count, mean in by_count.items()}))
        parts += _plot(plots, "few_shot", "Means against the number of source frames.")
        for generator, counts in few["better_on"].items():
            if counts:
                parts.append(f"<p>Clips on which <b>{escape(generator)}</b> is better with</p>")
                parts.append(_counts(counts))
    if "cross_identity" in figures:
        cross = figures["cross_identity"]
        parts += [
            "<h2>Cross identity</h2>",
            "<p>The first frame of one person, driven by another one's relative motion. Expression, pose and landmarks "
            "against what was intended, identity (CSIM, AED) against the source.</p>",
            _table(cross["mean"]),
            *_plot(plots, "cross", "Means over the pairs."),
            *_better("Pairs", cross["better_on"]),
        ]
        for name, ways in cross["pairs"].items():
            parts += [f"<h3>{escape(name)}</h3>", _table(ways), _sheet(folder, name.replace(" by ", "_by_"))]
    parts.append("<h2>Every clip</h2>")
    for name, clip in same["clips"].items():
        parts += [
            f"<h3>{escape(name)}</h3><p>{clip['frames']} frames compared</p>",
            _table(clip["ways"]),
            _sheet(folder, name),
        ]
    parts += [
        "<h2>What the figures mean</h2>",
        _definitions(figures),
        "<h2>Where it ran</h2>",
        _environment(environment),
    ]
    page = folder / PAGE
    page.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Evaluation: {escape(generators)}</title><style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )
    return page


def _table(ways: Mapping[str, Mapping[str, float | None]]) -> str:
    """Figures down, ways across; the best of each figure stands out."""
    rows = []
    for name, definition in DEFINITIONS.items():
        values = [way.get(name) for way in ways.values()]
        best = _best(name, values)
        if best is None:
            continue
        cells = ""
        for value in values:
            mark = " class=best" if value == best and len(values) > 1 else ""
            cells += f"<td{mark}>{formatted(name, value)}</td>"
        rows.append(f"<tr title='{escape(definition.meaning)}'><td>{definition.title}</td>{cells}</tr>")
    return _with_head(list(ways), rows)


def _with_head(labels: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    return f"<div class=wide><table><tr><th></th>{head}</tr>{''.join(rows)}</table></div>"


def formatted(name: str, value: float | None) -> str:
    """A figure with its number of digits; a dash where there is none."""
    return "–" if value is None else f"{value:.{DEFINITIONS[name].digits}f}"


def _best(name: str, values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    return max(found) if DEFINITIONS[name].higher_is_better else min(found)


def _better(what: str, counts: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[str]:
    """In how many clips (or other `what`) each generator is better, a table each."""
    parts = []
    for generator, opponents in counts.items():
        parts += [f"<p>{what} on which <b>{escape(generator)}</b> is better than</p>", _counts(opponents)]
    return parts


def _counts(opponents: Mapping[str, Mapping[str, str]]) -> str:
    rows = []
    for name, definition in DEFINITIONS.items():
        if any(name in counts for counts in opponents.values()):
            cells = "".join(f"<td>{counts.get(name, '–')}</td>" for counts in opponents.values())
            rows.append(f"<tr><td>{definition.title}</td>{cells}</tr>")
    return _with_head(list(opponents), rows)


def _plot(plots: Sequence[str], name: str, caption: str) -> list[str]:
    if name not in plots:
        return []
    return [f"<figure><img src='{PLOTS}/{name}.png' alt='{name}'><figcaption>{escape(caption)}</figcaption></figure>"]


def _sheet(folder: Path, name: str) -> str:
    if not (folder / SHEETS / f"{name}.jpg").is_file():
        return ""
    return f"<img src='{SHEETS}/{escape(name)}.jpg' alt='contact sheet of {escape(name)}' loading=lazy>"


def _definitions(figures: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{definition.title}</td>"
        f"<td class=text>{'higher' if definition.higher_is_better else 'lower'} is better</td>"
        f"<td class=text>{escape(definition.meaning)}</td></tr>"
        for definition in DEFINITIONS.values()
    )
    missing = "".join(
        f"<li>{escape(name)}: {escape(why)}</li>" for name, why in sorted(figures["not_measured"].items())
    )
    left_out = f"<p>Not measured here:</p><ul>{missing}</ul>" if missing else ""
    return f"<div class=wide><table>{rows}</table></div>{left_out}"


def _environment(environment: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class=text>{escape(str(value))}</td></tr>"
        for name, value in environment.items()
    )
    return f"<table>{rows}</table>"


def _write_plots(folder: Path, figures: Mapping[str, Any]) -> list[str]:
    """Write the plots that the figures give rise to; their names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []

    def save(figure: Figure, name: str) -> None:
        FigureCanvasAgg(figure)
        figure.savefig(folder / f"{name}.png", dpi=110)
        written.append(name)

    same = figures["same_identity"]
    save(_bars(Figure, same["mean"], _PLOTTED), "means")
    save(_clip_dots(Figure, {name: clip["ways"] for name, clip in same["clips"].items()}), "clips")
    save(_turn_lines(Figure, same["by_turn"]), "turn")
    if "few_shot" in figures:
        save(_few_shot_lines(Figure, figures["few_shot"]["mean"]), "few_shot")
    if "cross_identity" in figures:
        save(_bars(Figure, figures["cross_identity"]["mean"], _PLOTTED_CROSS), "cross")
    return written


def _bars(make: Any, ways: Mapping[str, Mapping[str, float | None]], names: Sequence[str]) -> Any:
    names = [name for name in names if any(way.get(name) is not None for way in ways.values())]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = make(figsize=(11, 0.9 + lines * (0.8 + 0.32 * len(ways))), layout="constrained")
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        values = [way.get(name) or 0.0 for way in ways.values()]
        bars = axes.barh(list(ways), values, color=[f"C{k}" for k in range(len(ways))])
        axes.bar_label(bars, [formatted(name, way.get(name)) for way in ways.values()], padding=3)
        axes.set_title(_title(name))
        axes.margins(x=0.25)
        axes.invert_yaxis()
    return figure


def _clip_dots(make: Any, clips: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Any:
    figure = make(figsize=(11, 8), layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, ("l1", "ssim", "akd", "mouth_l1"), strict=True):
        for k, way in enumerate(next(iter(clips.values()))):
            found = [(clip, value) for clip, ways in clips.items() if (value := ways[way].get(name)) is not None]
            axes.plot([clip for clip, _ in found], [value for _, value in found], "o", color=f"C{k}", label=way)
        axes.set_title(_title(name))
        axes.tick_params(axis="x", rotation=60)
        axes.grid(axis="x", alpha=0.3)
        if name == "akd":  # the still source is ten times as far off
            _logarithmic(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _turn_lines(make: Any, ways: Mapping[str, Sequence[Mapping[str, float]]]) -> Any:
    figure = make(figsize=(11, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("l1", "akd"), strict=True):
        for k, (way, bins) in enumerate(ways.items()):
            middles = [(found["from"] + found["to"]) / 2 for found in bins]
            axes.plot(middles, [found[name] for found in bins], "o-", color=f"C{k}", label=way)
        axes.set(title=_title(name), xlabel="turn away from the source, degrees")
        axes.grid(alpha=0.3)
        if name == "akd":
            _logarithmic(axes)
    axes.legend()
    return figure


def _few_shot_lines(make: Any, generators: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Any:
    figure = make(figsize=(11, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 4), ("l1", "ssim", "akd", "mouth_l1"), strict=True):
        for k, (generator, by_count) in enumerate(generators.items()):
            counts = sorted(by_count, key=int)
            axes.plot(counts, [by_count[count].get(name) for count in counts], "o-", color=f"C{k}", label=generator)
        axes.set(title=_title(name), xlabel="source frames")
        axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")  # 20, not 2 x 10^1


def _title(name: str) -> str:
    definition = DEFINITIONS[name]
    return f"{definition.title} ({'higher' if definition.higher_is_better else 'lower'} is better)"
