"""How a generator is driven: by one of the two kinds of motion, each with its own transfer to the source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from engine.face.model import Person
from engine.generators import FaceGenerator, Generator, GeneratorError, Identity, Tensors
from engine.generators.keypoint_generator import KeypointGenerator
from engine.keypoint_motion import KeypointTransfer, TransferConfig, Transferred
from engine.motion import FaceState, Keypoints, Motion, ReferencePose, absolute_motion, relative_motion

Mode = Literal["relative", "absolute"]
Posed = FaceState | Transferred
"What an avatar is shown in: a driver's motion after its transfer."


class Drive(ABC):
    """Brings the motion of one driver to one source, and says it in the generator's words."""

    @abstractmethod
    def transfer(self, driving: Motion, mode: Mode) -> Posed:
        """The source in the driver's motion. Raises GeneratorError for motion of the other kind."""

    @abstractmethod
    def tensors(self, posed: Posed) -> Tensors:
        """What the generator's `render` takes. Raises GeneratorError for what is of the other kind."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the driver: another one begins."""


class FaceDrive(Drive):
    """By face states; relative motion is measured from the driver's habitual pose."""

    def __init__(self, generator: FaceGenerator, person: Person, source: FaceState) -> None:
        self._generator, self._person, self._source = generator, person, source
        self._reference = ReferencePose()

    def transfer(self, driving: Motion, mode: Mode) -> FaceState:
        if not isinstance(driving, FaceState):
            raise _other_kind(self._generator, "face states", "keypoints")
        if mode == "absolute":
            return absolute_motion(self._source, driving)
        return relative_motion(self._source, self._reference.update(driving), driving)

    def tensors(self, posed: Posed) -> Tensors:
        if not isinstance(posed, FaceState):
            raise _other_kind(self._generator, "face states", "keypoints")
        return self._generator.motion(self._person, posed)

    def reset(self) -> None:
        self._reference = ReferencePose()


class KeypointDrive(Drive):
    """By keypoints; relative motion is measured from the driver's first frame, which should look as the source does."""

    def __init__(self, generator: KeypointGenerator, identity: Identity) -> None:
        self._generator = generator
        self._source = generator.source_keypoints(identity)
        self.reset()

    def transfer(self, driving: Motion, mode: Mode) -> Transferred:
        if not isinstance(driving, Keypoints):
            raise _other_kind(self._generator, "keypoints", "face states")
        try:
            return self._transfers[mode].transfer(driving)
        except ValueError as error:
            raise GeneratorError(
                f"generator {self._generator.name}: {error}; both sides need the same weights"
            ) from error

    def tensors(self, posed: Posed) -> Tensors:
        if isinstance(posed, FaceState):
            raise _other_kind(self._generator, "keypoints", "face states")
        return self._generator.motion(posed)

    def reset(self) -> None:
        modes: tuple[Mode, ...] = ("relative", "absolute")
        self._transfers = {mode: KeypointTransfer(self._source, TransferConfig(mode)) for mode in modes}


def drive_for(generator: Generator, person: Person, source: FaceState, identity: Identity) -> Drive:
    """The drive of a generator for a source. Raises GeneratorError for a generator of neither kind."""
    if isinstance(generator, FaceGenerator):
        return FaceDrive(generator, person, source)
    if isinstance(generator, KeypointGenerator):
        return KeypointDrive(generator, identity)
    raise GeneratorError(f"generator {generator.name} is driven neither by face states nor by keypoints")


def _other_kind(generator: Generator, wanted: str, got: str) -> GeneratorError:
    return GeneratorError(
        f"generator {generator.name} is driven by {wanted}, and got {got}: "
        "the camera's side must use the same generator"
    )
