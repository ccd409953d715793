"""From values of frames to figures of clips, means over clips and counts; and what each figure means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.metrics import SLOW_EVERY, Row

Figures = dict[str, float | None]
"By name; None where nothing could be measured."


@dataclass(frozen=True)
class Definition:
    """How a figure is read."""

    title: str
    digits: int
    higher_is_better: bool
    meaning: str


_SLOW = f" Every {SLOW_EVERY}th compared frame."

DEFINITIONS: dict[str, Definition] = {
    "l1": Definition("L1", 4, False, "Mean absolute difference of the pixels, 0 to 1."),
    "psnr": Definition("PSNR", 2, True, "Peak signal-to-noise ratio in dB, mean over frames."),
    "ssim": Definition("SSIM", 3, True, "Structural similarity, scikit-image: Gaussian window, sigma 1.5, RGB."),
    "ms_ssim": Definition("MS-SSIM", 3, True, "Multi-scale SSIM, torchmetrics: five scales, RGB." + _SLOW),
    "mouth_l1": Definition("mouth L1", 4, False, "L1 in a box around the lips."),
    "eyes_l1": Definition("eyes L1", 4, False, "L1 in a box around eyes and brows."),
    "rest_l1": Definition("rest L1", 4, False, "L1 outside both boxes."),
    "mouth_ssim": Definition("mouth SSIM", 3, True, "SSIM in the mouth's box."),
    "eyes_ssim": Definition("eyes SSIM", 3, True, "SSIM in the eyes' box."),
    "rest_ssim": Definition("rest SSIM", 3, True, "SSIM outside both boxes."),
    "akd": Definition(
        "AKD %", 2, False, "Mean distance of 468 MediaPipe landmarks, percent of the outer eye corners' distance."
    ),
    "akd_p95": Definition("AKD p95 %", 2, False, "95th percentile of AKD over frames."),
    "nmke": Definition(
        "NMKE %", 2, False, "Mean distance of the contour landmarks, percent of the face box's geometric mean side."
    ),
    "expression": Definition(
        "expression %", 2, False, "Weighted RMS by which the fitted expression misses the intended, percent as in AKD."
    ),
    "prmse": Definition("PRMSE °", 2, False, "Root mean square error of pitch, yaw and roll, fits of our face model."),
    "aucon": Definition(
        "AUCON",
        3,
        True,
        "Share of ten facial actions of our own (MediaPipe landmarks, not OpenFace) that agree.",
    ),
    "aed": Definition("AED", 3, False, "Distance of dlib face embeddings; one person stays below 0.6." + _SLOW),
    "csim": Definition("CSIM", 3, True, "Cosine of dlib face embeddings; strangers reach 0.8 to 0.9." + _SLOW),
    "lpips": Definition("LPIPS", 3, False, "Perceptual distance v0.1." + _SLOW),
    "fid": Definition("FID", 1, False, "Fréchet distance of Inception features, all clips; biased upwards." + _SLOW),
    "flicker": Definition(
        "flicker", 4, False, "Mean absolute difference of rendered and true change since the frame compared before."
    ),
    "faces_lost": Definition("faces lost", 0, False, "Rendered frames in which the detector finds no face."),
    "render_ms": Definition("ms", 1, False, "Motion and render of one frame, median, while evaluating."),
    "render_ms_p95": Definition("ms p95", 1, False, "The same, 95th percentile."),
}
"In the order of the tables."


def summarise(rows: Sequence[Row]) -> Figures:
    """The figures of one clip from the values of its frames."""
    names = {name for row in rows for name in row}
    values = {name: np.array([row[name] for row in rows if name in row]) for name in names}
    figures: Figures = {name: _number(np.mean(found)) for name, found in values.items()}
    figures.pop("lost", None)
    figures["faces_lost"] = float(values["lost"].sum()) if "lost" in values else 0.0
    if "akd" in values:
        figures["akd_p95"] = float(np.percentile(values["akd"], 95))
    if "pose_square" in values:
        del figures["pose_square"]
        figures["prmse"] = float(np.sqrt(values["pose_square"].mean()))
    if "render_ms" in values:
        figures["render_ms"] = float(np.median(values["render_ms"]))
        figures["render_ms_p95"] = float(np.percentile(values["render_ms"], 95))
    return {name: figures[name] for name in DEFINITIONS if name in figures}


def mean_over_clips(clips: Sequence[Mapping[str, float | None]]) -> Figures:
    """Every clip counts the same; a figure that a clip lacks is the mean of the others."""
    names = [name for name in DEFINITIONS if any(name in clip for clip in clips)]
    means: Figures = {}
    for name in names:
        found = [value for clip in clips if (value := clip.get(name)) is not None]
        means[name] = float(np.mean(found)) if found else None
    return means


def better_on(clips: Sequence[tuple[Figures, Figures]]) -> dict[str, str]:
    """In how many clips the first is better than the second, as "n of m", by figure; equal ones are not better."""
    counts = {}
    for name, definition in DEFINITIONS.items():
        values = [(one.get(name), other.get(name)) for one, other in clips]
        pairs = [(a, b) for a, b in values if a is not None and b is not None]
        if pairs:
            better = sum(a > b if definition.higher_is_better else a < b for a, b in pairs)
            counts[name] = f"{better} of {len(pairs)}"
    return counts


def _number(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
