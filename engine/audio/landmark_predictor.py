"""The network that moves jaw and lips by a voice: IP-LAP's audio-to-landmark generator, with its weights."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel_windows import COLUMNS
from engine.face.landmarks131 import CONTENT, LANDMARKS_131, POSE
from engine.generators.base import GeneratorError
from engine.generators.neural import Network, NetworkSpec, TensorSpec, torch_network
from engine.weights import WeightsError, weights_folder
from engine.weights.stored_header import read_header

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.iplap_landmarks import LandmarkGenerator

Array = NDArray[np.float32]

WINDOW, BANDS = 5, 80
REFERENCES = 15
"Pictures of a person that the network is trained with."
GENERATOR = "iplap"
FILE = f"{GENERATOR}-landmarks.safetensors"


def installed_path() -> Path:
    """The file beside the generator's weights, whether it is there or not."""
    return weights_folder(GENERATOR) / FILE


class LandmarkPredictor:
    """Mel windows and poses to jaw and lips. `references` of the person say how his face is made."""

    def __init__(self, weights: Path | None = None) -> None:
        """weights: a file of `engine.nets.iplap_weights`; without, the one beside the generator's. Raises
        WeightsError where there is none or it is of something else."""
        path = weights or installed_path()
        if not path.is_file():
            raise WeightsError(
                f"no landmark generator at {path}: train one with `visavis train iplap-landmarks`, or import the "
                "published one together with the renderer: visavis weights import iplap FILE FILE"
            )
        header = read_header(path)
        if header.metadata.get("task") != "iplap-landmarks":
            raise WeightsError(
                f"{path}: weights of {header.metadata.get('task', 'something else')}, no landmarks' ones"
            )
        try:
            self._width = int(json.loads(header.metadata["config"])["width"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path}: its metadata does not describe a landmark generator ({error!r})") from error
        self.causal = header.metadata.get("timing") == "causal"
        "Whether it was trained for `CAUSAL`."
        self._weights = path

    def network_specs(self) -> dict[str, NetworkSpec]:
        """encode: once per identity. predict: once per frame."""
        tokens = TensorSpec("tokens", ("references", self._width), np.float32)
        return {
            "encode": NetworkSpec(
                (TensorSpec("references", ("references", len(LANDMARKS_131), 2), np.float32),), (tokens,)
            ),
            "predict": NetworkSpec(
                (
                    tokens,
                    TensorSpec("mels", (WINDOW, BANDS, COLUMNS), np.float32),
                    TensorSpec("poses", (WINDOW, len(POSE), 2), np.float32),
                ),
                (TensorSpec("contents", (WINDOW, len(CONTENT), 2), np.float32),),
            ),
        }

    def torch_module(self, half: str) -> nn.Module:
        """The network of a half, in eval mode. Raises GeneratorError without torch."""
        network = self._network
        from engine.nets.iplap_landmarks import PredictHalf, TokenHalf

        return (TokenHalf(network) if half == "encode" else PredictHalf(network)).eval()

    def encode(self, references: Array) -> Array:
        """(1, max(N, 15), D) of the points (N, 131, 2) of N pictures of a person, from 0 to 1 in their face boxes.

        Fewer pictures are repeated: how much voice and pose attend to them depends on how many they are.
        """
        if references.ndim != 3 or references.shape[1:] != (len(LANDMARKS_131), 2) or not len(references):
            raise GeneratorError(f"references: expected (N, {len(LANDMARKS_131)}, 2), got {references.shape}")
        repeated = references[np.arange(max(REFERENCES, len(references))) % len(references)]
        return self._halves["encode"]({"references": np.asarray(repeated[None], np.float32)})["tokens"]

    def predict(self, tokens: Array, mels: Array, poses: Array) -> Array:
        """(5, 57, 2) of five frames. mels: (5, 80, 16), poses: (5, 74, 2)."""
        inputs = {"tokens": tokens, "mels": mels[None], "poses": poses[None]}
        contents: Array = self._halves["predict"](inputs)["contents"][0]
        return contents

    @cached_property
    def _halves(self) -> dict[str, Network]:
        return {half: torch_network(self.torch_module(half), spec) for half, spec in self.network_specs().items()}

    @cached_property
    def _network(self) -> LandmarkGenerator:
        try:
            from engine.nets.iplap_weights import load_landmarks
            from engine.nets.stored_weights import LayoutError
        except ImportError as error:
            raise GeneratorError("torch is not installed: pip install 'visavis[torch]'") from error
        try:
            return load_landmarks(self._weights)
        except LayoutError as error:
            raise WeightsError(f"landmark generator: {error}") from error
