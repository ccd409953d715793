"""Same identity: protocol, sources, baselines."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from benchmarks.evaluation.contenders import DELAUNAY, STILL, load_contenders
from benchmarks.evaluation.metrics import Metrics
from benchmarks.evaluation.same_identity import SameIdentity, measure_same_identity, source_frames
from benchmarks.evaluation.sheets import Strip
from engine.quality import l1

pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")

STEP = 4


@pytest.fixture(scope="module")
def metrics(model) -> Iterator[Metrics]:
    made = Metrics(model)
    yield made
    made.close()


@pytest.fixture(scope="module")
def strip() -> Strip:
    return Strip(columns=3, without=(STILL,))


@pytest.fixture(scope="module")
def measured(clip, nearest, metrics, model, strip) -> SameIdentity:
    contenders = [*load_contenders(["mesh"], "numpy", 256, (1,)), nearest]
    return measure_same_identity(clip, contenders, metrics, model, STEP, (1, 2, 4), strip)


@pytest.mark.parametrize(
    ("count", "frames", "expected"), [(1, 24, [0]), (2, 24, [0, 6]), (4, 24, [0, 3, 6, 9]), (4, 9, [0, 1, 2, 3])]
)
def test_sources_are_spread_over_the_first_half(count, frames, expected):
    assert source_frames(count, frames) == expected


def test_more_sources_than_frames_are_refused():
    with pytest.raises(ValueError, match="first half of a clip of 6 frames has 3"):
        source_frames(4, 6)


def test_all_ways_are_compared_over_the_same_frames(measured):
    assert measured.frames == 5
    assert list(measured.ways) == ["mesh", "nearest", STILL, DELAUNAY]
    frames = {name: [row["frame"] for row in rows] for name, rows in measured.rows.items()}
    assert all(found == [4, 8, 12, 16, 20] for found in frames.values())


def test_the_still_source_is_what_the_metrics_say(clip, measured):
    expected = [l1(clip.frames[0], clip.frames[k]) for k in range(STEP, len(clip.frames), STEP)]
    assert measured.ways[STILL]["l1"] == pytest.approx(np.mean(expected))
    change = [
        np.abs(clip.frames[k].astype(int) - clip.frames[k - STEP]).mean() / 255
        for k in range(2 * STEP, len(clip.frames), STEP)
    ]
    assert measured.ways[STILL]["flicker"] == pytest.approx(np.mean(change))  # all of the motion is missed


def test_a_generator_with_one_source_that_cannot_move_is_the_still_source(measured):
    same = {name: value for name, value in measured.ways["nearest"].items() if not name.startswith("render")}
    assert same == measured.ways[STILL]


def test_the_mesh_follows_the_motion(measured):
    assert measured.ways["mesh"]["akd"] < 0.5 * measured.ways[STILL]["akd"]
    assert measured.ways["mesh"]["faces_lost"] == 0
    assert measured.ways["mesh"]["render_ms"] > 0
    assert 0.5 < measured.ways["mesh"]["aucon"] <= 1.0


def test_numbers_of_sources_are_compared_over_the_second_half(measured):
    assert list(measured.few_shot["nearest"]) == [1, 2, 4]
    assert list(measured.few_shot["mesh"]) == [1]  # it takes one source only
    late = [row for row in measured.rows["nearest"] if row["frame"] >= 12]
    assert measured.few_shot["nearest"][1]["l1"] == pytest.approx(np.mean([row["l1"] for row in late]))
    assert measured.few_shot["nearest"][1]["flicker"] == pytest.approx(np.mean([row["flicker"] for row in late[1:]]))


def test_more_sources_help_a_generator_that_uses_them(measured):
    by_count = measured.few_shot["nearest"]
    assert by_count[4]["akd"] <= by_count[2]["akd"] <= by_count[1]["akd"]
    assert by_count[4]["akd"] < by_count[1]["akd"]


def test_the_sheet_shows_the_chosen_moments(measured, strip, tmp_path):
    strip.write(tmp_path / "sheets" / "a_01.jpg")
    sheet = cv2.imread(str(tmp_path / "sheets" / "a_01.jpg"))
    rows = 6  # truth, mesh, nearest with 1, 2 and 4 sources, delaunay; each once more for mouth and eyes, half as high
    assert sheet.shape == (rows * 256 + 2 * rows * 128, 150 + 3 * 256, 3)
