"""Where the weights and the exported networks of generators are.

A generator's folder holds `<generator>.safetensors` (what trains), `<half>_<size>.onnx` (what runs, made of it by
`visavis export`) and `card.md` (data, rights, metrics). Folders lie beside this file, or in the folder that the
environment variable VISAVIS_WEIGHTS names. A generator found there takes nothing from here: weights and networks
belong together.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.generators.base import GeneratorError

VARIABLE = "VISAVIS_WEIGHTS"

_SHIPPED = Path(__file__).parent


class WeightsError(GeneratorError):
    """A generator's weights or exported network are not there; the message says how to get them."""


def weights_folder(generator: str) -> Path:
    """The folder of a generator, whether it exists or not."""
    own = os.environ.get(VARIABLE)
    if own and (Path(own) / generator).is_dir():
        return Path(own) / generator
    return _SHIPPED / generator


def weights_path(generator: str) -> Path:
    """The trained weights of a generator. Raises WeightsError where there are none."""
    path = weights_folder(generator) / f"{generator}.safetensors"
    if not path.is_file():
        raise WeightsError(
            f"generator {generator} has no weights ({path} is missing): train some with `visavis train {generator}`, "
            f"or set {VARIABLE} to a folder that holds {generator}/{generator}.safetensors"
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
