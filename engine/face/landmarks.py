"""Face landmarks by MediaPipe (0.10.14: its wheel carries its models), in still pictures and along a video.

Both ways end in a `FaceObservation`. MediaPipe's mesh has its own short-range detector, which misses faces below about
a fifth of the picture; the full-range detector finds those, if need be on overlapping tiles, and the mesh then runs on
a window around the face. Confidence, 0 to 1, is the product of four factors that each say how a view can be poor:

- the detector's score for the face (in a video refreshed once a second; 0.5 while the detector does not see the face),
- size: 1 from 40 pixels between the outer eye corners, falling to 0 at 8,
- the share of landmarks inside the picture, 1 for all, 0 for half,
- how far the rigid landmarks are from the mean head's: 1 up to an RMS of 8 % of the eye corners' distance, 0 from 20 %.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.closable import Closable
from engine.face.fit import FitError, align
from engine.face.model import FaceModel
from engine.face.native_log import quiet_native_log
from engine.face.regions import LEFT_EYE_OUTER, MESH_POINTS, POINTS, RIGHT_EYE_OUTER
from engine.motion import Array, from_pixels

with quiet_native_log():
    from mediapipe.python.solutions.face_detection import FaceDetection
    from mediapipe.python.solutions.face_mesh import FaceMesh

# MediaPipe calls what its own protobuf has deprecated, once per result.
warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype\(\) is deprecated", category=UserWarning)

Image = NDArray[np.uint8]


class FaceError(ValueError):
    """There is not exactly one face to work with."""


class NoFaceError(FaceError):
    """No face was found."""


class SeveralFacesError(FaceError):
    """More than one face could be meant."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} faces in the picture; crop it so that it shows one head only")
        self.count = count


@dataclass(frozen=True, eq=False)
class FaceObservation:
    """One face in one frame."""

    landmarks: Array
    "(478, 3) frame coordinates; z in the same unit, from MediaPipe's guess."
    confidence: float
    "0 to 1; see the module."
    faces: int
    "How many faces of comparable size the frame shows, this one included; in a video as of the latest look."


@dataclass(frozen=True)
class Detection:
    """A face found by the detector, in pixels."""

    left: float
    top: float
    width: float
    height: float
    score: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.width / 2, self.top + self.height / 2

    def overlaps(self, other: Detection) -> bool:
        """Whether both are the same face: the smaller one lies half in the other."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return min(width, height) > 0 and width * height > 0.5 * min(
            self.width * self.height, other.width * other.height
        )


SCORE_AT_LEAST = 0.5
SURE_SCORE = 0.7
"A lower one may be a pattern that resembles a face: first see whether a closer look finds something better."
COMPARABLE = 0.4
"Faces narrower than this share of the widest one are bystanders and do not count."
_DETECTOR_SIDE = 640
"Pictures are made this small for the detectors, whose networks see 192 and 128 pixels."


class FaceDetector(Closable):
    """MediaPipe's full-range detector, and its short-range one for faces that fill the picture."""

    def __init__(self, close_up: bool = True) -> None:
        """close_up: run the short-range detector too."""
        self._full = _start(lambda: FaceDetection(min_detection_confidence=SCORE_AT_LEAST, model_selection=1))
        self._short: FaceDetection | None = None
        if close_up:
            self._short = _start(lambda: FaceDetection(min_detection_confidence=SCORE_AT_LEAST, model_selection=0))

    def close(self) -> None:
        for detector in (self._full, self._short):
            if detector is not None:
                _close(detector)

    def detect(self, image_rgb: Image) -> list[Detection]:
        """The faces of comparable size, widest first."""
        return _comparable(self._raw(image_rgb))

    def detect_small(self, image_rgb: Image, parts_at_most: int = 4) -> list[Detection]:
        """The same, and where none is sure, on overlapping tiles of a half and then a quarter of the sides."""
        whole = self.detect(image_rgb)
        if any(one.score >= SURE_SCORE for one in whole):
            return whole
        height, width = image_rgb.shape[:2]
        for parts in (2, 4):
            tile_width, tile_height = width // parts, height // parts
            if parts > parts_at_most or min(tile_width, tile_height) < 160:
                break
            raw = []
            for y in range(0, height - tile_height + 1, tile_height // 2):
                for x in range(0, width - tile_width + 1, tile_width // 2):
                    tile = np.ascontiguousarray(image_rgb[y : y + tile_height, x : x + tile_width])
                    raw += [
                        Detection(one.left + x, one.top + y, one.width, one.height, one.score)
                        for one in self._raw(tile, full_range_only=True)
                        if one.score >= SURE_SCORE
                    ]
            if raw:
                return _comparable(raw)
        return whole

    def _raw(self, image_rgb: Image, full_range_only: bool = False) -> list[Detection]:
        height, width = image_rgb.shape[:2]
        factor = _DETECTOR_SIDE / max(height, width)
        small = image_rgb
        if factor < 1:
            size = max(round(width * factor), 1), max(round(height * factor), 1)
            small = np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        found = []
        for detector in (self._full,) if full_range_only or self._short is None else (self._full, self._short):
            for one in detector.process(small).detections or ():
                box = one.location_data.relative_bounding_box
                found.append(
                    Detection(box.xmin * width, box.ymin * height, box.width * width, box.height * height, one.score[0])
                )
        return found


def _comparable(detections: list[Detection]) -> list[Detection]:
    """One detection a face, the widest first, without bystanders."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda detection: -detection.score):
        if not any(one.overlaps(other) for other in kept):
            kept.append(one)
    kept.sort(key=lambda detection: -detection.width)
    return [one for one in kept if one.width >= COMPARABLE * kept[0].width]


class StillFaceDetector(Closable):
    """Finds the one face of still pictures, each for itself: what `detect_face` does, for many of them."""

    def __init__(self) -> None:
        self._detector = FaceDetector()
        self._mesh = _start(
            lambda: FaceMesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.3)
        )

    def close(self) -> None:
        self._detector.close()
        _close(self._mesh)

    def detect(self, image_rgb: Image) -> FaceObservation:
        """The one face of a picture, (H, W, 3) RGB; see `detect_face`."""
        height, width = image_rgb.shape[:2]
        found = self._detector.detect_small(image_rgb)
        if len(found) > 1:
            raise SeveralFacesError(len(found))
        windows = [_window_around(found[0], width, height, grow) for grow in (2.0, 3.0, 1.5)] if found else []
        windows.append((0, 0, width, height))
        for window in windows:
            pixels = _mesh_in_window(self._mesh, image_rgb, window)
            if pixels is not None:
                score = found[0].score if found else SCORE_AT_LEAST
                return FaceObservation(from_pixels(pixels, width, height), confidence(pixels, width, height, score), 1)
        raise NoFaceError(
            f"no face found in the {width}x{height} picture; use one that shows the whole face from the front, well lit"
        )


def detect_face(image_rgb: Image) -> FaceObservation:
    """The one face of a still picture, (H, W, 3) RGB.

    A face that is much larger than all others is the one. Raises NoFaceError, or SeveralFacesError with the count.
    """
    with StillFaceDetector() as detector:
        return detector.detect(image_rgb)


@dataclass(frozen=True)
class TrackerConfig:
    """How a video is followed."""

    look_interval: int = 25
    "Frames from one look of the detector to the next: counts the faces and refreshes the score."
    search_interval: int = 8
    "While no face is in view, the full-range detector looks at every so many frames (the mesh looks at all)."
    close_face: float = 0.2
    "A face as wide as this share of the frame's longer side is tracked in the whole frame, a smaller one in a window."


Window = tuple[int, int, int, int]
"Left, top, width and height in pixels."


class LandmarkTracker(Closable):
    """Follows one face through a video: the largest at first, then the same one until it is lost."""

    def __init__(self, config: TrackerConfig = TrackerConfig()) -> None:
        self._config = config
        self._mesh = _start(lambda: FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True))
        self._detector = FaceDetector(close_up=False)
        self.reset()

    def close(self) -> None:
        _close(self._mesh)
        self._detector.close()

    def reset(self) -> None:
        """Forget the face: the next frame is searched for the largest one."""
        self._window: Window | None = None
        self._tracking = False
        self._frames = 0
        self._frames_lost = 0
        self._faces = 0
        self._score = SCORE_AT_LEAST
        self._detected: Detection | None = None
        self._size: tuple[int, int] | None = None

    def track(self, frame_rgb: Image) -> FaceObservation | None:
        """The face in the next frame, (H, W, 3) RGB, or None where there is none."""
        height, width = frame_rgb.shape[:2]
        if (width, height) != self._size:  # another camera, or another resolution
            self.reset()
            self._size = width, height
        number = self._frames
        self._frames += 1
        self._detected = None
        if number == 0 or (not self._tracking and self._frames_lost % self._config.search_interval == 0):
            self._search(frame_rgb)
        window = self._window or (0, 0, width, height)
        pixels = _mesh_in_window(self._mesh, frame_rgb, window)
        if pixels is None and (self._tracking or number == 0):
            # The mesh first looks where a face was last; only the call after a miss searches the picture.
            pixels = _mesh_in_window(self._mesh, frame_rgb, window)
        if pixels is None and self._tracking:
            pixels = _mesh_in_window(self._mesh, frame_rgb, self._search(frame_rgb))
        if pixels is None and self._window is None and self._detected is not None:
            # The full-range detector sees a face where the mesh's own does not: show the mesh that part only.
            self._window = _window_around(self._detected, width, height, 2.5)
            pixels = _mesh_in_window(self._mesh, frame_rgb, self._window)
        if pixels is None:
            self._tracking = False
            self._frames_lost += 1
            return None
        self._tracking = True
        self._frames_lost = 0
        box = _box_of(pixels)
        if number % self._config.look_interval == self._config.look_interval - 1:
            self._look(frame_rgb, box)
        if self._window is not None:
            self._follow(box, width, height)
        return FaceObservation(
            from_pixels(pixels, width, height), confidence(pixels, width, height, self._score), max(self._faces, 1)
        )

    def _search(self, frame_rgb: Image) -> Window:
        """Set the window on the largest face, or the whole frame."""
        height, width = frame_rgb.shape[:2]
        found = self._detector.detect_small(frame_rgb, parts_at_most=2)
        self._faces = len(found)
        self._window = None
        if found:
            self._detected = found[0]
            self._score = found[0].score
            if len(found) > 1 or found[0].width < self._config.close_face * max(width, height):
                self._window = _window_around(found[0], width, height, 2.5)
        return self._window or (0, 0, width, height)

    def _look(self, frame_rgb: Image, box: Detection) -> None:
        """Count the faces, and refresh the score of the tracked one."""
        found = self._detector.detect(frame_rgb)
        self._faces = len(found)
        scores = [one.score for one in found if one.overlaps(box)]
        if not scores and self._window is not None:  # too small for a look at the whole frame
            left, top, width, height = self._window
            part = np.ascontiguousarray(frame_rgb[top : top + height, left : left + width])
            scores = [one.score for one in self._detector.detect(part)]
        self._score = max(scores, default=SCORE_AT_LEAST)

    def _follow(self, box: Detection, width: int, height: int) -> None:
        """Move the window when the face nears its edge or changes size; seldom, as the mesh then starts anew."""
        assert self._window is not None
        left, top, window_width, window_height = self._window
        margin = 0.25 * box.width
        inside = (
            (box.left > left + margin or left == 0)
            and (box.top > top + margin or top == 0)
            and (box.left + box.width < left + window_width - margin or left + window_width == width)
            and (box.top + box.height < top + window_height - margin or top + window_height == height)
        )
        share = box.width / max(min(window_width, window_height), 1)
        if not inside or not 0.2 < share < 0.65:
            self._window = _window_around(box, width, height, 2.5)


def confidence(pixels: Array, width: int, height: int, score: float) -> float:
    """0 to 1, how far to trust the (478, 3) landmarks in pixels of a `width` x `height` frame; see the module."""
    eyes = float(np.linalg.norm(pixels[RIGHT_EYE_OUTER] - pixels[LEFT_EYE_OUTER]))
    size = (eyes - 8.0) / 32.0
    x, y = pixels[:MESH_POINTS, 0], pixels[:MESH_POINTS, 1]
    inside = float(((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).mean())
    model = _model()
    weights = model.rigidity.astype(np.float64)
    try:
        pose = align(model.mean, pixels, weights)
    except FitError:
        return 0.0
    error = float(np.sqrt(weights @ np.square((pixels - pose.project(model.mean)) / pose.scale).sum(1)))
    factors = np.clip((score, size, 2.0 * inside - 1.0, (0.20 - error) / 0.12), 0.0, 1.0)
    return float(factors.prod())


_loaded_model: FaceModel | None = None


def _model() -> FaceModel:
    global _loaded_model
    if _loaded_model is None:
        _loaded_model = FaceModel.load()
    return _loaded_model


def _window_around(face: Detection, width: int, height: int, grow: float) -> Window:
    """A square window `grow` times as wide as the face, cut off at the picture's edges."""
    side = grow * max(face.width, face.height)
    x, y = face.centre
    left, top = max(round(x - side / 2), 0), max(round(y - side / 2), 0)
    right, bottom = min(round(x + side / 2), width), min(round(y + side / 2), height)
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _box_of(pixels: Array) -> Detection:
    (left, top), (right, bottom) = pixels[:MESH_POINTS, :2].min(0), pixels[:MESH_POINTS, :2].max(0)
    return Detection(float(left), float(top), float(right - left), float(bottom - top), 1.0)


def _mesh_in_window(mesh: FaceMesh, image_rgb: Image, window: Window) -> Array | None:
    """(478, 3) pixels of the whole image, from the mesh run on the window; None without a face."""
    left, top, width, height = window
    part = np.ascontiguousarray(image_rgb[top : top + height, left : left + width])
    faces = mesh.process(part).multi_face_landmarks
    if not faces:
        return None
    relative = np.array([(point.x, point.y, point.z) for point in faces[0].landmark], np.float32)
    if relative.shape != (POINTS, 3):  # without irises: the refinement failed
        return None
    # z has the scale of x.
    return relative * np.array((width, height, width), np.float32) + np.array((left, top, 0), np.float32)


Solution = TypeVar("Solution", FaceDetection, FaceMesh)


def _start(make: Callable[[], Solution]) -> Solution:
    """Make a MediaPipe solution and run it once: its networks are built in threads of its own, and not silently."""
    with quiet_native_log():
        solution = make()
        solution.process(np.zeros((64, 64, 3), np.uint8))
    return solution


def _close(solution: FaceDetection | FaceMesh) -> None:
    if solution._graph is not None:  # a second close of a solution raises
        solution.close()
