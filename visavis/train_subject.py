"""`visavis train subject`: fine-tunes LSR on one person's clip or pictures."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.images import load_image
from engine.face.landmarks import FaceError, NoFaceError, StillFaceDetector
from engine.quality.one_person import require_one_person
from engine.training.recipe import Recipe, RecipeError, load_recipe
from engine.weights import VARIABLE, weights_path
from engine.weights.placement import placed
from streaming.inputs import InputError, VideoFile

if TYPE_CHECKING:
    from engine.nets.lsr import LSRConfig
    from visavis.commands import Train

GENERATOR = "lsr"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FRAMES_AT_MOST = 32
"Of a video, spread over its length."
SOURCE = "source.png"

Frame = NDArray[np.uint8]
Array = NDArray[np.float32]


def begin(options: Train, console: Console) -> tuple[Recipe, Path, Path]:
    """The recipe of the run, its data and the weights that it begins with, made ready in the output folder.

    Raises FaceError and ImageError for pictures that cannot be used, InputError for a video, RecipeError for wrong
    usage, WeightsError where there is nothing to begin with, LayoutError for weights of something else.
    """
    from engine.nets.lsr_weights import load_network
    from engine.training.loop import CHECKPOINT
    from engine.training.lsr_subject import SUBJECT_FILE, Subject, published_steps

    output = output_of(options)
    if (output / CHECKPOINT).exists() and not options.resume:
        raise RecipeError(f"{output}: holds a run already; go on with --resume, or name another --output")
    weights = options.weights or weights_path(GENERATOR)
    config = load_network(weights).config
    data = output / SUBJECT_FILE
    if not options.resume:
        if options.folder is None:
            raise RecipeError(
                "name a video of the person, or a folder of pictures: visavis train subject me.mp4 -o FOLDER"
            )
        frames, landmarks, checked = gathered(options.folder, config.size, console)
        if not checked:
            console.print("nobody checked that all pictures show one person: that takes pip install 'visavis[bench]'")
        output.mkdir(parents=True, exist_ok=True)
        Subject(frames, landmarks).save(data)
        cv2.imwrite(str(output / SOURCE), cv2.cvtColor(frames[0], cv2.COLOR_RGB2BGR))
    steps = options.steps or published_steps(len(Subject.load(data).frames))
    return subject_recipe(config, steps), data, weights


def finish(output: Path, files: tuple[Path, ...], console: Console) -> None:
    """Put the weights where a folder of weights has them, and say how to use them."""
    with placed(output / GENERATOR) as unfinished:
        for path in files:
            (unfinished / path.name).write_bytes(path.read_bytes())
    console.print(
        f"{VARIABLE}={output} visavis render --generator {GENERATOR} --source {output / SOURCE} --crop none "
        "--driving VIDEO -o OUT.mp4",
        highlight=False,
        soft_wrap=True,
    )


def output_of(options: Train) -> Path:
    return options.output or Path("out") / options.recipe


def subject_recipe(config: LSRConfig, steps: int) -> Recipe:
    """The recipe that comes along, for these networks and so many steps."""
    recipe = load_recipe("lsr-subject")
    (stage,) = recipe.stage
    options: dict[str, Any] = {**recipe.options, "network": asdict(config)}
    return replace(recipe, options=options, stage=(replace(stage, size=config.size, steps=steps),))


def gathered(path: Path, size: int, console: Console) -> tuple[Frame, Array, bool]:
    """(F, size, size, 3) frames, (F, 478, 3) landmarks, and whether they are known to show one person.

    Each picture is cropped around its head; a video by one square, around the head in the first of its frames.
    """
    with StillFaceDetector() as detector:
        views = _of_pictures(path, detector, console) if path.is_dir() else _of_video(path, detector, console)
    frames = np.stack([view.crop.apply(view.picture, size) for view in views])
    landmarks = np.stack(
        [view.crop.landmarks_in(view.landmarks, view.picture.shape[1], view.picture.shape[0]) for view in views]
    )
    checked = require_one_person(list(frames), list(landmarks), [view.name for view in views])
    return frames, landmarks.astype(np.float32), checked


@dataclass(frozen=True, eq=False)
class _View:
    """A picture with one face."""

    name: str
    picture: Frame
    landmarks: Array
    "(478, 3) frame coordinates of the picture."
    crop: HeadCrop


def _of_pictures(folder: Path, detector: StillFaceDetector, console: Console) -> list[_View]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not files:
        raise InputError(f"{folder}: no pictures ({', '.join(PICTURES)}); or name a video")
    views = []
    for file in track(files, "looking for the face", console=console):
        picture = load_image(file)
        views.append(_view(file.name, picture, detector, None))
    return views


def _of_video(path: Path, detector: StillFaceDetector, console: Console) -> list[_View]:
    video = VideoFile(path)
    count = video.frame_count or sum(1 for _ in video.frames())
    wanted = set(np.linspace(0, count - 1, FRAMES_AT_MOST).astype(int).tolist())
    views: list[_View] = []
    for number, (time, frame) in enumerate(track(video.frames(), "looking for the face", count, console=console)):
        if number in wanted:
            crop = views[0].crop if views else None
            with suppress(NoFaceError):  # turned away for a moment
                views.append(_view(f"{path.name} at {time:.1f} s", frame, detector, crop))
    if not views:
        raise NoFaceError(f"{path}: no face in any of {len(wanted)} frames; film the whole face, well lit")
    return views


def _view(name: str, picture: Frame, detector: StillFaceDetector, crop: HeadCrop | None) -> _View:
    try:
        landmarks = np.asarray(detector.detect(picture).landmarks, np.float32)
    except NoFaceError as error:
        raise NoFaceError(f"{name}: {error}") from error
    except FaceError as error:
        raise FaceError(f"{name}: {error}") from error
    if crop is None:
        crop = HeadCrop.around(landmarks, picture.shape[1], picture.shape[0], PORTRAIT_MARGIN)
    return _View(name, picture, landmarks, crop)
