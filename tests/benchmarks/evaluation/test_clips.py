"""Finding and reading test clips."""

import numpy as np
import pytest

from benchmarks.evaluation.clips import EvaluationError, find_clips


def test_only_test_clips_are_found(pack):
    found = find_clips(pack, 256)
    assert [(file.name, file.identity, file.frames) for file in found] == [
        ("a_01", "a", 24), ("a_02", "a", 24), ("b_01", "b", 24),
    ]  # fmt: skip


def test_named_clips_only(pack):
    assert [file.name for file in find_clips(pack, 256, ("b_01",))] == ["b_01"]


def test_a_clip_is_read_with_its_landmarks(clip):
    assert len(clip.frames) == len(clip.landmarks) == 24
    assert clip.frames[0].shape == (256, 256, 3)
    assert clip.landmarks[0].shape == (478, 3)
    assert np.abs(np.mean(clip.landmarks, axis=(0, 1))[:2]).max() < 0.3  # a head crop


@pytest.mark.parametrize(
    ("data", "size", "only", "says"),
    [
        ("nowhere", 256, (), r"nowhere: no data pack, it lacks manifest\.csv"),
        ("", 512, (), "no test clip at 512 pixels"),
        ("", 256, ("c_01", "a_01"), r"c_01: no test clip .* there are: a_01, a_02, b_01"),
    ],
    ids=["no pack", "no such size", "no such clip"],
)
def test_what_cannot_be_found_is_said(pack, data, size, only, says):
    with pytest.raises(EvaluationError, match=says):
        find_clips(pack / data, size, only)
