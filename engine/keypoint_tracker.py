"""What the sender runs on every camera frame for a generator that is driven by keypoints: crop, then detect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.face.closable import Closable
from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.landmarks import FaceObservation, LandmarkTracker, TrackerConfig
from engine.generators.keypoint_generator import Detector
from engine.motion import Array, Keypoints

ROOM = 0.02
"Of the crop's side: when the face comes nearer to its edge than this, the crop is put around it anew."


class KeypointTracker(Closable):
    """Turns the frames of one camera or file into keypoints.

    They are found in a square around the head that stays where the first face was: the network knows heads of that
    size, and movements are measured in it. When the face leaves it, another square takes its place, and what is found
    there is told in the first one's coordinates, so that nothing jumps.
    """

    def __init__(
        self,
        detector: Detector,
        size: int,
        tracking: TrackerConfig = TrackerConfig(),  # noqa: B008 (frozen)
        crop: HeadCrop | None = None,
    ) -> None:
        """size: side of the frames that the detector takes. crop: the square to look at, if it is known already."""
        self._detector, self._size = detector, size
        self._landmarks = LandmarkTracker(tracking)
        self._given = self._first = self._crop = crop
        self._observation: FaceObservation | None = None

    @property
    def observation(self) -> FaceObservation | None:
        """What was seen in the last frame; None without a face."""
        return self._observation

    def close(self) -> None:
        self._landmarks.close()

    def reset(self) -> None:
        """Start again, for another person or another camera."""
        self._landmarks.reset()
        self._first = self._crop = self._given
        self._observation = None

    def process(self, frame_rgb: NDArray[np.uint8], time: float) -> Keypoints | None:
        """The motion in the next (H, W, 3) RGB frame, captured at `time` (seconds); None where there is no face."""
        self._observation = seen = self._landmarks.track(frame_rgb)
        if seen is None:
            return None
        height, width = frame_rgb.shape[:2]
        if self._crop is None or (self._given is None and _leaves(self._crop, seen.landmarks, width, height)):
            self._crop = HeadCrop.around(seen.landmarks, width, height, PORTRAIT_MARGIN)
        self._first = self._first or self._crop
        found = self._detector(self._crop.apply(frame_rgb, self._size)[None])[0]
        return replace(_seen_from(found, self._crop, self._first), time=time, confidence=seen.confidence)


def _leaves(crop: HeadCrop, landmarks: Array, width: int, height: int) -> bool:
    inside = crop.landmarks_in(landmarks[:, :2], width, height)
    # A crop that is as large as the picture allows shows as much as there is.
    return bool(np.abs(inside).max() > 0.5 - ROOM) and crop.side < min(width, height)


def _seen_from(found: Keypoints, crop: HeadCrop, first: HeadCrop) -> Keypoints:
    """Keypoints of one square in the coordinates of another."""
    if crop == first:
        return found
    scale = crop.side / first.side
    middle = np.array((crop.left, crop.top), np.float64) + crop.side / 2
    first_middle = np.array((first.left, first.top), np.float64) + first.side / 2
    points = (scale * found.points + (middle - first_middle) / (first.side / 2)).astype(np.float32)
    # J says how the canonical frame around the point appears in the picture: larger there by the same factor.
    return Keypoints(points, scale * found.jacobians, found.time, found.confidence)
