"""What a user of the library writes: a picture in, a talking head out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.fit import fit_source
from engine.face.images import load_image
from engine.face.landmarks import detect_face
from engine.face.model import FaceModel, Person
from engine.generators import load_generator
from engine.motion import FaceState, ReferencePose, absolute_motion, relative_motion
from engine.runtime import load_runtime

Picture = NDArray[np.uint8]
"(H, W, 3) RGB."


class Avatar:
    """One source picture, encoded once, and rendered with the motion it is given."""

    def __init__(self, picture: Picture, crop: HeadCrop, generator: str, runtime: str, size: int) -> None:
        """Most callers want `from_image`. `crop` says which square of `picture` the avatar shows."""
        model = FaceModel.load()
        self._picture = picture
        self._crop = crop
        frame = crop.apply(picture, size)
        landmarks = detect_face(frame).landmarks
        self.person: Person
        self.source_state: FaceState
        self.person, self.source_state = fit_source(model, landmarks)
        self.size = size
        self.source_frame: Picture = frame
        self._generator = load_generator(generator, size)
        compiled = load_runtime(runtime).compile(self._generator)
        self._render = compiled.render
        # Not the detector's: the depth of these agrees with that of the landmarks that will drive.
        own = self.person.landmarks(self.source_state).astype(np.float32)
        self._identity = compiled.encode(frame[None], own[None])
        self._reference = ReferencePose()

    @classmethod
    def from_image(
        cls,
        source: str | Path | Picture,
        *,
        generator: str = "mesh",
        runtime: str = "numpy",
        size: int = 256,
        crop: Literal["auto", "none"] = "auto",
    ) -> Avatar:
        """Make an avatar of the one face in a picture (a path, or (H, W, 3) uint8 RGB).

        crop: 'auto' finds the head and crops around it; 'none' takes a square picture, a head crop already, as it is.
        Raises ImageError for a picture that cannot be used, NoFaceError, SeveralFacesError, GeneratorError.
        """
        picture = source if isinstance(source, np.ndarray) else load_image(Path(source))
        height, width = picture.shape[:2]
        if crop == "none":
            box = HeadCrop.whole(width, height)
        else:
            box = HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN)
        return cls(picture, box, generator, runtime, size)

    def render(self, driving: FaceState, motion: Literal["relative", "absolute"] = "relative") -> Picture:
        """The next frame, (size, size, 3) RGB.

        driving: whose motion to take over. 'relative' moves the picture from its own pose by what the driver moves away
        from his habitual one, which is learned from the states given so far (`reset` forgets it); 'absolute' takes pose
        and place as they are.
        """
        return self.render_state(self.transfer(driving, motion))

    def transfer(self, driving: FaceState, motion: Literal["relative", "absolute"] = "relative") -> FaceState:
        """The state in which `render` shows the avatar for a driving state."""
        if motion == "absolute":
            return absolute_motion(self.source_state, driving)
        return relative_motion(self.source_state, self._reference.update(driving), driving)

    def render_state(self, state: FaceState) -> Picture:
        """The avatar in exactly this state, in frame coordinates of its own square frame."""
        frame: Picture = self._render(self._identity, self._generator.motion(self.person, state))[0]
        return frame

    def paste_back(self, frame: Picture) -> Picture:
        """A rendered frame put back into the full source picture, with a soft edge."""
        return self._crop.paste(self._picture, frame)

    def reset(self) -> None:
        """Forget the driver: another one begins."""
        self._reference = ReferencePose()
