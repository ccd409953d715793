"""`visavis train prepare`: a folder of videos becomes clips with landmarks, as training reads them.

Each video is followed by the landmark tracker at 25 frames a second and cut into takes (visavis/takes.py); each is
cropped around its head, by one square that does not move. What shows no face, or several, is left out and reported.
Written are `clips/256/ID.mp4` (and `clips/512/ID.mp4` where the crop has the pixels), `landmarks/ID.npz` and
`manifest.csv`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.face.crop import HeadCrop
from engine.face.fit import align
from engine.face.landmarks import LandmarkTracker
from engine.face.model import FaceModel
from engine.face.regions import (
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MOUTH_BOTTOM,
    MOUTH_TOP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)
from streaming.inputs import InputError, VideoFile
from streaming.media import AUDIO_RATE_HZ
from streaming.outputs.file_output import FileConfig, FileOutput
from visavis.takes import RATE, Followed, Take, at_rate, follow, problem_of, takes

if TYPE_CHECKING:
    from visavis.commands import Train

Array = NDArray[np.float32]

ENDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
SIZES = {256: 0, 512: 480}
"Sizes of the clips, and the side of the crop in pixels from which on each is written."
SLOWEST_FPS = 20.0
"Below, the same frame would be seen twice and more as two that move."
COLUMNS = (
    "id", "split", "kind", "identity", "file", "file_512", "landmarks", "seconds", "frames", "fps", "size",
    "src_crop_px", "crop_type", "face_height", "audio", "face_found", "yaw_min", "yaw_max", "pitch_min", "pitch_max",
    "roll_min", "roll_max", "mouth_min", "mouth_max", "src_fps", "source_path",
)  # fmt: skip
"Of the manifest."

_FOREHEAD, _CHIN = 10, 152
# Upper and lower middle of the lid, person's right eye first.
_LIDS = ((159, 145), (386, 374))
_CORNERS = ((RIGHT_EYE_OUTER, RIGHT_EYE_INNER), (LEFT_EYE_INNER, LEFT_EYE_OUTER))


def prepare(options: Train) -> int:
    """Run the command. Raises InputError for a folder without a usable video, OSError where nothing can be written."""
    console = Console(stderr=True)
    if options.folder is None or options.output is None:
        raise InputError("name the folder of videos and where to write: visavis train prepare FOLDER -o DATA")
    # The output may lie in the folder, and its clips are not to be prepared again.
    videos = [path for path in videos_in(options.folder) if not path.is_relative_to(options.output)]
    manifest = options.output / "manifest.csv"
    rows = read_manifest(manifest)
    if rows and not options.resume:
        raise InputError(f"{options.output}: holds clips already; add to them with --resume, or name another --output")
    done = {row["source_path"] for row in rows}
    left_out: list[str] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[clips]} clips"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar, LandmarkTracker() as tracker:
        shown = bar.add_task("", total=float(len(videos)), clips=len(rows))
        for number, path in enumerate(videos):
            name = path.relative_to(options.folder).as_posix()
            bar.update(shown, description=name, completed=number, clips=len(rows))
            if name in done:
                continue

            def show(share: float, number: int = number) -> None:
                bar.update(shown, completed=number + share)

            try:
                video = VideoFile(path)
                made, problems = make_clips(video, name, rows, options.output, tracker, show)
            except InputError as error:
                left_out.append(str(error))
                continue
            left_out += [f"{path}: {problem}" for problem in problems]
            rows += made
            write_manifest(manifest, rows)
        bar.update(shown, description="done", completed=len(videos), clips=len(rows))
    for line in left_out:
        console.print(f"left out: {line}", highlight=False, soft_wrap=True)
    if not rows:
        raise InputError(f"{options.folder}: no clip came of it; film one person, whole face, well lit")
    seconds = sum(float(row["seconds"]) for row in rows)
    people = len({row["identity"] for row in rows})
    console.print(
        f"{options.output}: {len(rows)} clips of {people} people, {seconds / 60:.1f} minutes", highlight=False
    )
    return 0


def videos_in(folder: Path) -> list[Path]:
    """All videos in the folder and its subfolders, sorted. Raises InputError where there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise InputError(f"{folder}: holds no video ({', '.join(ENDINGS)})")
    return found


def make_clips(
    video: VideoFile,
    name: str,
    rows: list[dict[str, str]],
    output: Path,
    tracker: LandmarkTracker,
    progress: Callable[[float], None],
) -> tuple[list[dict[str, str]], list[str]]:
    """Make the clips of a video. Returns their rows of the manifest, and what was left out, in words.

    name: the video's path below the folder. rows: those that are there.
    """
    if float(video.rate) < SLOWEST_FPS:
        return [], [f"{float(video.rate):g} frames a second, at least {SLOWEST_FPS:g} are needed"]
    progress(0.0)
    tracker.reset()
    total = max(video.duration * RATE, 1.0)
    followed = follow(at_rate(video.frames(), RATE), tracker, lambda count: progress(0.7 * min(count / total, 1.0)))
    chosen: list[Take] = []
    problems: Counter[str] = Counter()
    found = takes(followed)
    if short := len(followed.faces) - sum(take.stop - take.start for take in found):
        problems["less than a second from cut to cut"] = short
    for take in found:
        problem = problem_of(followed, take)
        if problem is None:
            chosen.append(take)
        else:
            problems[problem] += take.stop - take.start
    identity = identity_of(name)
    taken = sum(row["identity"] == identity for row in rows)
    names = [f"{identity}_{taken + number:02d}" for number in range(1, len(chosen) + 1)]
    cuts = list(zip(names, chosen, strict=True))
    write_videos(video, cuts, followed, output, lambda count: progress(0.7 + 0.3 * min(count / total, 1.0)))
    made = [_finish(video, name, identity, clip, take, followed, output) for clip, take in cuts]
    return made, [f"{frames / RATE:.1f} s with {problem}" for problem, frames in problems.items()]


def write_videos(
    video: VideoFile,
    cuts: list[tuple[str, Take]],
    followed: Followed,
    output: Path,
    progress: Callable[[int], None],
) -> None:
    """Decode once more, and write the crop of each take under its name, with its sound."""
    sound = video.read_audio() if video.has_audio and cuts else np.zeros(0, np.int16)
    waiting = list(cuts)
    open_files: list[tuple[int, FileOutput]] = []
    take: Take | None = None
    crop: HeadCrop | None = None
    try:
        for number, frame in enumerate(at_rate(video.frames(), RATE)):
            if waiting and number == waiting[0][1].start:
                name, take = waiting.pop(0)
                crop = _crop(video, followed, take)
                samples = sound[_sample(take.start) : _sample(take.stop)]
                for size in _sizes(crop):
                    path = output / "clips" / str(size) / f"{name}.mp4"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = FileOutput(path, size, size, RATE, audio=bool(samples.any()), config=FileConfig(comment=""))
                    open_files.append((size, file))
                    file.write_audio(samples, 0.0)
            if take is not None and crop is not None:
                for size, file in open_files:
                    file.write(crop.apply(frame, size), (number - take.start) / RATE)
                if number == take.stop - 1:
                    while open_files:
                        open_files.pop()[1].close()
                    take = None
            progress(number + 1)
    finally:
        for _, file in open_files:
            file.abort()


def identity_of(name: str) -> str:
    """The person, of a video's path below the folder: the first subfolder's name, else the file's."""
    path = Path(name)
    own = path.parts[0] if len(path.parts) > 1 else path.stem
    return re.sub(r"[^\w-]+", "-", own).strip("-") or "person"


def read_manifest(path: Path) -> list[dict[str, str]]:
    """The rows that are there; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_manifest(path: Path, rows: list[dict[str, str]]) -> None:
    """Write all rows; what was there stays until they are complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def head_pose(model: FaceModel, landmarks: Array) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of (478, 3) landmarks in frame coordinates.

    Positive: the nose turns to the picture's right, down, and the head counter-clockwise as seen.
    """
    rotation = align(model.mean, landmarks.astype(np.float64), model.rigidity.astype(np.float64)).rotation
    nose, side = -rotation[:, 2], rotation[:, 0]
    yaw, pitch, roll = np.arctan2(nose[0], -nose[2]), np.arcsin(np.clip(nose[1], -1, 1)), np.arctan2(-side[1], side[0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _finish(
    video: VideoFile, name: str, identity: str, clip: str, take: Take, followed: Followed, output: Path
) -> dict[str, str]:
    """Write a clip's landmarks. Returns its row of the manifest."""
    crop = _crop(video, followed, take)
    points = crop.landmarks_in(followed.landmarks[take.start : take.stop], video.width, video.height)
    valid = followed.faces[take.start : take.stop] > 0
    model = FaceModel.load()
    pose = np.full((len(points), 3), np.nan, np.float32)
    for number in np.flatnonzero(valid):
        pose[number] = head_pose(model, points[number])
    eye_distance = _distance(points, RIGHT_EYE_OUTER, LEFT_EYE_OUTER)
    mouth = _distance(points, MOUTH_TOP, MOUTH_BOTTOM) / eye_distance
    eyes = np.stack(
        [_distance(points, *lid) / _distance(points, *corner) for lid, corner in zip(_LIDS, _CORNERS, strict=True)], 1
    )
    path = output / "landmarks" / f"{clip}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Fractions of the crop's sides, from its upper left corner; Fortran order halves the file.
    fractions = np.asfortranarray((points + np.array((0.5, 0.5, 0.0), np.float32)).astype(np.float16))
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            lm=fractions,
            valid=valid,
            pose=pose.astype(np.float16),
            mouth=mouth.astype(np.float16),
            eyes=eyes.astype(np.float16),
            fps=np.float32(RATE),
        )
    height = np.nanmedian(np.abs(points[:, _CHIN, 1] - points[:, _FOREHEAD, 1]))
    sizes = _sizes(crop)
    has_sound = _has_sound(output / "clips" / str(sizes[0]) / f"{clip}.mp4")
    row: dict[str, Any] = {
        "id": clip,
        "split": "train",
        "kind": "speech" if has_sound else "expression",
        "identity": identity,
        "file": f"clips/256/{clip}.mp4",
        "file_512": f"clips/512/{clip}.mp4" if 512 in sizes else "",
        "landmarks": f"landmarks/{clip}.npz",
        "seconds": f"{len(points) / RATE:.2f}",
        "frames": len(points),
        "fps": RATE,
        "size": "+".join(map(str, sizes)),
        "src_crop_px": crop.side,
        "crop_type": "fixed",
        "face_height": f"{height:.3f}",
        "audio": "yes" if has_sound else "no",
        "face_found": f"{valid.mean():.3f}",
        "src_fps": f"{float(video.rate):g}",
        "source_path": name,
    }
    for column, values in (("yaw", pose[:, 0]), ("pitch", pose[:, 1]), ("roll", pose[:, 2])):
        low, high = np.nanpercentile(values, (1, 99))
        row |= {f"{column}_min": f"{low:.1f}", f"{column}_max": f"{high:.1f}"}
    low, high = np.nanpercentile(mouth, (1, 99))
    row |= {"mouth_min": f"{low:.3f}", "mouth_max": f"{high:.3f}"}
    return {column: str(row[column]) for column in COLUMNS}


def _crop(video: VideoFile, followed: Followed, take: Take) -> HeadCrop:
    return HeadCrop.around(followed.landmarks[take.start : take.stop], video.width, video.height)


def _sizes(crop: HeadCrop) -> list[int]:
    return [size for size, least in SIZES.items() if crop.side >= least]


def _has_sound(path: Path) -> bool:
    return VideoFile(path).has_audio


def _sample(frame: int) -> int:
    return frame * AUDIO_RATE_HZ // RATE


def _distance(points: Array, one: int, other: int) -> Array:
    return np.asarray(np.linalg.norm(points[:, one] - points[:, other], axis=1), np.float32)
