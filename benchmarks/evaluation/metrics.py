"""What is measured of one rendered frame, beside the true one or the motion that was intended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation.clips import Array, Frame
from engine.face.fit import fit_state
from engine.face.landmarks import FaceError, StillFaceDetector
from engine.face.model import FaceModel, Person
from engine.motion import FaceState
from engine.quality import (
    DlibEmbedder,
    Embedder,
    FaceRegions,
    FeatureDistribution,
    InceptionFeatures,
    Lpips,
    MetricUnavailableError,
    action_agreement,
    average_euclidean_distance,
    average_keypoint_distance,
    cosine_similarity,
    expression_distance,
    facial_actions,
    flicker,
    frechet_distance,
    l1,
    ms_ssim,
    normalised_mean_keypoint_error,
    psnr,
)
from engine.quality.identity import Embedding
from engine.quality.image import MS_SSIM_SIDE, ssim_with_map
from engine.quality.pose import head_angle_error

Row = dict[str, float]
"Values of one frame by name; what could not be measured is not in it."

SLOW_EVERY = 4
"MS-SSIM, LPIPS, FID, AED and CSIM are measured in every so manieth compared frame."

Tool = TypeVar("Tool")


@dataclass(frozen=True, eq=False)
class View:
    """What is seen in one picture."""

    frame: Frame
    landmarks: Array | None
    "(478, 3) frame coordinates by the detector for still pictures; None where it finds no face."
    state: FaceState | None
    actions: NDArray[np.bool_] | None
    embedder: Embedder | None

    @cached_property
    def embedding(self) -> Embedding | None:
        """Who is seen; made when asked for."""
        if self.embedder is None or self.landmarks is None:
            return None
        return self.embedder.embed(self.frame, self.landmarks)


class Metrics:
    """Looks at pictures and compares them, by the metrics that can be had here."""

    def __init__(self, model: FaceModel, lpips_weights: Path | None = None, fid_network: Path | None = None) -> None:
        """lpips_weights, fid_network: see `Lpips` and `InceptionFeatures`.

        Raises MetricUnavailableError for a named file that cannot be used, and without the extra for SSIM.
        """
        self._model = model
        self.not_measured: dict[str, str] = {}
        "Metric to the reason why not."
        black = np.zeros((256, 256, 3), np.uint8)
        ssim_with_map(black, black)  # without scikit-image nothing is worth starting
        self._ms_ssim = self._have("ms_ssim", lambda: ms_ssim(black, black)) is not None
        self._embedder = self._have("aed, csim", DlibEmbedder)
        self._lpips = self._have("lpips", lambda: Lpips(lpips_weights), required=lpips_weights is not None)
        self._inception = self._have("fid", lambda: InceptionFeatures(fid_network), required=fid_network is not None)
        self._features: dict[str, FeatureDistribution] = {}
        self._detector = StillFaceDetector()

    def _have(self, name: str, make: Callable[[], Tool], required: bool = False) -> Tool | None:
        try:
            return make()
        except MetricUnavailableError as error:
            if required:
                raise
            self.not_measured[name] = str(error)
            return None

    def close(self) -> None:
        """Free the detector."""
        self._detector.close()

    @property
    def embedder_name(self) -> str | None:
        return None if self._embedder is None else self._embedder.name

    def look(self, frame: Frame, person: Person) -> View:
        """See what a picture of `person` shows."""
        try:
            landmarks = self._detector.detect(frame).landmarks
        except FaceError:
            return View(frame, None, None, None, None)
        state = fit_state(self._model, person, landmarks)
        return View(frame, landmarks, state, facial_actions(person, state, landmarks), self._embedder)

    def against_truth(
        self, rendered: View, truth: View, previous: tuple[Frame, Frame] | None = None, slow: bool = False
    ) -> Row:
        """All metrics of a rendered frame beside the true one.

        previous: rendered and true frame compared before, for flicker. slow: also those of SLOW_EVERY.
        """
        frame, true = rendered.frame, truth.frame
        similarity, similarity_map = ssim_with_map(frame, true)
        row: Row = {"l1": l1(frame, true), "psnr": psnr(frame, true), "ssim": similarity}
        if previous is not None:
            row["flicker"] = flicker(previous[0], frame, previous[1], true)
        if slow:
            if self._ms_ssim and len(frame) >= MS_SSIM_SIDE:
                row["ms_ssim"] = ms_ssim(frame, true)
            if self._lpips is not None:
                row["lpips"] = self._lpips(frame, true)
        if truth.landmarks is None:
            return row
        regions = FaceRegions.of(truth.landmarks, true.shape[0])
        row |= {f"{name}_l1": value for name, value in regions.l1(frame, true).items()}
        row |= {f"{name}_ssim": value for name, value in regions.means(similarity_map).items()}
        row["lost"] = float(rendered.landmarks is None)
        if rendered.landmarks is not None:
            row["akd"] = 100 * average_keypoint_distance(rendered.landmarks, truth.landmarks)
            row["nmke"] = 100 * normalised_mean_keypoint_error(rendered.landmarks, truth.landmarks)
            row |= _motion_agreement(rendered, truth.state, truth.actions)
            if slow:
                row |= _identity_agreement(rendered, truth)
        return row

    def against_intention(
        self, rendered: View, person: Person, intended: FaceState, source: View, slow: bool = False
    ) -> Row:
        """Metrics of a frame that has no true one: against what was intended, and the source's identity."""
        row: Row = {"lost": float(rendered.landmarks is None)}
        if rendered.landmarks is None or rendered.state is None:
            return row
        landmarks = person.landmarks(intended)
        row["akd"] = 100 * average_keypoint_distance(rendered.landmarks, landmarks)
        row["expression"] = 100 * expression_distance(rendered.state, intended)
        row |= _motion_agreement(rendered, intended, facial_actions(person, intended, landmarks))
        if slow:
            row |= _identity_agreement(rendered, source)
        return row

    def gather(self, name: str, frame: Frame) -> None:
        """Add a frame to the distribution `name`, where FID is measured."""
        if self._inception is not None:
            self._features.setdefault(name, FeatureDistribution()).add(self._inception(frame))

    def frechet_distances(self, truth: str) -> dict[str, float]:
        """FID of every distribution that was gathered, by name, to the distribution `truth`."""
        return {
            name: frechet_distance(features, self._features[truth])
            for name, features in self._features.items()
            if name != truth
        }


def _motion_agreement(rendered: View, state: FaceState | None, actions: NDArray[np.bool_] | None) -> Row:
    if rendered.state is None or rendered.actions is None or state is None or actions is None:
        return {}
    return {
        "pose_square": head_angle_error(rendered.state, state),
        "aucon": action_agreement(rendered.actions, actions),
    }


def _identity_agreement(rendered: View, truth: View) -> Row:
    if rendered.embedding is None or truth.embedding is None:
        return {}
    return {
        "aed": average_euclidean_distance(rendered.embedding, truth.embedding),
        "csim": cosine_similarity(rendered.embedding, truth.embedding),
    }
