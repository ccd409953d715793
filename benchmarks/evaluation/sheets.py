"""Contact sheets: what was shown, row by row, with mouth and eyes enlarged. They show people: keep them to yourself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.evaluation.clips import Frame
from engine.quality import FaceRegions

CELL_PX = 256
LABEL_PX = 150
_JPEG_QUALITY = 90


class Strip:
    """The pictures of a few moments of a clip, by who made them."""

    def __init__(self, columns: int = 8, without: Sequence[str] = ()) -> None:
        """without: whose pictures are of no interest."""
        self._columns = columns
        self._without = set(without)
        self._moments: list[tuple[dict[str, Frame], FaceRegions | None]] = []

    def choose(self, frames: Sequence[int]) -> set[int]:
        """Which frames to add, spread over those given."""
        return {frames[k] for k in np.linspace(0, len(frames) - 1, min(self._columns, len(frames))).astype(int)}

    def add(self, pictures: Mapping[str, Frame], regions: FaceRegions | None) -> None:
        """One moment. regions: where mouth and eyes are in the true frame, to be enlarged."""
        kept = {name: picture for name, picture in pictures.items() if name not in self._without}
        self._moments.append((kept, regions))

    def write(self, path: Path) -> None:
        """Write the sheet as JPEG; a strip without a moment writes nothing."""
        if not self._moments:
            return
        names = list(dict.fromkeys(name for pictures, _ in self._moments for name in pictures))
        rows = [self._row(name, name, None) for name in names]
        if all(regions is not None for _, regions in self._moments):
            rows += [self._row(name, f"{name}: mouth", "mouth") for name in names]
            rows += [self._row(name, f"{name}: eyes", "eyes") for name in names]
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OSError(f"{path}: cannot be written")

    def _row(self, name: str, label: str, region: str | None) -> Frame:
        height = CELL_PX // 2 if region else CELL_PX
        cells = []
        for pictures, regions in self._moments:
            if name not in pictures:
                cells.append(np.full((height, CELL_PX, 3), 40, np.uint8))
            elif region is None or regions is None:
                cells.append(np.asarray(cv2.resize(pictures[name], (CELL_PX, height), interpolation=cv2.INTER_AREA)))
            else:
                box = regions.mouth if region == "mouth" else regions.eyes
                cells.append(_enlarged(pictures[name], box, height))
        return np.concatenate([_label(label, height), *cells], axis=1)


def _enlarged(picture: Frame, box: tuple[slice, slice], height: int) -> Frame:
    """The part of a picture around a box that has the shape of a cell (CELL_PX wide), as large as the cell."""
    rows, columns = box
    width = max(columns.stop - columns.start, (rows.stop - rows.start) * CELL_PX / height)
    centre = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    factor = CELL_PX / width
    shift = np.array(((factor, 0, CELL_PX / 2 - factor * centre[0]), (0, factor, height / 2 - factor * centre[1])))
    enlarged = cv2.warpAffine(picture, shift, (CELL_PX, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(enlarged, np.uint8)


def _label(text: str, height: int) -> Frame:
    cell = np.full((height, LABEL_PX, 3), 255, np.uint8)
    for k, line in enumerate(text.replace(": ", ":\n").replace(", ", ",\n").split("\n")):
        cv2.putText(cell, line, (6, height // 2 + 20 * k), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
