"""`visavis train` as it is typed: runs that are stopped and go on, and a folder of videos made ready."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streaming.outputs.file_output import FileConfig, FileOutput
from visavis.__main__ import main
from visavis.demo import DRIVING
from visavis.takes import RATE, Followed, Take, at_rate, problem_of, takes

TOY = Path(__file__).parent.parent / "engine" / "training"

RECIPE = """
task = "toy_task:ToyTask"
[loss]
l1 = 1.0
[intervals]
log = 10
validate = 0
sheet = 0
checkpoint = 0
[[stage]]
size = 16
steps = {steps}
batch = 4
lr = 1e-2
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 30 steps of the toy task."""
    pytest.importorskip("torch", reason="training needs torch (extra: train)")
    monkeypatch.syspath_prepend(str(TOY))
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE.format(steps=30))
    return path


def in_words(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, on one line."""
    printed = capsys.readouterr()
    return re.sub(r"\s+", " ", printed.out + printed.err)


def test_a_run_in_slices(recipe, tmp_path, capsys):
    output = tmp_path / "run"
    assert main(["train", str(recipe), "-o", str(output), "--steps", "12", "--threads", "1"]) == 0
    assert "step 12 of 30; go on with --resume" in in_words(capsys)
    assert main(["train", str(recipe), "-o", str(output), "--threads", "1"]) == 1
    assert "holds a run already; go on with --resume" in in_words(capsys)
    assert main(["train", str(recipe), "-o", str(output), "--resume", "--threads", "1"]) == 0
    assert "complete" in in_words(capsys)
    assert (output / "weights" / "toy.safetensors").is_file()


@pytest.mark.timeout(300)  # seconds on an idle machine; starting torch can take minutes on one that trains
def test_sigterm_ends_a_run_that_can_go_on(recipe, tmp_path):
    torch = pytest.importorskip("torch")
    recipe.write_text(RECIPE.format(steps=1_000_000))
    output = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "visavis", "train", str(recipe), "-o", str(output), "--threads", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TOY), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log = output / "log.jsonl"
        deadline = time.monotonic() + 180
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "go on with --resume" in re.sub(r"\s+", " ", printed)
    assert torch.load(output / "checkpoint.pt", weights_only=True)["step"] >= 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonesuch",), "no recipe is called 'nonesuch'"),
        (("prepare",), "name the folder of videos and where to write"),
        (("prepare", "nowhere", "-o", "out"), "nowhere: no such folder"),
        (("some.toml", "folder"), "only wanted by `visavis train prepare FOLDER`"),
    ],
)
def test_wrong_usage_is_answered_with_what_to_type(arguments, words, capsys):
    assert main(["train", *arguments]) == 1
    assert words in in_words(capsys)


# Videos to prepare -----------------------------------------------------------------------------------------------


def write_video(path: Path, frames: list[np.ndarray], rate: int = 25, sound: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    with FileOutput(path, width, height, Fraction(rate), audio=sound, config=FileConfig(comment="")) as file:
        for number, frame in enumerate(frames):
            file.write(frame, number / rate)
        if sound:
            tone = 8000 * np.sin(np.arange(48_000 * len(frames) // rate) / 20)
            file.write_audio(tone.astype(np.int16), 0.0)


@pytest.fixture(scope="module")
def driving() -> list[np.ndarray]:
    """The first 1.6 s of the demo's driving video, (256, 256, 3), at 25 frames a second."""
    with av.open(str(DRIVING)) as file:
        frames = (frame.to_ndarray(format="rgb24") for frame in file.decode(video=0))
        return [frame for _, frame in zip(range(40), frames, strict=False)]


def framed(face: np.ndarray, left: int) -> np.ndarray:
    """The face in a wider picture, 640 x 360."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    picture[60:316, left : left + 256] = face
    return picture


def manifest(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_videos_become_clips_with_landmarks(driving, tmp_path, capsys):
    videos, data = tmp_path / "videos", tmp_path / "videos" / "data"
    wide = [framed(face, 300) for face in driving]
    write_video(videos / "anna" / "one.mp4", wide, sound=True)
    write_video(videos / "bare wall.mp4", [np.full((200, 200, 3), 120, np.uint8)] * 30)
    write_video(videos / "slow.mp4", driving[:15], rate=12)
    two = [np.concatenate((face, face[:, ::-1]), axis=1) for face in driving[:30]]
    write_video(videos / "two.mp4", two)
    assert main(["train", "prepare", str(videos), "-o", str(data)]) == 0
    printed = in_words(capsys)
    assert re.search(r"bare wall.mp4: 1.2 s with no face", printed)
    assert "slow.mp4: 12 frames a second, at least 20 are needed" in printed
    assert "two.mp4: 1.2 s with several faces" in printed
    assert "1 clips of 1 people" in printed
    (row,) = manifest(data)
    assert (row["id"], row["identity"], row["split"], row["frames"]) == ("anna_01", "anna", "train", "40")
    assert (row["kind"], row["audio"], row["file_512"]) == ("speech", "yes", "")
    assert 0.4 < float(row["face_height"]) < 0.8
    check_clip(data, row, wide)

    write_video(videos / "anna" / "two.mp4", driving[:30])
    assert main(["train", "prepare", str(videos), "-o", str(data)]) == 1
    assert "add to them with --resume" in in_words(capsys)
    assert main(["train", "prepare", str(videos), "-o", str(data), "--resume"]) == 0
    assert [row["id"] for row in manifest(data)] == ["anna_01", "anna_02"]
    assert manifest(data)[1]["kind"] == "expression"  # no sound


def check_clip(data: Path, row: dict[str, str], frames: list[np.ndarray]) -> None:
    """The clip is the crop that its landmarks were found in."""
    from engine.face.landmarks import detect_face

    with av.open(str(data / row["file"])) as file:
        assert "comment" not in file.metadata or not file.metadata["comment"]
        assert file.streams.video[0].average_rate == 25
        cropped = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(cropped) == len(frames)
    assert cropped[0].shape == (256, 256, 3)
    with np.load(data / row["landmarks"]) as stored:
        landmarks, valid, fps = stored["lm"].astype(np.float32), stored["valid"], float(stored["fps"])
        assert landmarks.shape == (len(frames), 478, 3)
        assert np.isfinite(stored["pose"]).all()
        assert np.abs(stored["pose"].astype(float)).max() < 45
        assert (stored["mouth"] >= 0).all()
        assert ((stored["eyes"] > 0) & (stored["eyes"] < 0.8)).all()
    assert valid.all()
    assert fps == 25
    for number in (0, 20, 39):
        found = detect_face(cropped[number]).landmarks[:, :2] + 0.5
        assert np.abs(found - landmarks[number, :, :2]).mean() < 0.01


def test_cuts_part_a_video(driving, tmp_path):
    bright = [framed(face, 20) for face in driving[:30]]
    dark = [cv2.flip(framed(face, 20), 1) // 3 for face in driving[:30]]
    write_video(tmp_path / "videos" / "both.mp4", bright + dark)
    assert main(["train", "prepare", str(tmp_path / "videos"), "-o", str(tmp_path / "data")]) == 0
    rows = manifest(tmp_path / "data")
    assert [(row["id"], row["frames"]) for row in rows] == [("both_01", "30"), ("both_02", "30")]


@pytest.mark.data
def test_landmarks_of_a_clip_of_the_pack_come_out_as_they_are_there(data_pack, tmp_path):
    """A head crop stays a head crop: landmarks may be compared one by one."""
    row = next(row for row in data_pack.rows("test") if float(row["seconds"]) < 5)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "clip.mp4").symlink_to(data_pack.clip(row["id"]))
    assert main(["train", "prepare", str(tmp_path / "videos"), "-o", str(tmp_path / "data")]) == 0
    (made,) = manifest(tmp_path / "data")
    assert made["frames"] == row["frames"]
    with np.load(tmp_path / "data" / made["landmarks"]) as own, np.load(data_pack.root / row["landmarks"]) as theirs:
        for name, tolerance in (("pose", 4.0), ("mouth", 0.02), ("eyes", 0.04)):
            difference = own[name].astype(np.float64) - theirs[name].astype(np.float64)
            assert np.abs(np.median(difference, axis=0)).max() < tolerance, name
        if int(made["src_crop_px"]) == 256:
            assert np.abs(own["lm"].astype(float) - theirs["lm"].astype(float))[..., :2].mean() < 0.005


# Takes -----------------------------------------------------------------------------------------------------------


def followed(faces: list[int], cuts: tuple[int, ...] = ()) -> Followed:
    return Followed(np.zeros((len(faces), 478, 3), np.float32), np.array(faces), cuts)


def test_takes_lie_between_cuts_are_not_too_long_and_not_too_short():
    seen = followed([1] * 800, cuts=(100, 110, 500))
    assert takes(seen) == [Take(0, 100), Take(110, 305), Take(305, 500), Take(500, 650), Take(650, 800)]


def test_what_shows_no_face_or_several_is_of_no_use():
    whole = Take(0, 100)
    assert problem_of(followed([1] * 95 + [0] * 5), whole) is None
    assert problem_of(followed([1] * 85 + [0] * 15), whole) == "no face"
    assert problem_of(followed([1] * 95 + [2] * 5), whole) is None
    assert problem_of(followed([1] * 85 + [3] * 15), whole) == "several faces"


@pytest.mark.parametrize(
    ("rate", "count", "expected"),
    [(25, 5, [0, 1, 2, 3, 4]), (50, 6, [0, 2, 4]), (30, 7, [0, 1, 2, 4, 5, 6]), (20, 4, [0, 1, 2, 2, 3])],
)
def test_frames_at_25_a_second_are_the_nearest_ones(rate, count, expected):
    frames = ((number / rate, np.full((1, 1, 3), number, np.uint8)) for number in range(count))
    assert [int(frame[0, 0, 0]) for frame in at_rate(frames, RATE)] == expected
