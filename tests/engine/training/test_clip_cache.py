"""Clips decoded once."""

import csv

import av
import numpy as np
import pytest

from engine.training.clip_cache import ClipError, build_cache, frame_coordinates

SIZE = 64


def write_clip(data, name, brightness, frames=9, size=SIZE, split="train", rights="mine", valid=None):
    """A clip whose frame k has the brightness `brightness + 10 k`, and its row of the manifest."""
    (data / "clips" / str(SIZE)).mkdir(parents=True, exist_ok=True)
    (data / "landmarks").mkdir(exist_ok=True)
    with av.open(str(data / "clips" / str(SIZE) / f"{name}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv444p"
        for k in range(frames):
            picture = np.full((size, size, 3), brightness + 10 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    landmarks = np.full((frames, 478, 3), 0.5, np.float16)
    landmarks[..., 0] += np.arange(frames)[:, None] / 64
    np.savez(data / "landmarks" / f"{name}.npz", lm=landmarks, valid=np.ones(frames, bool) if valid is None else valid)
    path = data / "manifest.csv"
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("id", "split", "identity", "rights"))
        writer.writerow((name, split, name[:3], rights))


@pytest.fixture
def data(tmp_path):
    write_clip(tmp_path / "data", "p01_01", 50)
    write_clip(tmp_path / "data", "p02_01", 100, rights="another's")
    write_clip(tmp_path / "data", "p03_01", 100, split="test")
    return tmp_path / "data"


def test_every_second_frame_with_its_landmarks(data, tmp_path):
    seen = []
    clips = build_cache(data, tmp_path / "cache", size=SIZE, progress=lambda done, of: seen.append((done, of)))
    assert [clip.name for clip in clips] == ["p01_01", "p02_01"]
    assert seen == [(0, 2), (1, 2), (2, 2)]
    first = clips[0]
    assert isinstance(first.frames, np.memmap)
    assert first.frames.shape == (5, SIZE, SIZE, 3)
    assert np.abs(first.frames[:, 5, 5, 0].astype(int) - (50, 70, 90, 110, 130)).max() <= 2
    np.testing.assert_allclose(first.landmarks[:, 0, 0], np.arange(0, 9, 2) / 64, atol=1e-3)
    assert (first.landmarks[..., 1] == 0).all()


def test_frames_without_a_face_are_left_out(data, tmp_path):
    valid = np.ones(9, bool)
    valid[2:5] = False
    write_clip(data, "p04_01", 20, valid=valid)
    clip = build_cache(data, tmp_path / "cache", size=SIZE)[-1]
    assert np.abs(clip.frames[:, 5, 5, 0].astype(int) - (20, 80, 100)).max() <= 2


def test_what_is_decoded_is_not_decoded_again_unless_it_changed(data, tmp_path):
    cache = tmp_path / "cache"
    build_cache(data, cache, size=SIZE)
    marks = {path.name: path.stat().st_mtime_ns for path in cache.glob("*.npy")}
    (data / "manifest.csv").unlink()
    write_clip(data, "p01_01", 90, frames=7)
    write_clip(data, "p02_01", 100, rights="another's")
    clips = build_cache(data, cache, size=SIZE)
    assert clips[0].frames.shape[0] == 4
    assert cache.joinpath("p01_01.frames.npy").stat().st_mtime_ns > marks["p01_01.frames.npy"]


def test_clips_can_be_chosen_by_their_rights(data, tmp_path):
    clips = build_cache(data, tmp_path / "cache", size=SIZE, rights=("mine",))
    assert [clip.name for clip in clips] == ["p01_01"]


def test_missing_data_is_named(tmp_path, data):
    with pytest.raises(ClipError, match=r"no manifest\.csv; name a data pack, or make one"):
        build_cache(tmp_path, tmp_path / "cache", size=SIZE)
    with pytest.raises(ClipError, match="no clip of train at 512 pixels"):
        build_cache(data, tmp_path / "cache", size=512)
    (data / "landmarks" / "p02_01.npz").unlink()
    with pytest.raises(ClipError, match=r"p02_01\.npz is missing"):
        build_cache(data, tmp_path / "cache", size=SIZE)


def test_larger_clips_are_made_smaller(data, tmp_path):
    """Where there are none of the size that is asked for: groups of pixels are averaged."""
    clip = build_cache(data, tmp_path / "half", size=SIZE // 2)[0]
    assert clip.frames.shape == (5, SIZE // 2, SIZE // 2, 3)
    whole = build_cache(data, tmp_path / "whole", size=SIZE)[0]
    means = whole.frames.reshape(5, SIZE // 2, 2, SIZE // 2, 2, 3).mean((2, 4))
    assert np.abs(clip.frames - means).max() <= 0.51
    np.testing.assert_array_equal(clip.landmarks, whole.landmarks)
    with pytest.raises(ClipError, match="no clip of train at 48 pixels"):
        build_cache(data, tmp_path / "odd", size=48)


def test_a_clip_of_another_size_or_without_faces_is_refused(data, tmp_path):
    write_clip(data, "p05_01", 20, size=2 * SIZE)
    with pytest.raises(ClipError, match=r"p05_01\.mp4: a frame of 128x128, expected 64x64"):
        build_cache(data, tmp_path / "cache", size=SIZE)
    (data / "manifest.csv").unlink()
    write_clip(data, "p06_01", 20, valid=np.zeros(9, bool))
    with pytest.raises(ClipError, match="fewer than two frames with a face"):
        build_cache(data, tmp_path / "cache", size=SIZE)


def test_frame_coordinates_are_centred_and_measured_in_shorter_sides():
    corners = np.array([[0, 0, 0.1], [1, 1, 0]], np.float32)
    np.testing.assert_allclose(frame_coordinates(corners, 200, 100), [[-1, -0.5, 0.2], [1, 0.5, 0]])
