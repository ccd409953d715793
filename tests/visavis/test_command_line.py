"""What a stranger types, and what comes back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import visavis
from engine.face.images import load_image
from visavis.__main__ import main
from visavis.commands import COMMANDS
from visavis.demo import DRIVING, PORTRAIT

FRAMES = 12


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "visavis", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the demo's driving video at 30 FPS, with a gap in which no face is seen."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for k, picture in enumerate(frames_of(DRIVING)[:FRAMES]):
            shown = np.full_like(picture, 60) if 5 <= k < 8 else picture
            file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        file.mux(stream.encode())
    return path


def test_help_is_quick_and_names_every_command() -> None:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        result = run("--help")
        times.append(time.perf_counter() - begin)
    assert all(name in result.stdout for name in COMMANDS)
    # 0.3 s is the promise on an idle machine; loading MediaPipe or aiortc by mistake would cost a second.
    assert min(times) < 0.6


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert command in capsys.readouterr().out


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import visavis, sys; print([m for m in ('cv2', 'mediapipe', 'aiortc', 'av') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_library_offers_what_it_lists() -> None:
    assert all(getattr(visavis, name) is not None for name in visavis.__all__)
    with pytest.raises(AttributeError):
        _ = visavis.nonesuch  # type: ignore[attr-defined]


def test_render_shows_frame_k_for_frame_k(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    result = run("render", "--source", PORTRAIT, "--driving", clip, "-o", output)
    assert result.returncode == 0, result.stderr
    frames = frames_of(output)
    assert len(frames) == FRAMES
    assert frames[0].shape == (256, 256, 3)
    with av.open(str(output)) as file:
        assert file.streams.video[0].average_rate == 30
    assert "3 of 12 frames showed no face" in result.stderr
    held = [float(np.abs(frames[k].astype(float) - frames[4]).mean()) for k in (5, 6, 7)]
    assert max(held) < 1.5


def test_render_absolute_lines_up_with_the_driving_video(tmp_path: Path) -> None:
    """The driver's own first frame as source: the last frame comes out where the driver's head is."""
    pictures = frames_of(DRIVING)
    source, output = tmp_path / "source.png", tmp_path / "out.mp4"
    cv2.imwrite(str(source), pictures[0][..., ::-1])
    options = ["--motion", "absolute", "--crop", "none", "--quiet"]
    assert main(["render", "--source", str(source), "--driving", str(DRIVING), "-o", str(output), *options]) == 0
    rendered = frames_of(output)
    assert len(rendered) == len(pictures)
    still = moved = 0.0
    for k in range(0, len(pictures), 25):
        truth = pictures[k].astype(float)
        moved += float(np.abs(rendered[k] - truth).mean())
        still += float(np.abs(pictures[0] - truth).mean())
    assert moved < 0.6 * still


def test_render_of_a_full_picture_with_paste_back(clip: Path, tmp_path: Path) -> None:
    picture = load_image(PORTRAIT)
    wide = np.full((300, 400, 3), 90, np.uint8)
    wide[20 : 20 + picture.shape[0], 80 : 80 + picture.shape[1]] = picture
    source, output = tmp_path / "wide.png", tmp_path / "out.mp4"
    cv2.imwrite(str(source), wide[..., ::-1])
    files = ["--source", str(source), "--driving", str(clip), "-o", str(output)]
    assert main(["render", *files, "--paste-back", "--quiet"]) == 0
    assert frames_of(output)[0].shape == wide.shape


def test_render_takes_several_pictures_of_a_person(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second, output = tmp_path / "second.png", tmp_path / "out.mp4"
    cv2.imwrite(str(second), frames_of(DRIVING)[40][..., ::-1])
    files = ["--source", str(PORTRAIT), str(second), "--driving", str(clip), "-o", str(output)]
    assert main(["render", *files, "--quiet"]) == 0
    assert len(frames_of(output)) == FRAMES
    assert main(["render", *files, "--quiet", "--generator", "mesh"]) == 1
    assert "generator mesh uses one source picture, not 2" in capsys.readouterr().err


def test_a_recorded_track_drives_like_its_video(clip: Path, tmp_path: Path) -> None:
    track, by_track, by_video = tmp_path / "motion.npz", tmp_path / "a.mp4", tmp_path / "b.mp4"
    assert main(["track", "--driving", str(clip), "-o", str(track)]) == 0
    for driving, output in ((track, by_track), (clip, by_video)):
        files = ["--source", str(PORTRAIT), "--driving", str(driving), "-o", str(output)]
        assert main(["render", *files, "--quiet"]) == 0
    frames, expected = frames_of(by_track), frames_of(by_video)
    assert len(frames) == len(expected) == FRAMES
    assert np.abs(frames[-1].astype(float) - expected[-1]).mean() < 1


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a command fails with."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_each_bad_input_gives_one_clear_line(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.mp4"

    def source_error(picture: np.ndarray) -> str:
        path = tmp_path / "bad.png"
        cv2.imwrite(str(path), picture)
        return error_of(capsys, "render", "--source", path, "--driving", clip, "-o", output)

    portrait = load_image(PORTRAIT)[..., ::-1]
    assert "no face" in source_error(np.full((256, 256, 3), 128, np.uint8))
    assert "2 faces" in source_error(np.hstack([portrait, portrait]))
    assert "1x1" in source_error(np.zeros((1, 1, 3), np.uint8))
    assert "12000x12000" in source_error(np.zeros((12000, 12000, 3), np.uint8))
    missing = error_of(capsys, "render", "--source", tmp_path / "nope.jpg", "--driving", clip, "-o", output)
    assert "nope.jpg" in missing
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(bytes(range(256)) * 40)
    assert "garbage.mp4" in error_of(capsys, "render", "--source", PORTRAIT, "--driving", garbage, "-o", output)
    folder = error_of(capsys, "render", "--source", PORTRAIT, "--driving", clip, "-o", tmp_path / "no" / "out.mp4")
    assert "out.mp4" in folder
    assert not output.exists()
    assert not list(tmp_path.glob(".*part"))


def test_missing_camera_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(
        capsys, "call", "--room", "r", "--token", "secret-token", "--camera", "/dev/video99", "--page-port", "0"
    )
    assert "/dev/video99" in line
    assert "--camera none" in line
