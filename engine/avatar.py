"""What a user of the library writes: a picture in, a talking head out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.driving import Mode, Posed, drive_for
from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.fit import fit_source
from engine.face.images import load_image
from engine.face.landmarks import detect_face
from engine.face.model import FaceModel, Person
from engine.face.motion_tracker import MotionTracker
from engine.generators import GeneratorError, Identity, Tensors, load_generator
from engine.generators.keypoint_generator import KeypointGenerator
from engine.keypoint_tracker import KeypointTracker
from engine.motion import FaceState, Motion
from engine.quality.one_person import require_one_person
from engine.runtime import RuntimeConfig, load_runtime

DEFAULT_GENERATOR, DEFAULT_RUNTIME = "portrait", "auto"
LIGHT_GENERATOR = "mesh"
"For machines on which the default one is too slow."

Tracker = MotionTracker | KeypointTracker
Picture = NDArray[np.uint8]
"(H, W, 3) RGB."


class Avatar:
    """Pictures of one person, encoded once, and rendered with the motion it is given."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        crops: Sequence[HeadCrop],
        generator: str,
        runtime: str,
        size: int,
        at_once: int = 1,
    ) -> None:
        """Most callers want `from_image`. `crops` say which square of each picture the avatar shows."""
        model = FaceModel.load()
        self._picture = pictures[0]
        self._crop = crops[0]
        frames = [crop.apply(picture, size) for picture, crop in zip(pictures, crops, strict=True)]
        landmarks = [detect_face(frame).landmarks for frame in frames]
        require_one_person(frames, landmarks)
        fits = [fit_source(model, points) for points in landmarks]
        self.person: Person
        self.source_state: FaceState
        self.person, self.source_state = fits[0]
        self.size = size
        self.source_frame: Picture = frames[0]
        self.generator = load_generator(generator, size)
        self._at_once = at_once
        compiled = load_runtime(runtime, at_once).compile(self.generator)
        self._render = compiled.render
        # Not the detector's landmarks: the depth of these agrees with that of the landmarks that will drive.
        own = [person.landmarks(state).astype(np.float32) for person, state in fits]
        self.identity: Identity = self.generator.merge(
            [compiled.encode(frame[None], points[None]) for frame, points in zip(frames, own, strict=True)]
        )
        self._drive = drive_for(self.generator, self.person, self.source_state, self.identity)

    @classmethod
    def from_image(
        cls,
        source: str | Path | Picture | Sequence[str | Path | Picture],
        *,
        generator: str = DEFAULT_GENERATOR,
        runtime: str = DEFAULT_RUNTIME,
        size: int = 256,
        crop: Literal["auto", "none"] = "auto",
        at_once: int = 1,
    ) -> Avatar:
        """Make an avatar of the one face in a picture (a path, or (H, W, 3) uint8 RGB), or in several of one person.

        Of several pictures the first is the one that is animated; the others lend what it does not show: teeth, closed
        eyes, the other cheek.
        crop: 'auto' finds the head and crops around it; 'none' takes a square picture, a head crop already, as it is.
        at_once: how many frames are rendered at the same time, by as many threads that call `render_state`, or by
        `render_each`: they share what there is of cores.
        Raises ImageError for a picture that cannot be used, NoFaceError, SeveralFacesError, DifferentPeopleError (where
        dlib is there to tell), GeneratorError.
        """
        sources = [source] if isinstance(source, str | Path | np.ndarray) else list(source)
        if not sources:
            raise GeneratorError("an avatar is made of at least one picture")
        pictures = [picture if isinstance(picture, np.ndarray) else load_image(Path(picture)) for picture in sources]
        return cls(pictures, [_head_crop(picture, crop) for picture in pictures], generator, runtime, size, at_once)

    def render(self, driving: Motion, motion: Mode = "relative") -> Picture:
        """The next frame, (size, size, 3) RGB.

        driving: whose motion to take over, of the kind that the generator is driven by (`load_tracker` makes it of
        camera frames). 'relative' moves the picture from its own pose by what the driver moves away from his habitual
        one, which is learned from the states given so far (`reset` forgets it), or with keypoints from his first frame;
        'absolute' takes pose and place as they are. Raises GeneratorError for motion of another kind.
        """
        return self.render_state(self.transfer(driving, motion))

    def render_each(self, driving: Iterable[Motion | None], motion: Mode = "relative") -> Generator[Picture]:
        """As `render`, all frames of a file in order; for None, where there was no face, the frame before once more.

        Takes a few states more from `driving` than it has rendered.
        """
        states = (None if state is None else self.transfer(state, motion) for state in driving)
        yield from self._in_order(None if state is None else partial(self.render_state, state) for state in states)

    def render_motions(self, motions: Iterable[Tensors]) -> Generator[Picture]:
        """As `render_each`, of what the generator's `render` takes, e.g. of what a `VoiceDriver` makes."""
        yield from self._in_order(partial(self._rendered, motion) for motion in motions)

    def _in_order(self, frames: Iterable[Callable[[], Picture] | None]) -> Generator[Picture]:
        with ThreadPoolExecutor(self._at_once) as pool:
            frame: Future[Picture] = Future()
            frame.set_result(self.source_frame)
            waiting: deque[Future[Picture]] = deque()
            try:
                for make in frames:
                    if make is not None:
                        frame = pool.submit(make)
                    waiting.append(frame)
                    if len(waiting) > self._at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for unwanted in waiting:
                    unwanted.cancel()

    def transfer(self, driving: Motion, motion: Mode = "relative") -> Posed:
        """The pose in which `render` shows the avatar for a driver's motion."""
        return self._drive.transfer(driving, motion)

    def render_state(self, state: Posed) -> Picture:
        """The avatar in exactly this state; a face state is in frame coordinates of the avatar's own square frame."""
        return self._rendered(self._drive.tensors(state))

    def _rendered(self, motion: Tensors) -> Picture:
        frame: Picture = self._render(self.identity, motion)[0]
        return frame

    def paste_back(self, frame: Picture) -> Picture:
        """A rendered frame put back into the full source picture, with a soft edge."""
        return self._crop.paste(self._picture, frame)

    def begin(self, driving: Motion) -> None:
        """Forget the driver; another one begins, whose relative motion is measured from this one of his states."""
        self._drive.reset()
        self._drive.transfer(driving, "relative")

    def reset(self) -> None:
        """Forget the driver: another one begins."""
        self._drive.reset()


def load_tracker(
    generator: str = DEFAULT_GENERATOR,
    runtime: str = DEFAULT_RUNTIME,
    size: int = 256,
    source: tuple[Person, FaceState] | None = None,
) -> Tracker:
    """What turns camera frames into the motion that drives a generator.

    source: person and state of the picture that is animated, see `FaceFitter`. Raises GeneratorError,
    RuntimeUnavailableError.
    """
    made = load_generator(generator, size)
    if isinstance(made, KeypointGenerator):
        return KeypointTracker(load_runtime(runtime).detector(made), size)
    return MotionTracker(FaceModel.load(), source=source)


def frames_at_once() -> int:
    """How many frames of a file are best rendered at the same time on this machine: each has a thread then."""
    return RuntimeConfig().thread_count()


def _head_crop(picture: Picture, crop: Literal["auto", "none"]) -> HeadCrop:
    height, width = picture.shape[:2]
    if crop == "none":
        return HeadCrop.whole(width, height)
    return HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN)
