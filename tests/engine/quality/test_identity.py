"""Identity by dlib's embeddings."""

import sys

import av
import numpy as np
import pytest

from engine.motion import from_pixels
from engine.quality import DlibEmbedder, MetricUnavailableError, average_euclidean_distance, cosine_similarity


@pytest.fixture(scope="module")
def embedder() -> DlibEmbedder:
    pytest.importorskip("dlib", reason="dlib is part of the optional extra 'bench'")
    return DlibEmbedder()


def test_distance_and_cosine_of_known_embeddings():
    one, other = np.array((3.0, 0.0)), np.array((0.0, 4.0))
    assert average_euclidean_distance(one, other) == 5.0
    assert cosine_similarity(one, other) == 0.0
    assert cosine_similarity(one, 7 * one) == pytest.approx(1.0)


@pytest.mark.data
def test_two_frames_of_a_person_are_closer_than_two_people(embedder, data_pack):
    embeddings = {}
    for clip in ("p88_01", "p91_01"):
        landmarks = data_pack.landmarks(clip)
        with av.open(str(data_pack.clip(clip))) as file:
            for k, picture in enumerate(file.decode(video=0)):
                if k in (0, 60):
                    points = from_pixels(landmarks[k] * 256, 256, 256)
                    embeddings[clip, k] = embedder.embed(picture.to_ndarray(format="rgb24"), points)
                elif k > 60:
                    break
    assert all(embedding.shape == (128,) for embedding in embeddings.values())
    same = average_euclidean_distance(embeddings["p88_01", 0], embeddings["p88_01", 60])
    other = average_euclidean_distance(embeddings["p88_01", 0], embeddings["p91_01", 0])
    assert same < 0.5 < 0.6 < other  # dlib's threshold lies between
    assert cosine_similarity(embeddings["p88_01", 0], embeddings["p88_01", 60]) > 0.94


def test_without_dlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)  # makes the import fail
    with pytest.raises(MetricUnavailableError, match=r"pip install 'visavis\[bench\]'"):
        DlibEmbedder()


def test_without_weights_the_error_names_the_file(embedder, tmp_path):
    with pytest.raises(MetricUnavailableError, match=r"nothing\.dat: no such file"):
        DlibEmbedder(tmp_path / "nothing.dat")


def test_without_the_models_package_the_error_names_the_extra(embedder, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(MetricUnavailableError, match=r"weights of dlib's network.*bench"):
        DlibEmbedder()


def test_packaged_weights_are_found_without_importing_their_package(embedder):
    assert "face_recognition_models" not in sys.modules
