"""Whether two pictures show the same person, by a face-recognition network's embeddings (AED, CSIM)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.face.regions import LEFT_EYE_INNER, LEFT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER
from engine.motion import to_pixels
from engine.quality.errors import MetricUnavailableError
from engine.quality.image import Picture

Embedding = NDArray[np.float64]
"(D,)"

NOSE_BASE = 2
"Where the septum meets the lip."


class Embedder(Protocol):
    """A network that maps pictures of one person close together."""

    name: str
    "Which network, for the report: figures of different ones cannot be compared."

    def embed(self, frame: Picture, landmarks: NDArray[np.float32]) -> Embedding:
        """frame: (H, W, 3) RGB. landmarks: (478, 2 or 3) of the face to look at, frame coordinates."""
        ...


def average_euclidean_distance(rendered: Embedding, truth: Embedding) -> float:
    """AED of one pair: distance of two embeddings; the mean over pairs is what papers report (there by OpenFace)."""
    return float(np.linalg.norm(rendered - truth))


def cosine_similarity(rendered: Embedding, truth: Embedding) -> float:
    """CSIM of one pair: cosine between two embeddings, 1 for equal ones (papers mostly use ArcFace's)."""
    return float(rendered @ truth / (np.linalg.norm(rendered) * np.linalg.norm(truth)))


class DlibEmbedder:
    """dlib's ResNet for faces: 128 numbers, Euclidean distance below 0.6 for one person.

    The face is aligned by five of our landmarks (eye corners, base of the nose), not by dlib's detector. All embeddings
    point roughly the same way, so the cosine between strangers is as high as 0.8 to 0.9.
    """

    name = "dlib ResNet, 128-d, aligned by MediaPipe landmarks"

    # dlib's order of the five points: the eye at the right of the picture first.
    _ALIGN_BY = (LEFT_EYE_OUTER, LEFT_EYE_INNER, RIGHT_EYE_OUTER, RIGHT_EYE_INNER, NOSE_BASE)

    def __init__(self, weights: Path | None = None) -> None:
        """weights: `dlib_face_recognition_resnet_model_v1.dat`; default: that of the package face_recognition_models.

        Raises MetricUnavailableError without dlib or weights.
        """
        try:
            import dlib
        except ImportError as error:
            raise MetricUnavailableError("AED and CSIM need dlib: pip install 'visavis[bench]'") from error
        self._dlib: Any = dlib
        path = _packaged_weights() if weights is None else weights
        if not path.is_file():
            raise MetricUnavailableError(
                f"{path}: no such file; AED and CSIM need dlib_face_recognition_resnet_model_v1.dat, which comes with "
                "the package face_recognition_models: pip install 'visavis[bench]'"
            )
        self._network: Any = dlib.face_recognition_model_v1(str(path))

    def embed(self, frame: Picture, landmarks: NDArray[np.float32]) -> Embedding:
        """The (128,) embedding; see `Embedder`."""
        height, width = frame.shape[:2]
        pixels = np.rint(to_pixels(landmarks[:, :2], width, height)).astype(int)
        (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
        face = self._dlib.full_object_detection(
            self._dlib.rectangle(int(left), int(top), int(right), int(bottom)),
            [self._dlib.point(int(pixels[k, 0]), int(pixels[k, 1])) for k in self._ALIGN_BY],
        )
        return np.array(self._network.compute_face_descriptor(np.ascontiguousarray(frame), face), np.float64)


def _packaged_weights() -> Path:
    # Found, not imported: the package's own code asks for pkg_resources, which new setuptools lack.
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise MetricUnavailableError("AED and CSIM need the weights of dlib's network: pip install 'visavis[bench]'")
    return Path(spec.submodule_search_locations[0]) / "models" / "dlib_face_recognition_resnet_model_v1.dat"
