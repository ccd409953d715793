"""What a run leaves to look at: numbers (JSONL), curves and sample sheets (PNG)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

LOG, CURVES, SHEETS = "log.jsonl", "curves.png", "sheets"


class Logbook:
    """Collects the terms of each step and writes their means.

    A line of the log has `step`, and either `terms` (the means of the unweighted terms since the line before, `total`
    the weighted sum) with what else was said of the interval, or `validation`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, terms: Mapping[str, float]) -> None:
        """The terms of one step."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def write_means(self, step: int, **circumstances: Any) -> None:
        """A line with the means of the steps since the last one; nothing where there were none."""
        if self._count:
            means = {name: value / self._count for name, value in self._sums.items()}
            self._write({"step": step, **circumstances, "terms": means})
        self._sums, self._count = {}, 0

    def write_validation(self, step: int, figures: Mapping[str, float]) -> None:
        """A line with the figures of a validation."""
        self._write({"step": step, "validation": dict(figures)})

    def rewind(self, step: int) -> None:
        """Drop what a killed run wrote after the checkpoint of `step`."""
        kept = [line for line in self.lines() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        unfinished = self._folder / f"{LOG}.part"
        unfinished.write_text(text)
        unfinished.replace(self._folder / LOG)

    def lines(self) -> list[dict[str, Any]]:
        """All lines; the last one is left out where a kill cut it off."""
        path = self._folder / LOG
        found = []
        for text in path.read_text().splitlines() if path.exists() else ():
            try:
                found.append(json.loads(text))
            except json.JSONDecodeError:
                logger.warning("%s: an incomplete line was dropped", path)
        return found

    def write_sheet(self, step: int, sheet: NDArray[np.uint8]) -> Path:
        """Write a picture (H, W, 3) RGB. Returns its file."""
        folder = self._folder / SHEETS
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{step:08d}.png"
        cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        return path

    def draw_curves(self) -> Path | None:
        """Draw every term and figure over the steps. Returns the file, None without matplotlib or numbers."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return None
        curves: dict[str, list[tuple[int, float]]] = {}
        for line in self.lines():
            for kind in ("terms", "validation"):
                for name, value in line.get(kind, {}).items():
                    title = name if kind == "terms" else f"validation: {name}"
                    curves.setdefault(title, []).append((line["step"], value))
        if not curves:
            return None
        columns = min(3, len(curves))
        rows = -(-len(curves) // columns)
        figure = Figure(figsize=(4.2 * columns, 2.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for number, (title, points) in enumerate(curves.items(), 1):
            axes = figure.add_subplot(rows, columns, number)
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, marker="." if len(steps) < 30 else None, linewidth=1)
            axes.set_title(title, fontsize=9)
            axes.tick_params(labelsize=7)
            axes.grid(alpha=0.3)
        figure.supxlabel("step", fontsize=9)
        path = self._folder / CURVES
        figure.savefig(path, dpi=110)
        return path

    def state_dict(self) -> dict[str, Any]:
        """What was collected since the last line, for a checkpoint."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._sums, self._count = dict(state["sums"]), int(state["count"])

    def _write(self, line: Mapping[str, Any]) -> None:
        with open(self._folder / LOG, "a") as file:
            file.write(json.dumps(line) + "\n")
