from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from streaming.inputs import VideoFile
from streaming.outputs import SYNTHETIC_COMMENT, FileOutput, OutputError


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), Fraction(30_000, 1001), 24.0], ids=str)
def test_what_is_written_is_read_back(tmp_path, numbered, number_of, make_tone, onset_of, rate):
    path = tmp_path / "out.mp4"
    sound = make_tone(2.0, 1.0, 1.5)
    with FileOutput(path, 160, 96, rate) as output:
        for number in range(50):
            output.write(numbered(number), number / float(rate))
        for begin in range(0, sound.size, 960):
            output.write_audio(sound[begin : begin + 960], begin / 48_000)
    video = VideoFile(path)
    assert video.rate == Fraction(rate)
    assert video.frame_count == 50
    times, frames = zip(*video.frames(), strict=True)
    assert [number_of(frame) for frame in frames] == list(range(50))
    np.testing.assert_allclose(times, np.arange(50) / float(rate), atol=1e-9)
    assert onset_of(video.read_audio()) == pytest.approx(1.0, abs=0.002)
    assert video.read_audio().size == pytest.approx(sound.size, abs=1024)


def test_frame_k_lies_exactly_at_k_over_rate_even_from_rounded_times(tmp_path, numbered):
    rate = Fraction(30_000, 1001)
    with FileOutput(tmp_path / "out.mp4", 160, 96, rate, audio=False) as output:
        for number in range(30):
            output.write(numbered(number), 7.0 + round(number / float(rate), 3))
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
        assert [frame.pts * frame.time_base for frame in frames] == [k / rate for k in range(30)]
        assert container.streams.video[0].average_rate == rate


def test_irregular_times_are_kept_and_never_run_backwards(tmp_path, numbered):
    times = [0.0, 0.04, 0.1, 0.11, 0.11, 0.05, 0.5]
    with FileOutput(tmp_path / "out.mp4", 160, 96, 25, audio=False) as output:
        for number, time in enumerate(times):
            output.write(numbered(number), time)
    read = [time for time, _ in VideoFile(tmp_path / "out.mp4").frames()]
    np.testing.assert_allclose(read, [0.0, 0.04, 0.1, 0.11, 0.11, 0.11, 0.5], atol=1e-4)


def test_colours_survive_and_are_tagged(tmp_path):
    colours = [(200, 30, 90), (20, 180, 60), (40, 60, 220), (128, 128, 128)]
    picture = np.zeros((64, 64, 3), np.uint8)
    for index, colour in enumerate(colours):
        picture[32 * (index // 2) :][:32, 32 * (index % 2) :][:, :32] = colour
    with FileOutput(tmp_path / "out.mp4", 64, 64, 25, audio=False) as output:
        output.write(picture, 0.0)
    _, frame = next(VideoFile(tmp_path / "out.mp4").frames())
    for index, colour in enumerate(colours):
        np.testing.assert_allclose(frame[16 + 32 * (index // 2), 16 + 32 * (index % 2)], colour, atol=4)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (6, 1)


def test_the_file_says_that_it_is_synthetic(tmp_path, numbered):
    with FileOutput(tmp_path / "out.mp4", 160, 96, 25, audio=False) as output:
        output.write(numbered(0), 0.0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (
            container.metadata["comment"] == SYNTHETIC_COMMENT == "AI-generated: rendered by visavis from one picture"
        )


def test_the_index_comes_first(tmp_path, numbered):
    with FileOutput(tmp_path / "out.mp4", 160, 96, 25, audio=False) as output:
        output.write(numbered(0), 0.0)
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("first", [0.0, 41.5])
def test_sound_is_placed_by_its_times(tmp_path, numbered, make_tone, onset_of, first):
    """Sound that begins before the first frame is cut, a hole is filled, an overlap is cut."""
    sound = make_tone(2.0, 1.0, 1.5)
    path = tmp_path / "out.mp4"
    with FileOutput(path, 160, 96, 25) as output:
        output.write_audio(np.full(4800, 15_000, np.int16), first - 0.1)  # before the first frame: cut away
        output.write(numbered(0), first)
        output.write_audio(sound[:4800], first)
        output.write_audio(sound[43_200:48_480], first + 0.9)  # after a hole of 0.8 s
        output.write_audio(sound[48_000:], first + 1.0)  # overlaps by 10 ms
        output.write(numbered(1), first + 0.04)
    samples = VideoFile(path).read_audio()
    assert onset_of(samples) == pytest.approx(1.0, abs=0.002)
    assert samples.size == pytest.approx(96_000, abs=1024)
    assert np.abs(samples[:40_000]).max() < 500


def test_small_jitter_in_the_times_of_sound_leaves_it_whole(tmp_path, numbered):
    wave = (10_000 * np.sin(np.arange(96_000) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
    rng = np.random.default_rng(0)
    path = tmp_path / "out.mp4"
    with FileOutput(path, 160, 96, 25) as output:
        output.write(numbered(0), 0.0)
        for begin in range(0, wave.size, 960):
            jitter = rng.uniform(-0.003, 0.003) if begin else 0.0
            output.write_audio(wave[begin : begin + 960], begin / 48_000 + jitter)
    samples = VideoFile(path).read_audio()[4800:90_000].astype(float)
    error = samples - wave[4800:90_000]
    assert np.sqrt((error**2).mean()) < 500  # a cut or a gap would put the rest out of phase


def test_a_file_without_any_sound_written_can_be_read(tmp_path, numbered):
    with FileOutput(tmp_path / "out.mp4", 160, 96, 25, audio=True) as output:
        output.write(numbered(0), 0.0)
    assert VideoFile(tmp_path / "out.mp4").frame_count == 1


def test_odd_sizes_are_completed_by_their_border(tmp_path, numbered):
    with FileOutput(tmp_path / "out.mp4", 161, 97, 25, audio=False) as output:
        output.write(numbered(0, 161, 97), 0.0)
    video = VideoFile(tmp_path / "out.mp4")
    assert (video.width, video.height) == (162, 98)


def test_nothing_appears_under_the_name_before_the_end(tmp_path, numbered):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the one before")
    output = FileOutput(path, 160, 96, 25)
    output.write(numbered(0), 0.0)
    assert path.read_bytes() == b"the one before"
    output.close()
    output.close()
    assert VideoFile(path).frame_count == 1
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_an_error_leaves_no_file_behind(tmp_path, numbered):
    def render() -> None:
        with FileOutput(tmp_path / "out.mp4", 160, 96, 25) as output:
            output.write(numbered(0), 0.0)
            raise RuntimeError("renderer")

    with pytest.raises(RuntimeError, match="renderer"):
        render()
    assert os.listdir(tmp_path) == []


def test_a_file_without_a_frame_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="no frame"):
        FileOutput(tmp_path / "out.mp4", 160, 96, 25).close()
    assert os.listdir(tmp_path) == []


def test_wrong_frames_and_samples_are_refused(tmp_path, numbered):
    with FileOutput(tmp_path / "out.mp4", 160, 96, 25) as output:
        with pytest.raises(ValueError, match=r"\(96, 160, 3\)"):
            output.write(numbered(0, 64, 64), 0.0)
        with pytest.raises(ValueError, match="uint8"):
            output.write(numbered(0).astype(np.float32), 0.0)
        with pytest.raises(ValueError, match="int16"):
            output.write_audio(np.zeros(960, np.float32), 0.0)
        output.write(numbered(0), 0.0)


def test_places_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        FileOutput(tmp_path / "nowhere" / "out.mp4", 160, 96, 25)
    with pytest.raises(OutputError, match="is a folder"):
        FileOutput(tmp_path, 160, 96, 25)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="does not exist"):
        FileOutput(tmp_path / "file" / "out.mp4", 160, 96, 25)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not allowed to write"):
        FileOutput(tmp_path / "out.mp4", 160, 96, 25)


def test_a_full_disk_ends_in_one_clear_error(tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses the write in the same way."""
    program = f"""
import resource, signal, numpy as np
from streaming.outputs import FileOutput, OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
rng = np.random.default_rng(0)
try:
    with FileOutput({str(tmp_path / "out.mp4")!r}, 256, 256, 25, audio=False) as output:
        for number in range(20):
            output.write(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8), number / 25)
except OutputError as error:
    print("refused:", error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "refused:" in result.stdout
    assert "larger than allowed" in result.stdout
    assert os.listdir(tmp_path) == []
