"""From phonemes to the face model's expression: what the mouth does while it speaks."""

from __future__ import annotations

import numpy as np

from engine.face.model import FaceModel
from engine.motion import Array
from visavis.demo.speech import Phoneme

# What a movement is measured by: signed sums of coordinates (point, axis, factor), in head units.
_MEASURES: dict[str, tuple[tuple[int, int, float], ...]] = {
    "gap": ((14, 1, 1.0), (13, 1, -1.0)),  # inner lips
    "jaw": ((152, 1, 1.0),),
    "width": ((291, 0, 1.0), (61, 0, -1.0)),  # mouth corners
    "pout": ((0, 2, -0.5), (17, 2, -0.5)),  # lips towards the camera
    "smile": ((291, 1, -0.5), (61, 1, -0.5)),
    "lids": ((145, 1, 0.5), (159, 1, -0.5), (374, 1, 0.5), (386, 1, -0.5)),
    "brows": ((105, 1, -0.5), (334, 1, -0.5)),
}
MEASURES = tuple(_MEASURES)

# (gap, width, pout) of a sound in head units, by the first letters of espeak-ng's names; longest match first.
_SHAPES: dict[str, tuple[float, float, float]] = {
    "aI": (0.16, 0.01, 0.0), "aU": (0.17, -0.02, 0.01), "a": (0.16, 0.01, 0.0), "A": (0.18, -0.02, 0.0),
    "E": (0.11, 0.03, 0.0), "eI": (0.10, 0.04, 0.0), "3": (0.08, -0.05, 0.02), "V": (0.12, 0.0, 0.0),
    "I": (0.07, 0.03, 0.0), "i": (0.06, 0.05, 0.0), "O": (0.14, -0.07, 0.03), "oU": (0.11, -0.10, 0.04),
    "U": (0.07, -0.10, 0.05), "u": (0.05, -0.12, 0.06), "@": (0.08, 0.0, 0.0),
    "p": (-0.01, 0.0, 0.0), "b": (-0.01, 0.0, 0.0), "m": (-0.01, 0.0, 0.0),
    "f": (0.01, 0.0, 0.0), "v": (0.02, 0.0, 0.0), "w": (0.04, -0.11, 0.06), "r": (0.06, -0.05, 0.03),
    "S": (0.05, -0.06, 0.04), "tS": (0.05, -0.06, 0.04), "dZ": (0.05, -0.06, 0.04),
    "s": (0.03, 0.02, 0.0), "z": (0.03, 0.02, 0.0), "T": (0.05, 0.0, 0.0), "D": (0.05, 0.0, 0.0),
    "l": (0.08, 0.0, 0.0), "n": (0.05, 0.0, 0.0), "t": (0.04, 0.01, 0.0), "d": (0.04, 0.01, 0.0),
    "k": (0.06, 0.0, 0.0), "g": (0.06, 0.0, 0.0), "N": (0.06, 0.0, 0.0), "h": (0.08, 0.0, 0.0), "j": (0.05, 0.03, 0.0),
}  # fmt: skip
_REST = (0.0, 0.0, 0.0)
_EMPHASIS = 1.5
"What blending a sound with its neighbours takes from its peak is given back."


def mouth_shapes(phonemes: list[Phoneme], times: Array, coarticulation_s: float = 0.035) -> Array:
    """(T, 3) gap, width and pout at `times`: each sound's shape, blended over its neighbours as a real mouth does."""
    fine = np.arange(0.0, float(times[-1]) + 0.2, 0.005)
    starts = np.array([phoneme.start for phoneme in phonemes])
    index = np.searchsorted(starts, fine, side="right") - 1
    shapes = _EMPHASIS * np.array([_shape(phoneme.name) for phoneme in phonemes] + [_REST], np.float64)
    raw = shapes[index]  # -1 before the first sound picks the rest at the end
    reach = np.arange(-0.12, 0.12, 0.005)
    kernel = np.exp(-0.5 * (reach / coarticulation_s) ** 2)
    kernel /= kernel.sum()
    smooth = np.stack(
        [np.convolve(np.pad(raw[:, i], len(kernel) // 2, mode="edge"), kernel, "same") for i in range(3)], 1
    )
    smooth = smooth[len(kernel) // 2 :][: len(fine)]
    return np.stack([np.interp(times, fine, smooth[:, i]) for i in range(3)], 1).astype(np.float32)


def _shape(name: str) -> tuple[float, float, float]:
    for length in range(len(name), 0, -1):
        if name[:length] in _SHAPES:
            return _SHAPES[name[:length]]
    return _REST


def expression_for(model: FaceModel, wanted: dict[str, float]) -> Array:
    """(E,) the most probable expression in which the named measures are `wanted` (head units) away from neutral.

    The coefficients are taken as independent normal variables with the model's deviations, conditioned on the measures.
    """
    rows = np.zeros((len(wanted), model.expression_size))
    for row, name in enumerate(wanted):
        for point, axis, factor in _MEASURES[name]:
            rows[row] += factor * model.expression[:, point, axis]
    spread = rows * model.expression_deviation**2
    tolerance = np.eye(len(wanted)) * 0.01**2
    expression = spread.T @ np.linalg.solve(spread @ rows.T + tolerance, np.array(list(wanted.values())))
    return expression.astype(np.float32)
