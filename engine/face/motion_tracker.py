"""What the sender runs on every camera frame: landmarks, fit and smoothing in one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.closable import Closable
from engine.face.fit import FaceFitter
from engine.face.landmarks import FaceObservation, LandmarkTracker, TrackerConfig
from engine.face.model import FaceModel, Person
from engine.face.smoothing import FaceStateSmoother, SmootherConfig
from engine.motion import FaceState


class MotionTracker(Closable):
    """Turns the frames of one camera or file into motion, and learns the person meanwhile."""

    def __init__(
        self,
        model: FaceModel,
        smoothing: SmootherConfig | None = SmootherConfig(),  # noqa: B008 (frozen)
        tracking: TrackerConfig = TrackerConfig(),  # noqa: B008 (frozen)
        source: tuple[Person, FaceState] | None = None,
    ) -> None:
        """smoothing: None leaves the motion as fitted. source: see `FaceFitter`."""
        self._landmarks = LandmarkTracker(tracking)
        self._fitter = FaceFitter(model, source=source)
        self._smoother = FaceStateSmoother(model, smoothing) if smoothing is not None else None
        self._observation: FaceObservation | None = None

    def close(self) -> None:
        self._landmarks.close()

    @property
    def person(self) -> Person:
        """The person in front of the camera, as known now."""
        return self._fitter.person

    @property
    def observation(self) -> FaceObservation | None:
        """What was seen in the last frame; None without a face."""
        return self._observation

    def reset(self) -> None:
        """Start again, for another person or another camera."""
        self._landmarks.reset()
        self._fitter.reset()
        if self._smoother is not None:
            self._smoother.reset()
        self._observation = None

    def process(self, frame_rgb: NDArray[np.uint8], time: float) -> FaceState | None:
        """The motion in the next (H, W, 3) RGB frame, captured at `time` (seconds); None where there is no face."""
        self._observation = self._landmarks.track(frame_rgb)
        if self._observation is None:
            self._fitter.lost()
            return None
        state = self._fitter.fit(self._observation.landmarks, time, self._observation.confidence)
        return state if self._smoother is None else self._smoother.step(state)
